//go:build unix

package jwtverify_test

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// A write that ends early, as on a disk that fills up, leaves neither half a
// key set nor its temporary file.
func TestKeptKeysCutByTheDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	must(0, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		must(0, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 64, Max: limit.Max}))
		defer func() { must(0, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)) }()
		withStore(t, dir, newKeyServer(jwks("a")), func(f *jwtverify.Fetcher, s *jwtverify.KeyStore) {
			r := open(t, f, jwtverify.RemoteConfig{})
			defer r.Close()
			synctest.Wait()
			find(t, r, "a", nil)
			if s.Failures() != 1 {
				t.Errorf("%d failures", s.Failures())
			}
		})
		if left := must(os.ReadDir(dir)); len(left) != 0 {
			t.Errorf("%v are left", left)
		}
	})
}
