package jwtverify

import (
	"fmt"
	"slices"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// Algorithm names a signature algorithm as a JWS header does (RFC 7518, 3.1).
type Algorithm string

// The algorithms that can be allowed. PS256 and its family, ES512, ES256K and
// the longer HMACs are deliberately absent: a key or token that names one is
// refused.
const (
	EdDSA Algorithm = "EdDSA" // Ed25519 alone (RFC 8037); the name Ed25519 of RFC 9864 is the same
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	HS256 Algorithm = "HS256" // with a secret of NewSecretKey only
)

// The algorithms of each kind of key. Keys share these lists, which are never changed.
var (
	ed25519Algorithms = []Algorithm{EdDSA}
	rsaAlgorithms     = []Algorithm{RS256, RS384, RS512}
	p256Algorithms    = []Algorithm{ES256}
	p384Algorithms    = []Algorithm{ES384}
)

// Asymmetric returns every algorithm with a public key, in a fixed order. A Config without
// Algorithms allows these.
func Asymmetric() []Algorithm {
	return []Algorithm{EdDSA, RS256, RS384, RS512, ES256, ES384}
}

// ParseAlgorithm parses the name of an algorithm, in the exact case of RFC 7518.
func ParseAlgorithm(s string) (Algorithm, error) {
	a, ok := algorithmOf(s)
	if !ok {
		return "", fmt.Errorf("unknown algorithm %s: use one of EdDSA, RS256, RS384, RS512, ES256, ES384, HS256", logtext.Quote(s))
	}
	return a, nil
}

// algorithmOf is ParseAlgorithm for names from tokens and key sets, without the cost of an
// error text.
func algorithmOf(s string) (Algorithm, bool) {
	switch a := Algorithm(s); a {
	case EdDSA, RS256, RS384, RS512, ES256, ES384, HS256:
		return a, true
	case "Ed25519": // RFC 9864, 2.2
		return EdDSA, true
	}
	return "", false
}

// narrow returns the configured algorithm of those that a kind of key has, or all of them
// where none is configured.
func narrow(possible []Algorithm, want Algorithm) ([]Algorithm, error) {
	if want == "" {
		return possible, nil
	}
	i := slices.Index(possible, want)
	if i < 0 {
		return nil, fmt.Errorf("algorithm %s does not fit the key, which can do %v", logtext.Quote(string(want)), possible)
	}
	return possible[i : i+1 : i+1], nil // a slice of the shared list: thousands of keys allocate nothing for it
}
