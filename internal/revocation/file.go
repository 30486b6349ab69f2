package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/ussoio/ussoauthz/internal/watch"
)

const (
	maxFile   = 64 << 20 // bytes: some 500,000 entries
	maxErrors = 20       // lines told of, each time
)

// followFile reads the file now, and again after each change.
func (l *List) followFile(ctx context.Context) {
	f := &file{source: l.add("file"), path: l.cfg.File}
	watcher := watch.New(watch.Config{
		Quiet: 50 * time.Millisecond, AtMost: 300 * time.Millisecond, Poll: 5 * time.Second, Log: l.cfg.Log,
	}, []string{f.path})
	f.read()
	l.running.Go(func() {
		watcher.Run(ctx, func(context.Context) bool { return f.read() })
	})
}

type file struct {
	*source
	path string
}

// read takes what the file says. A line that can't be read takes none of the
// others out of force; a file that can't be read takes nothing.
func (f *file) read() bool {
	text, err := readBounded(f.path, maxFile)
	if err != nil {
		f.unavailable(err)
		return false
	}
	r, number := f.newReading(), 0
	for line := range bytes.Lines(text) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := r.add(line); err != nil && r.errs <= maxErrors {
			f.cfg.Log.Error("a revocation is not in force", slog.String("file", f.path), slog.Int("line", number), slog.String("error", err.Error()))
		}
	}
	f.replace(r.content, r.beyond)
	return true
}

// Append writes an entry at the end of a file, which it makes where there is
// none. On return the entry is on the disk. Writers at the same time wait for
// each other.
func Append(path string, e Entry) (err error) {
	_, line, err := e.checkedLine()
	if err != nil {
		return err
	}
	f, err := openLocked(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // which unlocks
	if whole, err := endsLine(f); err != nil {
		return err
	} else if !whole { // somebody's last line has no end: ours must not become part of it
		line = append([]byte("\n"), line...)
	}
	// One write: a reader sees the whole entry or nothing of it.
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// openLocked opens path for appending, alone. The file that is locked must be
// the one that has the name: another may have replaced it meanwhile.
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644) // #nosec G302 -- ids, no secrets, which the service reads as another user
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		locked, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if named, err := os.Stat(path); err == nil && os.SameFile(locked, named) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func endsLine(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return true, err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return last[0] == '\n', err
}
