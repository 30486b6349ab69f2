package jwttest_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

func TestGivenKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := jwttest.NewIssuer(jwttest.Options{
		Algorithms:  []jwtverify.Algorithm{jwtverify.ES256, jwtverify.EdDSA, jwtverify.ES384},
		PrivateKeys: []any{p256, ed},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !p256.PublicKey.Equal(issuer.Public(jwtverify.ES256)) || !ed.Public().(ed25519.PublicKey).Equal(issuer.Public(jwtverify.EdDSA)) {
		t.Error("the issuer does not sign with the given keys")
	}
	if issuer.Public(jwtverify.ES384) == nil {
		t.Error("no key was made where none was given")
	}
}

func TestGivenKeysMustFit(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, private := range map[jwtverify.Algorithm]any{
		jwtverify.ES384: p256, jwtverify.EdDSA: p256, jwtverify.RS256: []byte("secret"), jwtverify.HS256: "text",
	} {
		opts := jwttest.Options{Algorithms: []jwtverify.Algorithm{alg}, PrivateKeys: []any{private}}
		if _, err := jwttest.NewIssuer(opts); err == nil {
			t.Errorf("%s: a %T was accepted", alg, private)
		}
	}
	if _, err := jwttest.NewIssuer(jwttest.Options{PrivateKeys: []any{nil, nil}}); err == nil {
		t.Error("two keys for one algorithm were accepted")
	}
}
