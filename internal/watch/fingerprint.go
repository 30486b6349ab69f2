package watch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Fingerprint stands for the content of a set of files: two are equal where the
// contents are.
type Fingerprint [sha256.Size]byte

// Bounds: a path that leads into a whole file system must not read it all.
const (
	maxEntries = 100_000  // files and folders under all paths
	maxBytes   = 64 << 20 // of each file
)

// Take reads the files of paths, folders with all that is in them. Who takes one
// before reading files and an equal one afterwards has read one state of them,
// not half of a change.
func Take(paths []string) Fingerprint {
	f, _ := fingerprint(paths)
	return f
}

// fingerprint reads the files. What can't be read is part of the content too, as that
// which it is: missing, forbidden. whole is false where the bounds cut it.
func fingerprint(paths []string) (_ Fingerprint, whole bool) {
	sum := sha256.New()
	whole = visitTree(paths, func(name string, info fs.FileInfo, err error) {
		content := sha256.New()
		var size int64
		if err == nil && info.Mode().IsRegular() { // a pipe would wait
			size, err = info.Size(), copyFile(content, name)
		}
		if err != nil {
			content.Reset()
			fmt.Fprint(content, "unreadable: ", errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission))
		}
		fmt.Fprintf(sum, "%d %s %d %x\n", len(name), name, size, content.Sum(nil))
	})
	return Fingerprint(sum.Sum(nil)), whole
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.LimitReader(f, maxBytes))
	return errors.Join(err, f.Close())
}

// visit is told of a file or folder, or of why it can't be looked at.
type visit func(name string, info fs.FileInfo, err error)

// visitTree visits each path, and everything in those that are folders but names
// with a leading dot: editors leave some, and Kubernetes its ..data, whose
// files are reached by their links. Links are followed, as the loader of
// policies does. It reports whether it saw everything.
func visitTree(paths []string, f visit) (whole bool) {
	w := treeVisitor{visit: f, left: maxEntries}
	for _, path := range paths {
		w.visitPath(path, nil)
	}
	return w.left >= 0
}

type treeVisitor struct {
	visit visit
	left  int
}

// visitPath takes the folders above, so that a link to one of them is no endless way.
func (w *treeVisitor) visitPath(path string, above []fs.FileInfo) {
	if w.left--; w.left < 0 {
		return
	}
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		w.visit(path, info, err)
		return
	}
	for _, folder := range above {
		if os.SameFile(folder, info) {
			return
		}
	}
	entries, err := os.ReadDir(path)
	w.visit(path, info, err)
	above = append(above[:len(above):len(above)], info)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			w.visitPath(filepath.Join(path, entry.Name()), above)
		}
	}
}
