package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

const (
	diskGone = "disk of kept keys is gone"
	diskFull = "disk of kept keys is full"
)

// disk is where a replica keeps its issuers' keys. Root can write anywhere, so
// that no mode makes it unwritable: the folder is moved away. Where mounting is
// allowed it is a small file system of its own, which can be full.
type disk struct {
	root, keys string
	small      bool
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{root: t.TempDir()}
	d.keys = filepath.Join(d.root, "keys")
	if err := mountSmall(d.root); err != nil {
		t.Logf("the disks of kept keys will be gone at times, never full: %v", err)
		return d
	}
	d.small = true
	t.Cleanup(func() {
		if err := unmount(d.root); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fill takes all the room that is left, and returns what gives it back.
func (d *disk) fill() (empty func() error, err error) {
	name := filepath.Join(d.root, "full")
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { return os.Remove(name) }, f.Close()
}

// hide moves the folder away, and returns what puts it back.
func (d *disk) hide() (show func() error, err error) {
	away := filepath.Join(d.root, "away")
	return func() error { return os.Rename(away, d.keys) }, os.Rename(d.keys, away)
}

// breakDisks breaks the disks again and again. No answer may depend on it: the
// keys in memory go on. No replica starts meanwhile, which would be right to
// refuse or to make the folder anew.
func (c *chaos) breakDisks(ctx context.Context, t *testing.T, r *rand.Rand) {
	for pause(ctx, between(r, 1000, 4000)) {
		d := c.disks[r.IntN(len(c.disks))]
		kind, do := diskGone, d.hide
		if d.small && r.IntN(2) == 0 {
			kind, do = diskFull, d.fill
		}
		c.kept.Lock()
		c.files.Lock()
		f := c.ledger.begin(kind, "")
		whole, err := do()
		if err == nil {
			pause(ctx, between(r, 2500, 5000))
			err = whole()
		}
		if err != nil {
			t.Error(err)
		}
		c.ledger.end(f)
		c.files.Unlock()
		c.kept.Unlock()
	}
}
