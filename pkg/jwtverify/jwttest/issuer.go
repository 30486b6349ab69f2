// Package jwttest is a test kit for services that verify tokens with jwtverify: an issuer
// with real keys, and a JWKS server that counts its fetches. It signs with the standard
// library alone, so that it shares no code with the package under test, and needs no
// *testing.T. Never use it in production: it signs everything that it is given.
//
//	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.example"})
//	...
//	server := jwttest.NewServer(issuer) // serves server.JWKSURL()
//	defer server.Close()
//	token, err := issuer.Mint(map[string]any{"sub": "alice", "exp": exp})
package jwttest

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Options configures an Issuer. The zero value is an issuer with one EdDSA key.
type Options struct {
	Algorithms []jwtverify.Algorithm // one key each; nil: EdDSA
	KeyIDs     []string              // kids, parallel to Algorithms; nil or "": a kid with algorithm and generation
	Issuer     string                // added as iss where the claims have none; "": none is added

	// PrivateKeys, parallel to Algorithms, are keys to sign with: ed25519.PrivateKey,
	// *rsa.PrivateKey, *ecdsa.PrivateKey, or []byte for HS256; nil: a new one.
	// Rotate replaces them by new ones too.
	PrivateKeys []any
}

// Issuer mints tokens and publishes its keys. It is safe for concurrent use.
type Issuer struct {
	issuer string

	mu         sync.Mutex
	generation int
	current    []*signingKey // that Mint signs with, in the order of Options.Algorithms
	old        []*signingKey // still published, no longer used
}

// NewIssuer makes an issuer with new keys. RSA keys are slow to generate, and so are made
// at their first use. The error says which option is wrong.
func NewIssuer(opts Options) (*Issuer, error) {
	algs := opts.Algorithms
	if len(algs) == 0 {
		algs = []jwtverify.Algorithm{jwtverify.EdDSA}
	}
	if len(opts.KeyIDs) > len(algs) {
		return nil, fmt.Errorf("%d key ids for %d algorithms", len(opts.KeyIDs), len(algs))
	}
	if len(opts.PrivateKeys) > len(algs) {
		return nil, fmt.Errorf("%d private keys for %d algorithms", len(opts.PrivateKeys), len(algs))
	}
	i := &Issuer{issuer: opts.Issuer, generation: 1}
	ring := newKeyring()
	for n, name := range algs {
		alg, err := jwtverify.ParseAlgorithm(string(name))
		if err != nil {
			return nil, err
		}
		if find(i.current, alg) != nil {
			return nil, fmt.Errorf("algorithm %s is given twice", alg)
		}
		kid := keyID(alg, 1)
		if n < len(opts.KeyIDs) && opts.KeyIDs[n] != "" {
			kid = opts.KeyIDs[n]
		}
		key := ring.key(alg, kid)
		if n < len(opts.PrivateKeys) && opts.PrivateKeys[n] != nil {
			if key, err = givenKey(alg, kid, opts.PrivateKeys[n]); err != nil {
				return nil, err
			}
		}
		i.current = append(i.current, key)
	}
	return i, nil
}

func keyID(alg jwtverify.Algorithm, generation int) string {
	return string(alg) + "-" + strconv.Itoa(generation)
}

func find(keys []*signingKey, alg jwtverify.Algorithm) *signingKey {
	n := slices.IndexFunc(keys, func(k *signingKey) bool { return k.alg == alg })
	if n < 0 {
		return nil
	}
	return keys[n]
}

// key returns the current key of alg, or the first one where alg is empty.
func (i *Issuer) key(alg jwtverify.Algorithm) (*signingKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if alg == "" {
		return i.current[0], nil
	}
	if k := find(i.current, alg); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("the issuer has no key for %s", alg)
}

// Rotate replaces every key by a new one with a new kid. With publishOld the old ones stay
// in JWKS, as an issuer's do until the last token that they signed has expired; without it
// they and all older ones are removed. The error is always nil.
func (i *Issuer) Rotate(publishOld bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.generation++
	if publishOld {
		i.old = append(i.old, i.current...)
	} else {
		i.old = nil
	}
	ring := newKeyring()
	fresh := make([]*signingKey, len(i.current))
	for n, k := range i.current {
		fresh[n] = ring.key(k.alg, keyID(k.alg, i.generation))
	}
	i.current = fresh
	return nil
}

// JWKS returns the public keys as a JWK set: the current ones, then the old ones that are
// still published. It never holds a secret.
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	keys := slices.Concat(i.current, i.old)
	i.mu.Unlock()
	list := []map[string]string{}
	for _, k := range keys {
		if k.alg != jwtverify.HS256 {
			list = append(list, k.jwk())
		}
	}
	b, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err) // strings in maps always marshal
	}
	return b
}

// PublicPEM returns the current public key of alg as PEM, or nil where the
// issuer has none.
func (i *Issuer) PublicPEM(alg jwtverify.Algorithm) []byte {
	k, err := i.key(alg)
	if err != nil || k.alg == jwtverify.HS256 {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.public())
	if err != nil {
		panic(err) // every key is of a kind that marshals
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Public returns the current public key of alg, or nil where the issuer has
// none.
func (i *Issuer) Public(alg jwtverify.Algorithm) crypto.PublicKey {
	k, err := i.key(alg)
	if err != nil || k.alg == jwtverify.HS256 {
		return nil
	}
	return k.public()
}

// Secret returns the HS256 secret, or nil where the issuer has none.
func (i *Issuer) Secret() []byte {
	k, err := i.key(jwtverify.HS256)
	if err != nil {
		return nil
	}
	return slices.Clone(k.secret())
}

// KeyID returns the current kid of alg, or "" where the issuer has no such key.
func (i *Issuer) KeyID(alg jwtverify.Algorithm) string {
	k, err := i.key(alg)
	if err != nil {
		return ""
	}
	return k.kid
}

// Mint returns a signed token with the given claims, in compact serialization. iss is
// added where the claims have none and the issuer has one; exp is not, since a test should
// say when. The error says that the claims cannot be encoded, or which option is wrong.
func (i *Issuer) Mint(claims map[string]any, opts ...MintOption) (string, error) {
	if _, has := claims["iss"]; !has && i.issuer != "" {
		with := map[string]any{"iss": i.issuer}
		for name, v := range claims {
			with[name] = v
		}
		claims = with
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding the claims: %w", err)
	}
	return i.MintPayload(payload, opts...)
}

// MintPayload is Mint for any payload bytes, which need not be claims. Nothing is added to
// them.
func (i *Issuer) MintPayload(payload []byte, opts ...MintOption) (string, error) {
	m, err := i.tokenSpec(opts)
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(m.header)
	if err != nil {
		return "", fmt.Errorf("encoding the header: %w", err)
	}
	return m.key.token(header, payload)
}

// MintRaw signs exactly these header and payload bytes, which need not be JSON. Of the
// options only WithAlgorithm has an effect: it chooses the key.
func (i *Issuer) MintRaw(header, payload []byte, opts ...MintOption) (string, error) {
	m, err := i.tokenSpec(opts)
	if err != nil {
		return "", err
	}
	return m.key.token(header, payload)
}

// Sign returns the signature of any bytes by the key of alg, for tokens that no issuer
// would mint.
func (i *Issuer) Sign(alg jwtverify.Algorithm, signed []byte) ([]byte, error) {
	k, err := i.key(alg)
	if err != nil {
		return nil, err
	}
	return k.sign(signed)
}

// MintOption changes one token.
type MintOption func(*tokenSpec) error

// tokenSpec says how one token is signed.
type tokenSpec struct {
	issuer *Issuer
	key    *signingKey
	header map[string]any
	set    map[string]any
}

// tokenSpec applies the options to a token of the issuer's first key.
func (i *Issuer) tokenSpec(opts []MintOption) (*tokenSpec, error) {
	key, err := i.key("")
	if err != nil {
		return nil, err
	}
	m := &tokenSpec{issuer: i, key: key, set: map[string]any{}}
	for _, opt := range opts {
		if err := opt(m); err != nil {
			return nil, err
		}
	}
	m.header = map[string]any{"alg": string(m.key.alg), "kid": m.key.kid, "typ": "JWT"}
	for name, v := range m.set {
		if v == nil {
			delete(m.header, name)
			continue
		}
		m.header[name] = v
	}
	return m, nil
}

// WithAlgorithm signs with the issuer's key of alg instead of its first one.
func WithAlgorithm(alg jwtverify.Algorithm) MintOption {
	return func(m *tokenSpec) error {
		key, err := m.issuer.key(alg)
		if err != nil {
			return err
		}
		m.key = key
		return nil
	}
}

// WithKeyID writes another kid into the header; the key stays the same. An
// empty kid leaves the member out.
func WithKeyID(kid string) MintOption {
	if kid == "" {
		return WithHeader("kid", nil)
	}
	return WithHeader("kid", kid)
}

// WithHeader sets a member of the header, alg and kid included; nil leaves it
// out. The key stays the same, so that header and key can disagree.
func WithHeader(name string, value any) MintOption {
	return func(m *tokenSpec) error {
		if name == "" {
			return errors.New("a header member needs a name")
		}
		m.set[name] = value
		return nil
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
