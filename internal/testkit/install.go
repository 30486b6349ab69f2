// Package testkit is what tests of several packages share. Nothing of it is in
// the service.
package testkit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// installTimeout bounds one command of an installation.
const installTimeout = 5 * time.Minute

// Tool returns the path of a command that a test can't do without.
func Tool(t testing.TB, name, advice string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs %s: %v; %s", name, err, advice)
	}
	return path
}

// Run runs a command to its end and returns what it wrote to standard output.
func Run(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second // a grandchild must not hold the pipes open for ever
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// Installed returns the folder cache/HASH, where HASH is that of the sources in
// the folder from, and has it filled by install if it is not there yet. A folder
// gets its name when it is complete, so that an installation that broke off is
// never used, and two runs at a time don't meet.
func Installed(t testing.TB, cache, from string, sources []string, install func(dir string)) string {
	t.Helper()
	parent, err := filepath.Abs(cache)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	for _, source := range sources {
		b, err := os.ReadFile(filepath.Join(from, source))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", source, len(b), b)
	}
	dir := filepath.Join(parent, hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		t.Logf("%s: installed before, in %s", from, dir)
		return dir
	}
	begun := time.Now()
	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(parent, "incomplete-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(fresh) }() // gone already where all went well
	for _, source := range sources {
		copyFile(t, filepath.Join(from, source), filepath.Join(fresh, source))
	}
	install(fresh)
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	t.Logf("%s: installed in %s, in %s", from, time.Since(begun).Round(time.Millisecond), dir)
	return dir
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
