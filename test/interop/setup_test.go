//go:build interop

// Package interop holds jwtverify against what it must get on with: a real
// OpenID provider, and the real SDK of USSO. Both come from their registries,
// pinned, into .cache/interop; run it with make interop.
package interop

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
const installTimeout = 3 * time.Minute

// tool returns the path of a command that the tests can't do without.
func tool(t *testing.T, name, advice string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("the interop tests need %s: %v; %s", name, err, advice)
	}
	return path
}

// run runs a command to its end and returns what it wrote to standard output.
func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second // a grandchild must not keep the pipes open for ever
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// installed returns the folder .cache/interop/name/HASH, where HASH is that of
// the sources, and has it filled by install if it is not there yet. A folder
// gets its name when it is complete, so that an installation that broke off is
// never taken for one, and two runs at a time don't meet.
func installed(t *testing.T, name string, sources []string, install func(dir string)) string {
	t.Helper()
	parent, err := filepath.Abs(filepath.Join("..", "..", ".cache", "interop", name))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	for _, source := range sources {
		b, err := os.ReadFile(filepath.Join(name, source))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", source, len(b), b)
	}
	dir := filepath.Join(parent, hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		t.Logf("%s: installed before, in %s", name, dir)
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
		copyFile(t, filepath.Join(name, source), filepath.Join(fresh, source))
	}
	install(fresh)
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	t.Logf("%s: installed in %s, in %s", name, time.Since(begun).Round(time.Millisecond), dir)
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
