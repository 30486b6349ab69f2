package jwtverify_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Material that today's loaders refuse before it is a key: the next loader may
// not, and jwx panics on some of it.
func TestMaterialIsChecked(t *testing.T) {
	//lint:ignore SA1019 the coordinates are what is tested
	off := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	odd := new(big.Int).SetBit(big.NewInt(1), 2047, 1)
	for name, c := range map[string]struct {
		public any
		want   string
	}{
		"Ed25519 of 31 bytes":   {ed25519.PublicKey(make([]byte, 31)), "want exactly 32"},
		"Ed25519 of 33 bytes":   {ed25519.PublicKey(make([]byte, 33)), "want exactly 32"},
		"no modulus":            {&rsa.PublicKey{E: 65537}, "positive odd"},
		"a negative modulus":    {&rsa.PublicKey{N: new(big.Int).Neg(odd), E: 65537}, "positive odd"},
		"an exponent of 2^31+1": {&rsa.PublicKey{N: odd, E: 1<<31 + 1}, "exponent"},
		"a point off the curve": {off, "no point of its curve"},
	} {
		if k, err := jwtverify.NewPublicKey(c.public); k != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want an error with %q", name, k, err, c.want)
		}
	}
}

// A claim that is missing is the zero value, and no date of 1970.
func TestMissingClaims(t *testing.T) {
	i := newIssuer(t, jwtverify.EdDSA)
	c := config(keySet(t, i))
	c.Claims = map[string]string{"sub": "/person/name"}
	v := newVerifier(t, c)
	id, err := v.Verify(t.Context(), mint(t, i, good(map[string]any{"nbf": nil, "iat": nil, "user_id": "alice", "person": map[string]any{}})))
	if err != nil {
		t.Fatal(err)
	}
	if !id.NotBefore.IsZero() || !id.IssuedAt.IsZero() || id.Expiry.Unix() != now+600 {
		t.Errorf("not before %v, issued %v, expires %v", id.NotBefore, id.IssuedAt, id.Expiry)
	}
	if id.Subject != "" || id.UserID != "alice" {
		t.Errorf("subject %q, user %q", id.Subject, id.UserID)
	}
}
