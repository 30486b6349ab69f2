package jwtverify

import "time"

// Verify checks a signature, as a Verifier does that found the key.
func (k *Key) Verify(alg Algorithm, signed, signature []byte) error {
	return k.verify(alg, signed, signature)
}

// Thumbprint is that of a public key.
var Thumbprint = thumbprint

// Restores reports whether a source begins with what was kept.
func Restores(at time.Time, body []byte, maxStale time.Duration) bool {
	s := &source{cfg: RemoteConfig{TTL: time.Minute, MaxStale: maxStale}}
	return s.restore(&kept{confirmed: at, body: body}) != nil
}
