// Package jwtverify verifies access tokens: compact JWS tokens (RFC 7519)
// signed with EdDSA, RS256/384/512, ES256/384 or, with a configured secret,
// HS256.
//
// A Verifier holds the rules of one tenant; its Verify turns a token into an
// Identity or refuses it with exactly one of the errors of this package. Keys
// come from a KeySet: a StaticKeySet, or an issuer's set that package jwks fetches and
// refreshes. They are checked once, when they are loaded, and bound to their algorithms
// then: a token never chooses how it is verified.
//
//	keys, problems, err := jwtverify.ParseKeySet(jwks)
//	...
//	set, err := jwtverify.NewStaticKeySet(keys...)
//	...
//	verifier, err := jwtverify.New(jwtverify.Config{
//		Keys:      set,
//		Issuers:   []string{"https://sso.example"},
//		Audiences: []string{"my-app"},
//	})
//	...
//	identity, err := verifier.Verify(ctx, token)
//
// Two things are not checked: whether an RSA key comes from a weak generator (ROCA), and
// the dates and chains of certificates.
package jwtverify
