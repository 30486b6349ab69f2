package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/test/bench/world"
)

// badSignature is signed by a stranger who writes the tenant's kid.
func badSignature(w *world.Issuers, n int) (string, error) {
	return w.Forge(n, fmt.Sprint("forged-", n))
}

// unknownKey names a key that the tenant never had, another one each time.
func unknownKey(w *world.Issuers, n int) (string, error) {
	return w.Mint(0, n, fmt.Sprint("unknown-", n), nil, jwttest.WithKeyID(fmt.Sprint("nobody-", n)))
}

// garbage is 8 KiB in the shape of a token.
func garbage(_ *world.Issuers, n int) (string, error) {
	filler := strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo", 8<<10/35)
	return fmt.Sprintf("eyJhbGciOiJFZERTQSJ9%d.%s.%s", n, filler[:4<<10], filler[:4<<10-30]), nil
}

// expired was good an hour ago.
func expired(w *world.Issuers, n int) (string, error) {
	return w.Mint(0, n, fmt.Sprint("expired-", n), func(claims map[string]any) {
		claims["exp"] = time.Now().Add(-time.Hour).Unix()
		claims["iat"] = time.Now().Add(-2 * time.Hour).Unix()
	})
}
