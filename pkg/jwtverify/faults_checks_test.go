package jwtverify_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Who reads the log learns what is wrong with a token, and which check found it:
// the cheap ones come first.
func TestTokenFaultsAreNamed(t *testing.T) {
	secret := strings.Repeat("s", 32)
	key, err := jwtverify.NewSecretKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jwtverify.NewStaticKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	c := config(keys)
	c.Algorithms = []jwtverify.Algorithm{jwtverify.HS256, jwtverify.EdDSA}
	v := newVerifier(t, c)
	token := func(header, claims string) string {
		signed := b64(header) + "." + b64(claims)
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(signed))
		return signed + "." + b64(string(mac.Sum(nil)))
	}
	header := func(text string) string { return token(text, `{}`) }
	claims := func(text string) string { return token(`{"alg":"HS256"}`, text) }
	date := func(exp string) string { return claims(`{"sub":"a","exp":` + exp + `}`) }
	for _, tt := range []struct{ name, token, want string }{
		{"nothing", "", "malformed token: 0 bytes: want 1 to 16384"},
		{"one segment", "a", "malformed token: not three segments"},
		{"two segments", "a.b", "malformed token: not three segments"},
		{"no header", ".b.c", "malformed token: not three segments"},
		{"no payload", "a..c", "malformed token: not three segments"},
		{"no signature", "a.b.", "malformed token: not three segments"},
		{"four segments", "a.b.c.d", "malformed token: not three segments"},
		{"a header that ends early", header(`{`), "malformed token: header: syntax error at byte 1"},
		{"a header of nothing", header(` `), "malformed token: header: syntax error at byte 1"},
		{"a header that is no JSON", header(`x`), "malformed token: header: syntax error at byte 0"},
		{"a header of half a word", header(`tru`), "malformed token: header: syntax error at byte 3"},
		{"a header that is no object", header(`["alg","HS256"]`), "malformed token: header: not a JSON object"},
		{"a header with an open member", header(`{"alg":`), "malformed token: header: syntax error at byte 7"},
		{"a header with half a member", header(`{"alg":"HS256",`), "malformed token: header: syntax error at byte 15"},
		{"a header with a number for a name", header(`{1:2}`), "malformed token: header: syntax error at byte 1"},
		{"an algorithm that is no string", header(`{"alg":5}`), "malformed token: header: alg is not a string"},
		{"an extension", header(`{"alg":"HS256","crit":["x"]}`), "malformed token: header: crit: no extension is understood"},
		{"an unknown algorithm", header(`{"alg":"XX256"}`), "algorithm not allowed: the header names an unsupported one"},
		{"an algorithm of another tenant", header(`{"alg":"RS256"}`), "algorithm not allowed: RS256 is not one of the tenant's"},
		{"an algorithm of another key", header(`{"alg":"EdDSA"}`), `algorithm not allowed: key "" is not one for EdDSA`},
		{"claims that are no JSON", claims(`x`), "malformed token: claims: syntax error at byte 0"},
		{"claims that are no object", claims(`["sub","a"]`), "malformed token: claims: not a JSON object"},
		{"claims that end early", claims(`{"sub":"a",`), "malformed token: claims: syntax error at byte 11"},
		{"claims with an open member", claims(`{"sub"`), "malformed token: claims: syntax error at byte 6"},
		{"a date that is a string", date(`"1900000000"`), "malformed token: claim exp: not a number"},
		{"a date that is true", date(`true`), "malformed token: claim exp: not a number"},
		{"a date before all", date(`-1`), "malformed token: claim exp: not a date from 1970 to 9999"},
		{"a date after all", date(`253402300800`), "malformed token: claim exp: not a date from 1970 to 9999"},
		{"a date after all, with an exponent", date(`1e12`), "malformed token: claim exp: not a date from 1970 to 9999"},
		{"a date beyond integers", date(`99999999999999999999`), "malformed token: claim exp: not a date from 1970 to 9999"},
		{"a date beyond floats", date(`1e999`), "malformed token: claim exp: not a date from 1970 to 9999"},
		{"a date of no second, with an exponent", date(`1e-5`), "malformed token: claim exp: not a date from 1970 to 9999"},
		{"a date with an exponent that is over", date(`1.7e9`), "token expired: at 1700000000"},
		{"a date with a fraction that is over", date(`1700000000.9`), "token expired: at 1700000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := v.Verify(t.Context(), tt.token)
			if id != nil || err == nil || !strings.HasPrefix(err.Error(), tt.want) || tt.want == "malformed token: not three segments" && err.Error() != tt.want {
				t.Errorf("got %v, %v; want %s", id, err, tt.want)
			}
		})
	}
	if id, err := v.Verify(t.Context(), claims(`{"sub":"a","aud":"my-app","iss":"https://sso.example","exp":1.9e9}`)); err != nil || id.Expiry.Unix() != 1900000000 {
		t.Errorf("a good date with an exponent: %v, %v", id, err)
	}
}

// unavailable is a key set that says why, in the words of the package.
type unavailable struct{}

func (unavailable) Find(context.Context, string) (*jwtverify.Key, error) {
	return nil, fmt.Errorf("%w: the issuer is down", jwtverify.ErrKeysUnavailable)
}

func TestKeysUnavailableIsSaidOnce(t *testing.T) {
	i := newIssuer(t)
	v := newVerifier(t, config(unavailable{}))
	_, err := v.Verify(t.Context(), mint(t, i, map[string]any{"sub": "a"}))
	if !errors.Is(err, jwtverify.ErrKeysUnavailable) || err.Error() != "keys unavailable: the issuer is down" {
		t.Errorf("got %v", err)
	}
}

// A key is for its own algorithms alone, whoever uses it.
func TestKeyOfAnotherAlgorithm(t *testing.T) {
	key, err := jwtverify.NewSecretKey([]byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range jwtverify.Asymmetric() {
		if err := key.Verify(alg, []byte("a"), []byte("b")); !errors.Is(err, jwtverify.ErrAlgorithm) {
			t.Errorf("%s: %v", alg, err)
		}
	}
	if err := key.Verify(jwtverify.HS256, []byte("a"), []byte("b")); !errors.Is(err, jwtverify.ErrSignature) {
		t.Errorf("HS256: %v", err)
	}
}

func TestThumbprintOfNoKey(t *testing.T) {
	for _, material := range []any{nil, struct{}{}, "key", 5} {
		if thumb, err := jwtverify.Thumbprint(material); thumb != "" || err == nil || !strings.HasPrefix(err.Error(), "computing the thumbprint: ") {
			t.Errorf("%v: %q, %v", material, thumb, err)
		}
	}
}

func TestNoKidAmongSeveralKeys(t *testing.T) {
	i := newIssuer(t, jwtverify.EdDSA, jwtverify.RS256)
	if key, err := keySet(t, i).Find(t.Context(), ""); key != nil || !errors.Is(err, jwtverify.ErrUnknownKey) || !strings.Contains(err.Error(), "the token has no kid and the set 2 keys") {
		t.Errorf("got %v, %v", key, err)
	}
}

func TestStoreInNoFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(file, "below")} {
		if store, err := jwtverify.OpenKeyStore(name, nil); store != nil || err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v, %v", name, store, err)
		}
	}
}

// What has the right sum is read strictly too: nobody else writes such a file.
func TestKeptSetsOfOddForm(t *testing.T) {
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
			seconds, body, err := jwtverify.ParseKept(tt.text, origin)
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
	good := []byte(jwks("a"))
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
		if got := jwtverify.Restores(tt.at, tt.body, stale); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A kept set that can't be used is said to be that, and why.
func TestKeptSetOfAnotherVersionIsLogged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	server := newKeyServer(jwks("a"))
	withStore(t, dir, server, func(f *jwtverify.Fetcher, _ *jwtverify.KeyStore) {
		r := open(t, f, jwtverify.RemoteConfig{TTL: time.Hour, MaxStale: time.Hour})
		defer r.Close()
		find(t, r, "a", nil)
	})
	name := keptFile(t, dir)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.Replace(text, []byte("keys 1 "), []byte("keys 0 "), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	store, err := jwtverify.OpenKeyStore(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	f := jwtverify.NewFetcher(jwtverify.FetcherConfig{Transport: server, Store: store})
	defer f.Close()
	defer open(t, f, jwtverify.RemoteConfig{TTL: time.Hour, MaxStale: time.Hour}).Close()
	if !strings.Contains(log.String(), "is no key set of this version") {
		t.Errorf("logged %s", log.String())
	}
}
