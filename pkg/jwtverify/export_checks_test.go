package jwtverify

// Verify checks a signature, as a Verifier does that found the key.
func (k *Key) Verify(alg Algorithm, signed, signature []byte) error {
	return k.verify(alg, signed, signature)
}

// Thumbprint is that of a public key.
var Thumbprint = thumbprint
