// Package jwks provides the key sets of issuers, fetched over HTTP, to verifiers of
// package jwtverify. A JWKS (JSON Web Key Set, RFC 7517) is the document in which an
// issuer publishes the public keys of its tokens; the kid in a token's header names
// one of them.
//
//	fetcher := jwks.NewFetcher(jwks.FetcherConfig{})
//	defer fetcher.Close()
//	keys, err := fetcher.Open(jwks.RemoteConfig{URL: "https://sso.example/jwks.json"})
//	...
//	verifier, err := jwtverify.New(jwtverify.Config{Keys: keys, ...})
//
// A RemoteKeySet answers from an immutable snapshot that its source swaps after each
// good fetch, so that finding a known key takes no lock and no allocation. Sources with
// the same configuration are one. A Fetcher owns them: it queues what is due, bounds
// the fetches at a time and those to one host, and plans the next one.
package jwks
