package watch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fingerprint stands for the content of a set of files.
type fingerprint [sha256.Size]byte

// Bounds: a path that leads into a whole file system must not read it all.
const (
	maxFiles = 100_000
	maxBytes = 64 << 20 // of each file
)

// take reads the files. What can't be read is part of the content too, as that
// which it is: missing, forbidden.
func take(paths []string) fingerprint {
	sum := sha256.New()
	left := maxFiles
	for _, path := range paths {
		each(path, func(name string, err error) error {
			if left--; left < 0 {
				return fs.SkipAll
			}
			content := sha256.New()
			if err == nil {
				err = copyFile(content, name)
			}
			if err != nil {
				content.Reset()
				fmt.Fprint(content, "unreadable: ", errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission))
			}
			fmt.Fprintf(sum, "%d %s %x\n", len(name), name, content.Sum(nil))
			return nil
		})
	}
	return fingerprint(sum.Sum(nil))
}

func copyFile(w io.Writer, name string) error {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() { // a pipe would wait
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.LimitReader(f, maxBytes))
	return errors.Join(err, f.Close())
}

// each calls f for a file, or for every file in a folder but those with a
// leading dot: editors leave some, and Kubernetes its ..data, whose files are
// reached by their links.
func each(path string, f func(name string, err error) error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		_ = f(path, err) // one file: nothing to skip
		return
	}
	_ = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error { // f takes every error
		switch {
		case err != nil:
			return f(name, err)
		case name != path && hidden(name):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		return f(name, nil)
	})
}

func hidden(name string) bool { return strings.HasPrefix(filepath.Base(name), ".") }

// foldersOf are the folders whose events tell of changes in paths: the one
// that holds a path, and every one in it.
func foldersOf(paths []string) []string {
	var folders []string
	add := func(folder string) {
		if len(folders) < maxFiles && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	for _, path := range paths {
		add(filepath.Dir(path))
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue
		}
		_ = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error { // what can't be read has no events
			if err != nil || !entry.IsDir() {
				return nil
			}
			if name != path && hidden(name) {
				return fs.SkipDir
			}
			add(name)
			return nil
		})
	}
	return folders
}
