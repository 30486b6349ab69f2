package jwtverify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

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
