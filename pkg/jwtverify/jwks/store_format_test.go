package jwks_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

func TestStoreInNoFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(file, "below")} {
		if store, err := jwks.OpenKeyStore(name, nil); store != nil || err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v, %v", name, store, err)
		}
	}
}

// What has the right sum is read strictly too: nobody else writes such a file.
func TestStoredSetsOfOddForm(t *testing.T) {
	sealed := func(magic, rest string) []byte {
		sum := sha256.Sum256([]byte(rest))
		return fmt.Appendf(nil, "%s%x\n%s", magic, sum, rest)
	}
	const magic, origin = "ussoauthz keys 1 ", "https://sso.example/jwks"
	at := func(seconds string) []byte { return sealed(magic, fmt.Sprintf("%q\n%s\n{}", origin, seconds)) }
	for _, tt := range []struct {
		name string
		text []byte
		want string
	}{
		{"nothing", nil, "is no key set of this version"},
		{"another version", sealed("ussoauthz keys 2 ", fmt.Sprintf("%q\n5\n{}", origin)), "is no key set of this version"},
		{"one line", []byte(magic + strings.Repeat("0", 64)), "is damaged"},
		{"nothing behind the sum", sealed(magic, ""), "is of another source"},
		{"another source", sealed(magic, "\"https://other.example\"\n5\n{}"), "is of another source"},
		{"no date", sealed(magic, fmt.Sprintf("%q\n", origin)), "does not say when it was fetched"},
		{"no body", sealed(magic, fmt.Sprintf("%q\n5", origin)), "does not say when it was fetched"},
		{"a date that is none", at("x"), "does not say when it was fetched"},
		{"the first second", at("0"), "does not say when it was fetched"},
		{"a date before all", at("-5"), "does not say when it was fetched"},
		{"a date after all", at("253402300800"), "does not say when it was fetched"},
		{"a date beyond integers", at("99999999999999999999"), "does not say when it was fetched"},
		{"leading zeros", at("05"), "does not say when it was fetched"},
		{"a sign", at("+5"), "does not say when it was fetched"},
		{"as we write it", at("5"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seconds, body, err := jwks.DecodeStored(tt.text, origin)
			switch {
			case tt.want == "":
				if err != nil || seconds != 5 || string(body) != "{}" {
					t.Errorf("got %d, %s, %v", seconds, body, err)
				}
			case err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("got %d, %s, %v; want %s", seconds, body, err, tt.want)
			}
		})
	}
}

func TestWhatIsRestored(t *testing.T) {
	const stale = time.Hour
	now := time.Now()
	good := []byte(keySetOf("a"))
	for _, tt := range []struct {
		name string
		at   time.Time
		body []byte
		want bool
	}{
		{"fresh", now, good, true},
		{"old", now.Add(-stale + time.Minute), good, true},
		{"too old", now.Add(-stale - time.Minute), good, false},
		{"of a clock that was set back a little", now.Add(time.Minute), good, true},
		{"of the future", now.Add(time.Hour), good, false},
		{"no JSON", now, []byte("x"), false},
		{"no keys", now, []byte(`{"keys":[]}`), false},
		{"no good key", now, []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`), false},
	} {
		if got := jwks.Restores(tt.at, tt.body, stale); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A stored set that cannot be used is logged, with the reason.
func TestStoredSetOfAnotherVersionIsLogged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	server := newKeyServer(keySetOf("a"))
	withStore(t, dir, server, func(f *jwks.Fetcher, _ *jwks.KeyStore) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Hour, MaxStale: time.Hour})
		defer r.Close()
		find(t, r, "a", nil)
	})
	name := storedFile(t, dir)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.Replace(text, []byte("keys 1 "), []byte("keys 0 "), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	store, err := jwks.OpenKeyStore(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: server, Store: store})
	defer f.Close()
	defer open(t, f, jwks.RemoteConfig{TTL: time.Hour, MaxStale: time.Hour}).Close()
	if !strings.Contains(log.String(), "is no key set of this version") {
		t.Errorf("logged %s", log.String())
	}
}
