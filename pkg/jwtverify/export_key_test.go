package jwtverify

import "crypto/ed25519"

// NewUncheckedKey makes a key of material that no loader would let through.
func NewUncheckedKey(public []byte) (*Key, error) {
	return newKey("unchecked", []Algorithm{EdDSA}, ed25519.PublicKey(public), "")
}
