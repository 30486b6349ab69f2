//go:build unix

package policy_test

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// A bundle that could not be written leaves the one before as it was, and
// nothing beside it.
func TestBundleOfAFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	for name, test := range map[string]struct {
		resource int
		most     uint64
		want     error
	}{
		"no file can be opened": {syscall.RLIMIT_NOFILE, 0, syscall.EMFILE},
		"no file can grow":      {syscall.RLIMIT_FSIZE, 64, syscall.EFBIG},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "main")
			file := filepath.Join(dir, "bundle.tar.gz")
			if err := policy.WriteArchive(file, []byte("the one before")); err != nil {
				t.Fatal(err)
			}
			var limit syscall.Rlimit
			if err := syscall.Getrlimit(test.resource, &limit); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Setrlimit(test.resource, &syscall.Rlimit{Cur: test.most, Max: limit.Max}); err != nil {
				t.Fatal(err)
			}
			err := policy.WriteArchive(file, []byte(strings.Repeat("new", 100)))
			if err := syscall.Setrlimit(test.resource, &limit); err != nil {
				t.Fatal(err)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			left, err := os.ReadDir(dir)
			if text, _ := os.ReadFile(file); err != nil || len(left) != 1 || string(text) != "the one before" {
				t.Errorf("%v are left with %q, %v", left, text, err)
			}
		})
	}
}
