package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
)

// file is a log file that rotates by size and is found again where somebody
// else rotated it. (lumberjack, which many use for this, writes on into the
// file that logrotate moved away, and leaves a goroutine behind.)
type file struct {
	cfg  config.DecisionFile
	f    *os.File // nil: it has to be opened
	size int64
	torn bool // the last line may have no end: a disk was full
}

// fileMode lets a collector of the group read.
const fileMode = 0o640

func openFile(cfg config.DecisionFile) (*file, error) {
	f := &file{cfg: cfg}
	if err := f.open(); err != nil {
		return nil, err
	}
	f.prune()
	return f, nil
}

func (f *file) open() error {
	// Opening a pipe would wait for its reader.
	if info, err := os.Stat(f.cfg.Path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", f.cfg.Path)
	}
	opened, err := os.OpenFile(f.cfg.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, fileMode) // #nosec G302 -- collectors of logs read it as another user
	if err != nil {
		return err
	}
	info, err := opened.Stat()
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	f.f, f.size = opened, info.Size()
	return nil
}

func (f *file) close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

func (f *file) write(_ context.Context, chunk []byte, count int) (lost int, err error) {
	if err := f.ready(len(chunk)); err != nil {
		return count, err
	}
	if f.torn {
		if _, err := f.f.Write([]byte{'\n'}); err != nil {
			return count, errors.Join(err, f.close())
		}
		f.torn = false
	}
	n, err := f.f.Write(chunk)
	f.size += int64(n)
	if err != nil {
		f.torn = n > 0 && chunk[n-1] != '\n'
		return countLines(chunk[n:]), errors.Join(err, f.close())
	}
	return 0, nil
}

// ready makes f.f the file to write n bytes to: a new one where somebody moved
// or removed it, or where it is full.
func (f *file) ready(n int) error {
	if f.f != nil && f.replaced() {
		_ = f.close() // what it holds is written
	}
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+int64(n) > int64(f.cfg.MaxSize) {
		return f.rotate()
	}
	return nil
}

// replaced compares the open file with the one of its name. So an external
// logrotate needs no signal, and copytruncate is seen as well.
func (f *file) replaced() bool {
	is, err := f.f.Stat()
	if err != nil {
		return true
	}
	named, err := os.Stat(f.cfg.Path)
	f.size = is.Size()
	return err != nil || !os.SameFile(is, named)
}

// stamp is part of a rotated file's name; names sort as the times do.
const stamp = "20060102T150405.000000000Z"

var stamped = regexp.MustCompile(`^\.[0-9]{8}T[0-9]{6}\.[0-9]{9}Z$`)

func (f *file) rotate() error {
	if err := f.close(); err != nil {
		return err
	}
	if err := os.Rename(f.cfg.Path, f.cfg.Path+"."+time.Now().UTC().Format(stamp)); err != nil {
		return errors.Join(err, f.open()) // better too large than lost
	}
	f.prune()
	return f.open()
}

// prune removes rotated files that are too many or too old. What can't be
// removed is tried again the next time.
func (f *file) prune() {
	folder, base := filepath.Split(f.cfg.Path)
	if folder == "" {
		folder = "."
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	var rotated []string // oldest first: ReadDir sorts
	for _, e := range entries {
		if len(e.Name()) > len(base) && e.Name()[:len(base)] == base && stamped.MatchString(e.Name()[len(base):]) {
			rotated = append(rotated, e.Name())
		}
	}
	oldest := time.Now().UTC().Add(-f.cfg.MaxAge).Format(stamp)
	slices.Reverse(rotated)
	for i, name := range rotated {
		if i >= f.cfg.MaxFiles || f.cfg.MaxAge > 0 && name[len(base)+1:] < oldest {
			_ = os.Remove(filepath.Join(folder, name))
		}
	}
}
