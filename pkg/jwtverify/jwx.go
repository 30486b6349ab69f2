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

// Only this file imports jwx: another version of it, or another library, changes these few
// lines. Its parsers are not used on outside bytes: jwt.Parse v2 reads claims from outside
// the signature, and jwk.ParseKey accepts short Ed25519 keys and truncated RSA exponents.

// signatureVerifiers holds the implementation of each algorithm. All keys share them, and
// they are safe for concurrent use.
var signatureVerifiers = func() map[Algorithm]jws.Verifier {
	verifiers := map[Algorithm]jws.Verifier{}
	for _, alg := range append(Asymmetric(), HS256) {
		v, err := jws.NewVerifier(jwa.SignatureAlgorithm(alg))
		if err != nil { // a jwx that lacks an algorithm of this package
			panic(fmt.Sprintf("making the verifier of %s: %v", alg, err))
		}
		verifiers[alg] = v
	}
	return verifiers
}()

var errPanic = errors.New("the verifier panicked")

// verifySignature checks a signature of one algorithm. A panic counts as a bad signature:
// key material is checked when it is loaded, but that check alone must not stand between a
// token and a crash of the service.
func verifySignature(alg Algorithm, signed, signature []byte, key any) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	return signatureVerifiers[alg].Verify(signed, signature, key)
}

// thumbprint returns the RFC 7638 thumbprint of a public key (SHA-256, base64url).
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
