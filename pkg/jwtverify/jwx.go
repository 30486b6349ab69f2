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

// signatureVerifiers are what checks signatures, by algorithm: all keys share
// them. They are safe for concurrent use.
var signatureVerifiers = func() map[Algorithm]jws.Verifier {
	verifiers := map[Algorithm]jws.Verifier{}
	for _, alg := range append(Asymmetric(), HS256) {
		v, err := jws.NewVerifier(jwa.SignatureAlgorithm(alg))
		if err != nil { // this jwx is not the one that this package was made for
			panic(fmt.Sprintf("making the verifier of %s: %v", alg, err))
		}
		verifiers[alg] = v
	}
	return verifiers
}()

var errPanic = errors.New("the verifier panicked")

// verifySignature checks a signature of one algorithm. A panic inside is a bad
// signature: key material is checked when it is loaded, but a crash of the whole
// service must not hang on that alone.
func verifySignature(alg Algorithm, signed, signature []byte, key any) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	return signatureVerifiers[alg].Verify(signed, signature, key)
}

// thumbprint is the RFC 7638 SHA-256 thumbprint of a public key, in base64url.
func thumbprint(public any) (string, error) {
	var sum []byte
	k, err := jwk.FromRaw(public)
	if err == nil {
		sum, err = k.Thumbprint(crypto.SHA256)
	}
	if err != nil {
		return "", fmt.Errorf("computing the thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
