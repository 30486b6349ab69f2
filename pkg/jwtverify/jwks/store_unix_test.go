//go:build unix

package jwks_test

import (
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// fullDisk returns what lets no file grow any more, and what ends that.
func fullDisk(t *testing.T) (fill, free func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	var limit syscall.Rlimit
	must(0, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	set := func(bytes uint64) {
		must(0, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: limit.Max}))
	}
	return func() { set(64) }, func() { set(limit.Cur) }
}

// A write that ends early, as on a disk that fills up, leaves neither half a
// key set nor its temporary file.
func TestStoredKeysCutByTheDisk(t *testing.T) {
	fill, free := fullDisk(t)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		fill()
		defer free()
		withStore(t, dir, newKeyServer(keySetOf("a")), func(f *jwks.Fetcher, s *jwks.KeyStore) {
			r := open(t, f, jwks.RemoteConfig{})
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

// A set that the disk has no place for takes the older one along: after a
// restart that would bring back a key that its issuer took away. Where the older
// one is the same set, it stays. A place that is free again is used at once,
// though the issuer says that nothing changed.
func TestStoredKeysThatAreOutdated(t *testing.T) {
	fill, free := fullDisk(t)
	synctest.Test(t, func(t *testing.T) {
		dir, server := t.TempDir(), newKeyServer(keySetOf("leaked", "a"))
		server.header["ETag"] = `"1"`
		cfg := jwks.RemoteConfig{TTL: time.Hour, MaxStale: 24 * time.Hour}
		restarted := func(kid string, want error) {
			t.Helper()
			silent := newKeyServer("")
			silent.fail(http.StatusBadGateway)
			withStore(t, dir, silent, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
				r := open(t, f, cfg)
				defer r.Close()
				find(t, r, kid, want)
			})
		}
		withStore(t, dir, server, func(f *jwks.Fetcher, s *jwks.KeyStore) {
			r := open(t, f, cfg)
			defer r.Close()
			synctest.Wait()
			fill()
			defer free()
			time.Sleep(time.Hour)
			synctest.Wait()
			restarted("leaked", nil) // confirmed, which could not be written: a little older than it is
			server.set(func(s *keyServer) { s.body, s.header["ETag"] = keySetOf("a"), `"2"` })
			time.Sleep(time.Hour)
			synctest.Wait()
			find(t, r, "leaked", jwtverify.ErrUnknownKey) // which fetches once more
			synctest.Wait()
			restarted("leaked", jwtverify.ErrKeysUnavailable)
			if left := must(os.ReadDir(dir)); len(left) != 0 || s.Failures() != 3 {
				t.Errorf("%v are left, %d failures", left, s.Failures())
			}
			free()
			time.Sleep(time.Hour)
			synctest.Wait()
			restarted("a", nil)
			restarted("leaked", jwtverify.ErrKeysUnavailable) // its issuer was down
		})
	})
}

// A file of another user is not used, whatever it says: that user chose it.
func TestStoredKeysOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files can be given away by root alone")
	}
	synctest.Test(t, func(t *testing.T) {
		dir, server := t.TempDir(), newKeyServer(keySetOf("a"))
		withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			defer open(t, f, jwks.RemoteConfig{}).Close()
			synctest.Wait()
		})
		must(0, os.Chown(storedFile(t, dir), 12345, 12345))
		server.fail(http.StatusBadGateway)
		log := withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			r := open(t, f, jwks.RemoteConfig{})
			defer r.Close()
			find(t, r, "a", jwtverify.ErrKeysUnavailable)
		})
		if !strings.Contains(log, "belongs to another user") {
			t.Errorf("log:\n%s", log)
		}
	})
}
