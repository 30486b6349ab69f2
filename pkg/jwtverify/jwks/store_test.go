package jwks_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// withStore runs a life of a service: a fetcher that begins and ends, over a
// folder that outlives it.
func withStore(t *testing.T, dir string, server *keyServer, life func(f *jwks.Fetcher, s *jwks.KeyStore)) (log string) {
	t.Helper()
	var text bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&text, nil))
	store, err := jwks.OpenKeyStore(dir, logger)
	if err != nil {
		t.Fatal(err)
	}
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: server, Store: store, Logger: logger})
	life(f, store)
	f.Close()
	return text.String()
}

func storedFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.keys"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	return files[0]
}

// A restart during an outage has the keys of before, for as long as they would
// have served without it.
func TestStoredKeysOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, server := filepath.Join(t.TempDir(), "keys"), newKeyServer(keySetOf("a"))
		cfg := jwks.RemoteConfig{TTL: time.Hour, MaxStale: 24 * time.Hour}
		withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			defer open(t, f, cfg).Close()
			synctest.Wait()
		})
		for name, want := range map[string]os.FileMode{dir: 0o700, storedFile(t, dir): 0o600} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v %v, want mode %o", name, info.Mode(), err, want)
			}
		}
		server.fail(http.StatusInternalServerError)
		time.Sleep(20 * time.Hour) // nobody runs
		withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			r := open(t, f, cfg)
			defer r.Close()
			if took(func() { find(t, r, "a", nil) }) != 0 {
				t.Error("the request waited for the issuer")
			}
			time.Sleep(3 * time.Hour)
			find(t, r, "a", nil)
			time.Sleep(time.Hour + time.Second)
			find(t, r, "a", jwtverify.ErrKeysUnavailable)
		})
		withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			r := open(t, f, cfg)
			defer r.Close()
			find(t, r, "a", jwtverify.ErrKeysUnavailable) // too old, whoever starts
		})
	})
}

// What the issuer confirms without sending it is as fresh as what it sends; a
// key that it takes away is gone from the disk too, and so is the last one.
func TestStoredKeysFollowTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, server := t.TempDir(), newKeyServer(keySetOf("a", "b"))
		server.header["ETag"] = `"1"`
		cfg := jwks.RemoteConfig{TTL: time.Hour, MaxStale: 2 * time.Hour}
		down := func(want error, kid string) {
			t.Helper()
			silent := newKeyServer("")
			silent.fail(http.StatusBadGateway)
			withStore(t, dir, silent, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
				r := open(t, f, cfg)
				defer r.Close()
				find(t, r, kid, want)
			})
		}
		withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			r := open(t, f, cfg)
			defer r.Close()
			time.Sleep(10 * time.Hour) // all of them 304 but the first
			synctest.Wait()
			down(nil, "b")
			server.set(func(s *keyServer) { s.body, s.header["ETag"] = keySetOf("a"), `"2"` })
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			down(nil, "a")
			down(jwtverify.ErrKeysUnavailable, "b") // its issuer was down
			server.set(func(s *keyServer) { s.body, s.header["ETag"] = `{"keys":[]}`, `"3"` })
			time.Sleep(4 * time.Hour) // seen twice
			synctest.Wait()
			down(jwtverify.ErrKeysUnavailable, "a")
		})
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
			t.Errorf("%v are left", files)
		}
	})
}

// A file that cannot be trusted counts as none, and is logged.
func TestStoredKeysThatAreNotUsed(t *testing.T) {
	for name, spoil := range map[string]struct {
		how    func(t *testing.T, file string)
		logged string
	}{
		"a bit flipped": {func(t *testing.T, file string) {
			rewrite(t, file, func(text string) string { return strings.Replace(text, `"kid":"a"`, `"kid":"b"`, 1) })
		}, "damaged"},
		"cut": {func(t *testing.T, file string) {
			rewrite(t, file, func(text string) string { return text[:len(text)/2] })
		}, "damaged"},
		"empty":          {func(t *testing.T, file string) { rewrite(t, file, func(string) string { return "" }) }, "no key set of this version"},
		"a bare key set": {func(t *testing.T, file string) { rewrite(t, file, func(string) string { return keySetOf("a") }) }, "no key set of this version"},
		"huge": {func(t *testing.T, file string) {
			rewrite(t, file, func(s string) string { return s + strings.Repeat(" ", 1<<20) })
		}, "larger than"},
		"writable by all": {func(t *testing.T, file string) { must(0, os.Chmod(file, 0o666)) }, "can be written by others"},
		"a link": {func(t *testing.T, file string) {
			must(0, os.Rename(file, file+".real"))
			must(0, os.Symlink(file+".real", file))
		}, "no regular file"},
		"a folder":          {func(t *testing.T, file string) { must(0, os.Remove(file)); must(0, os.Mkdir(file, 0o700)) }, "no regular file"},
		"of another source": {foreign, "another source"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, server := t.TempDir(), newKeyServer(keySetOf("a"))
				withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
					defer open(t, f, jwks.RemoteConfig{}).Close()
					synctest.Wait()
				})
				spoil.how(t, storedFile(t, dir))
				server.fail(http.StatusInternalServerError)
				log := withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
					r := open(t, f, jwks.RemoteConfig{})
					defer r.Close()
					find(t, r, "a", jwtverify.ErrKeysUnavailable)
				})
				if !strings.Contains(log, "a stored key set is not used") || !strings.Contains(log, spoil.logged) {
					t.Errorf("the log has no %q:\n%s", spoil.logged, log)
				}
			})
		})
	}
}

func rewrite(t *testing.T, file string, change func(string) string) {
	t.Helper()
	text := must(os.ReadFile(file))
	must(0, os.WriteFile(file, []byte(change(string(text))), 0o600))
}

// foreign puts the keys of another URL in the place of these.
func foreign(t *testing.T, file string) {
	t.Helper()
	dir := t.TempDir()
	withStore(t, dir, newKeyServer(keySetOf("a")), func(f *jwks.Fetcher, _ *jwks.KeyStore) {
		defer open(t, f, jwks.RemoteConfig{URL: "https://elsewhere.example/keys"}).Close()
		synctest.Wait()
	})
	must(0, os.Rename(storedFile(t, dir), file))
}

// A clock that was set back leaves files of the future: a few minutes are
// tolerated, and more have no age that could be trusted.
func TestStoredKeysOfTheFuture(t *testing.T) {
	for ahead, want := range map[time.Duration]error{4 * time.Minute: nil, time.Hour: jwtverify.ErrKeysUnavailable} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(ahead)
			withStore(t, dir, newKeyServer(keySetOf("a")), func(f *jwks.Fetcher, _ *jwks.KeyStore) {
				defer open(t, f, jwks.RemoteConfig{}).Close()
				synctest.Wait()
			})
		})
		synctest.Test(t, func(t *testing.T) { // begins at the same time again
			server := newKeyServer("")
			server.fail(http.StatusInternalServerError)
			withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
				r := open(t, f, jwks.RemoteConfig{})
				defer r.Close()
				find(t, r, "a", want)
			})
		})
	}
}

// A full disk fails no request; it is counted, and logged once when it begins and once
// when it ends.
func TestStoredKeysOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "keys")
		server := newKeyServer(keySetOf("a"))
		log := withStore(t, dir, server, func(f *jwks.Fetcher, s *jwks.KeyStore) {
			must(0, os.Remove(dir)) // as good as a disk without a place: root can write anywhere else
			r := open(t, f, jwks.RemoteConfig{})
			defer r.Close()
			time.Sleep(5 * time.Hour)
			synctest.Wait()
			find(t, r, "a", nil)
			if s.Failures() < 4 {
				t.Errorf("%d failures in five hours", s.Failures())
			}
			must(0, os.Mkdir(dir, 0o700))
			time.Sleep(2 * time.Hour)
			synctest.Wait()
		})
		storedFile(t, dir)
		if strings.Count(log, "can't be stored on disk") != 1 || strings.Count(log, "stored on disk again") != 1 {
			t.Errorf("log:\n%s", log)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
			t.Errorf("%v are left", left)
		}
	})
}

// Of two instances over one folder, what was confirmed later stays.
func TestStoredKeysOfTwoInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		slow, quick := newKeyServer(keySetOf("old")), newKeyServer(keySetOf("new"))
		slow.set(func(s *keyServer) { s.delay = 3 * time.Second })
		withStore(t, dir, slow, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			defer open(t, f, jwks.RemoteConfig{}).Close()
			time.Sleep(2 * time.Second)
			withStore(t, dir, quick, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
				defer open(t, f, jwks.RemoteConfig{}).Close()
				synctest.Wait()
			})
			time.Sleep(5 * time.Second)
			synctest.Wait()
		})
		if text := must(os.ReadFile(storedFile(t, dir))); !strings.Contains(string(text), `"kid":"new"`) {
			t.Errorf("the older set is stored: %s", text)
		}
	})
}

func TestKeyStoreRefusesAnOpenFolder(t *testing.T) {
	dir := t.TempDir()
	must(0, os.Chmod(dir, 0o777))
	if _, err := jwks.OpenKeyStore(dir, nil); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("%v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	must(0, os.WriteFile(file, nil, 0o600))
	if _, err := jwks.OpenKeyStore(file, nil); err == nil {
		t.Error("a file passes for a folder")
	}
}

// FuzzStored: a file that is accepted is, byte for byte, the one that would be written.
func FuzzStored(f *testing.F) {
	sealed := jwks.EncodeStored("origin", 1_700_000_000, []byte(keySetOf("a")))
	f.Add(sealed)
	f.Add(jwks.EncodeStored("other", 1, nil))
	f.Add([]byte("ussoauthz keys 1 \n"))
	f.Add(sealed[:len(sealed)-1])
	f.Fuzz(func(t *testing.T, text []byte) {
		at, body, err := jwks.DecodeStored(text, "origin")
		if err != nil {
			return
		}
		if again := jwks.EncodeStored("origin", at, body); !bytes.Equal(again, text) {
			t.Fatalf("%q has another spelling: %q", text, again)
		}
	})
}

// Where the issuer confirms a set that is not in the file, the file is removed, as it may
// have revoked keys, and the next fetch requests the whole set.
func TestStoredKeysThatWereNotConfirmed(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, file string){
		"a file that is gone": func(t *testing.T, file string) { must(0, os.Remove(file)) },
		"a damaged file":      func(t *testing.T, file string) { rewrite(t, file, func(text string) string { return text[:40] }) },
		"another set": func(t *testing.T, file string) {
			lines := strings.SplitN(string(must(os.ReadFile(file))), "\n", 4)
			origin, at := must(strconv.Unquote(lines[1])), must(strconv.ParseInt(lines[2], 10, 64))
			must(0, os.WriteFile(file, jwks.EncodeStored(origin, at, []byte(keySetOf("b"))), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, server := t.TempDir(), newKeyServer(keySetOf("a"))
				server.header["ETag"] = `"1"`
				withStore(t, dir, server, func(f *jwks.Fetcher, s *jwks.KeyStore) {
					defer open(t, f, jwks.RemoteConfig{TTL: time.Hour}).Close()
					synctest.Wait()
					file := storedFile(t, dir)
					spoil(t, file)
					time.Sleep(time.Hour)
					synctest.Wait()
					if _, err := os.Stat(file); !os.IsNotExist(err) || server.fetches() != 2 {
						t.Errorf("after %d fetches the file is there: %v", server.fetches(), err)
					}
					time.Sleep(time.Hour)
					synctest.Wait()
					if text := must(os.ReadFile(file)); !strings.Contains(string(text), `"kid":"a"`) {
						t.Errorf("stored is %q", text)
					}
					if s.Failures() != 0 {
						t.Errorf("%d failures", s.Failures())
					}
				})
			})
		})
	}
}

// A file with revoked keys that cannot be removed is logged with its name, once: it would
// be used after a restart.
func TestStoredKeysThatCannotBeRemoved(t *testing.T) {
	for name, body := range map[string]string{"the last key is gone": `{"keys":[]}`, "another set can't be written": keySetOf("b")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, server := t.TempDir(), newKeyServer(keySetOf("a"))
				var file string
				log := withStore(t, dir, server, func(f *jwks.Fetcher, s *jwks.KeyStore) {
					defer open(t, f, jwks.RemoteConfig{TTL: time.Hour}).Close()
					synctest.Wait()
					file = storedFile(t, dir)
					must(0, os.Remove(file))
					must(0, os.MkdirAll(filepath.Join(file, "full"), 0o700)) // which root can't remove either
					server.serve(body)
					time.Sleep(6 * time.Hour)
					synctest.Wait()
					if s.Failures() < 2 {
						t.Errorf("%d failures were counted", s.Failures())
					}
				})
				if strings.Count(log, "an outdated key set can't be removed") != 1 || !strings.Contains(log, file) {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

// A single key without a kid, which tokens without one mean, is stored too.
func TestStoredKeyWithoutKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		withStore(t, dir, newKeyServer(keySetOf("/nameless")), func(f *jwks.Fetcher, _ *jwks.KeyStore) {
			defer open(t, f, jwks.RemoteConfig{}).Close()
			synctest.Wait()
		})
		storedFile(t, dir)
	})
}
