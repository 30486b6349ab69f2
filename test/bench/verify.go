package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"runtime"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/measure"
)

// verifyCost is the processor time of one bare verification of a token's
// signature: what no verifier of tokens can do without.
func verifyCost(each time.Duration) (time.Duration, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	signed := make([]byte, 600) // as many bytes as a token's header and claims have
	signature := ed25519.Sign(private, signed)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := measure.ThreadCPU()
	if err != nil {
		return 0, err
	}
	for n := time.Duration(1); ; n++ {
		if !ed25519.Verify(public, signed, signature) {
			return 0, errors.New("a good signature is refused")
		}
		now, err := measure.ThreadCPU()
		if err != nil {
			return 0, err
		}
		if now-before >= each {
			return (now - before) / n, nil
		}
	}
}
