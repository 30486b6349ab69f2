package jwtverify_test

import (
	"context"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// The clock of every test here: a fixed second of 2027.
const now = 1800000000

func clock() time.Time { return time.Unix(now, 0) }

func everyAlgorithm() []jwtverify.Algorithm {
	return append(jwtverify.Asymmetric(), jwtverify.HS256)
}

func newIssuer(t testing.TB, algs ...jwtverify.Algorithm) *jwttest.Issuer {
	t.Helper()
	i, err := jwttest.NewIssuer(jwttest.Options{Algorithms: algs, Issuer: "https://sso.example"})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// keySet holds the issuer's public keys, or its secret.
func keySet(t testing.TB, i *jwttest.Issuer) jwtverify.KeySet {
	t.Helper()
	keys, problems, err := jwtverify.ParseKeySet(i.JWKS())
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	if secret := i.Secret(); secret != nil {
		k, err := jwtverify.NewSecretKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func config(keys jwtverify.KeySet) jwtverify.Config {
	return jwtverify.Config{
		Keys:       keys,
		Algorithms: everyAlgorithm(),
		Issuers:    []string{"https://sso.example"},
		Audiences:  []string{"my-app"},
		Now:        clock,
	}
}

func newVerifier(t testing.TB, c jwtverify.Config) *jwtverify.Verifier {
	t.Helper()
	v, err := jwtverify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mint(t testing.TB, i *jwttest.Issuer, claims map[string]any, opts ...jwttest.MintOption) string {
	t.Helper()
	token, err := i.Mint(claims, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// good are claims that a verifier of config accepts, with changes; a nil value
// leaves the claim out.
func good(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://sso.example", "aud": "my-app", "exp": now + 600, "iat": now, "nbf": now,
		"sub": "user:1", "token_type": "access", "tenant_id": "acme", "workspace_id": "ws_1",
		"roles": []string{"editor"}, "scopes": []string{"read:posts", "write:posts"},
	}
	for name, v := range changes {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

func TestVerifyEveryAlgorithm(t *testing.T) {
	for _, alg := range everyAlgorithm() {
		t.Run(string(alg), func(t *testing.T) {
			i := newIssuer(t, alg)
			v := newVerifier(t, config(keySet(t, i)))
			id, err := v.Verify(context.Background(), mint(t, i, good(nil)))
			if err != nil {
				t.Fatal(err)
			}
			if id.UserID != "user:1" {
				t.Errorf("user %q", id.UserID)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range everyAlgorithm() {
		b.Run(string(alg), func(b *testing.B) {
			i := newIssuer(b, alg)
			v := newVerifier(b, config(keySet(b, i)))
			token := mint(b, i, good(map[string]any{"jti": "0123456789abcdef", "session_id": "s_0123456789", "email": "someone@example.org"}))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
