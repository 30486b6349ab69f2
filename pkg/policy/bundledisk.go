package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// folder is where bundles are kept, "" where none is.
func (b *Bundles) folder() string {
	folder, _ := b.sections["persistence_directory"].(string)
	return folder
}

// makeFolders makes those that OPA would make for everybody to read.
func (b *Bundles) makeFolders() error {
	if b.folder() == "" {
		return nil
	}
	for _, name := range []string{"bundles", "bundles/discovery", "oci"} {
		if err := os.MkdirAll(filepath.Join(b.folder(), name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// archive is the file that keeps a bundle: OPA's own place for it, with a name
// that can't leave the folder.
func (b *Bundles) archive(name string) string {
	return filepath.Join(b.folder(), "bundles", url.PathEscape(name), "bundle.tar.gz")
}

// fromDisk takes the bundle that is kept on disk, if it is there and its
// signature still holds.
func (l *bundleLoader) fromDisk(ctx context.Context) {
	if !l.source.Persist {
		return
	}
	got, err := l.readArchive()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = l.b.take(ctx, l.name, got, nil)
	}
	if err != nil {
		l.b.failed(l.name, fmt.Errorf("the bundle on disk: %w", err))
		return
	}
	l.b.log.Info("a bundle was taken from disk", slog.String("bundle", l.name), slog.String("revision", got.Manifest.Revision))
}

func (l *bundleLoader) readArchive() (*bundle.Bundle, error) {
	f, err := os.Open(l.b.archive(l.name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	got, err := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(f, "").WithSizeLimitBytes(l.source.SizeLimitBytes)).
		WithBundleVerificationConfig(l.source.Signing).
		WithSizeLimitBytes(l.source.SizeLimitBytes).
		Read()
	if err != nil {
		return nil, err
	}
	return &got, nil
}

// keep writes to disk what came into force with the bundle of that name: it and
// those that waited for it. What fails is tried again with the next download.
func (b *Bundles) keep(name string) error {
	var failed error
	for other, h := range b.active {
		if h.raw == nil {
			continue
		}
		if err := writeArchive(b.archive(other), h.raw); err != nil {
			err = fmt.Errorf("the bundle is in force, but could not be kept on disk: %w", err)
			if other == name {
				failed = err
			} else {
				b.failed(other, err)
			}
			continue
		}
		h.raw = nil
	}
	return failed
}

// writeArchive replaces a file as a whole or not at all. Nobody else may read
// it: a policy tells what is not guarded.
func writeArchive(name string, raw []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".bundle-*.tmp") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
