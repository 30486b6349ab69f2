package jwtverify

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// All of jwx is behind this file: another version of it, or another library,
// is a change of these few lines. Its parsers are not used on outside bytes:
// jwt.Parse v2 takes claims from outside the signature, and jwk.ParseKey lets
// short Ed25519 keys and cut RSA exponents through.

// signatureVerifier checks signatures of one algorithm. It is safe for
// concurrent use.
type signatureVerifier = jws.Verifier

// newSignatureVerifier returns the verifier of one algorithm.
func newSignatureVerifier(alg Algorithm) (signatureVerifier, error) {
	v, err := jws.NewVerifier(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, fmt.Errorf("making the verifier of %s: %w", alg, err)
	}
	return v, nil
}

var errPanic = errors.New("the verifier panicked")

// verifySignature runs v. A panic inside is a bad signature: key material is
// checked when it is loaded, but a crash of the whole service must not hang on
// that alone.
func verifySignature(v signatureVerifier, signed, signature []byte, key any) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	return v.Verify(signed, signature, key)
}

// thumbprint is the RFC 7638 SHA-256 thumbprint of a public key, in base64url.
func thumbprint(public any) (string, error) {
	k, err := jwk.FromRaw(public)
	if err != nil {
		return "", fmt.Errorf("computing the thumbprint: %w", err)
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("computing the thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
