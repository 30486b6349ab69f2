package jwtverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// MaxKeySetBytes is the size of the largest key set that ParseKeySet reads.
const MaxKeySetBytes = 512 << 10

// maxKeys bounds the keys of a set from outside.
const maxKeys = 100

// jwkMembers holds the members of a JWK that are read. The decoder compares names in their
// exact case, and refuses duplicates.
type jwkMembers struct {
	Kty    string    `json:"kty"`
	Crv    string    `json:"crv"`
	Alg    *string   `json:"alg"`
	Use    *string   `json:"use"`
	KeyOps *[]string `json:"key_ops"`
	Kid    *string   `json:"kid"`
	X      *string   `json:"x"`
	Y      *string   `json:"y"`
	N      *string   `json:"n"`
	E      *string   `json:"e"`

	// The members of private and symmetric keys: their presence is an error.
	D    jsontext.Value `json:"d"`
	P    jsontext.Value `json:"p"`
	Q    jsontext.Value `json:"q"`
	DP   jsontext.Value `json:"dp"`
	DQ   jsontext.Value `json:"dq"`
	QI   jsontext.Value `json:"qi"`
	Oth  jsontext.Value `json:"oth"`
	K    jsontext.Value `json:"k"`
	Priv jsontext.Value `json:"priv"`
}

// ParseJWK parses one public JWK (RFC 7517). Its own alg and the given one must fit the
// key and each other; where both are missing the key is bound to every algorithm that fits
// its kty and crv. Private and symmetric keys are errors: a verifier has no use for the
// first, and NewSecretKey is for the second.
func ParseJWK(jwk []byte, alg Algorithm) (*Key, error) {
	m, err := decodeJWK(jwk)
	if err != nil {
		return nil, err
	}
	if err := m.checkPurpose(); err != nil {
		return nil, err
	}
	if alg, err = m.algorithm(alg); err != nil {
		return nil, err
	}
	public, err := m.publicKey()
	if err != nil {
		return nil, err
	}
	return newPublicKey(m.id(), public, alg)
}

func decodeJWK(jwk []byte) (*jwkMembers, error) {
	var m jwkMembers
	if k := jsontext.Value(jwk).Kind(); k != '{' {
		return nil, errors.New("JWK is not a JSON object")
	}
	if err := json.Unmarshal(jwk, &m); err != nil {
		// The decoder's text may quote what it read, which may be key material.
		return nil, fmt.Errorf("JWK is not strict JSON or a member has the wrong type: %s", logtext.JSONError(err))
	}
	return &m, nil
}

// checkPurpose refuses keys that are not public, or not meant for signatures.
func (m *jwkMembers) checkPurpose() error {
	if m.Kty == "oct" {
		return errors.New("symmetric key (kty oct): a secret in a key set is known to all who read it; use type HS256 and a configured secret")
	}
	for _, private := range []jsontext.Value{m.D, m.P, m.Q, m.DP, m.DQ, m.QI, m.Oth, m.K, m.Priv} {
		if private != nil {
			return errors.New("private key members in a public JWK: the key is exposed, its issuer must replace it")
		}
	}
	if m.Use != nil && *m.Use != "sig" {
		return fmt.Errorf("key is for use %s, not for sig", logtext.Quote(*m.Use))
	}
	if m.KeyOps != nil && !slices.Contains(*m.KeyOps, "verify") {
		return errors.New("key_ops does not contain verify")
	}
	return nil
}

// algorithm returns the JWK's own alg or the configured one, which must be the same where
// both are there; "" where neither is.
func (m *jwkMembers) algorithm(configured Algorithm) (Algorithm, error) {
	if m.Alg == nil {
		return configured, nil
	}
	own, ok := algorithmOf(*m.Alg)
	if !ok {
		return "", fmt.Errorf("key is for alg %s, which is not supported", logtext.Quote(*m.Alg))
	}
	if configured != "" && configured != own {
		return "", fmt.Errorf("key is for alg %s, not for the configured %s", own, configured)
	}
	return own, nil
}

func (m *jwkMembers) id() string {
	if m.Kid == nil {
		return ""
	}
	return *m.Kid
}

func (m *jwkMembers) publicKey() (any, error) {
	switch {
	case m.Kty == "OKP" && m.Crv == "Ed25519":
		x, err := keyBytes("x", m.X, ed25519.PublicKeySize)
		return ed25519.PublicKey(x), err
	case m.Kty == "EC" && m.Crv == "P-256":
		return m.ecKey(elliptic.P256(), 32)
	case m.Kty == "EC" && m.Crv == "P-384":
		return m.ecKey(elliptic.P384(), 48)
	case m.Kty == "RSA" && m.Crv == "":
		return m.rsaKey()
	}
	return nil, fmt.Errorf("unsupported key: kty %s, crv %s", logtext.Quote(m.Kty), logtext.Quote(m.Crv))
}

// ecKey requires coordinates of exactly the curve's size (RFC 7518, 6.2.1.2).
func (m *jwkMembers) ecKey(curve elliptic.Curve, size int) (*ecdsa.PublicKey, error) {
	x, err := keyBytes("x", m.X, size)
	if err != nil {
		return nil, err
	}
	y, err := keyBytes("y", m.Y, size)
	if err != nil {
		return nil, err
	}
	p, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("EC key is no point of its curve")
	}
	return p, nil
}

// rsaKey bounds e to 4 bytes before it becomes a number: an exponent of 9 bytes that is
// truncated to its low 64 bits would make another key.
func (m *jwkMembers) rsaKey() (*rsa.PublicKey, error) {
	n, err := keyBytes("n", m.N, 0)
	if err != nil {
		return nil, err
	}
	if len(n) > maxRSABits/8+1 { // some issuers prepend a sign byte
		return nil, fmt.Errorf("RSA modulus of %d bytes: want at most %d bits", len(n), maxRSABits)
	}
	e, err := keyBytes("e", m.E, 0)
	if err != nil {
		return nil, err
	}
	if len(e) == 0 || len(e) > 4 {
		return nil, fmt.Errorf("RSA exponent of %d bytes: want 1 to 4", len(e))
	}
	var exponent uint64
	for _, b := range e {
		exponent = exponent<<8 | uint64(b)
	}
	if exponent > 1<<31-1 {
		return nil, errors.New("RSA exponent is not an odd number from 3 to 2^31-1")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
}

// keyBytes decodes one member, in strict base64url without padding; size is its length in
// bytes, 0 for any.
func keyBytes(name string, s *string, size int) ([]byte, error) {
	if s == nil {
		return nil, fmt.Errorf("JWK has no member %q", name)
	}
	if !isBase64URL(*s) { // the decoder itself skips CR and LF
		return nil, fmt.Errorf("JWK member %q is not strict base64url", name)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(*s)
	if err != nil {
		return nil, fmt.Errorf("JWK member %q is not strict base64url", name)
	}
	if size > 0 && len(b) != size {
		return nil, fmt.Errorf("JWK member %q has %d bytes: want exactly %d", name, len(b), size)
	}
	return b, nil
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		if !base64URLByte[s[i]] {
			return false
		}
	}
	return true
}

// base64URLByte marks the alphabet of base64url (RFC 4648, 5).
var base64URLByte = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		t[c] = true
	}
	return t
}()

// ParseKeySet parses a JWK set (RFC 7517, 5) of at most MaxKeySetBytes. A key that cannot
// be used is left out, and problems says why, without key material; so are all keys that
// share a kid, since a header could not name one of them. An empty set is no error. The
// error says that the text is no key set, or has more than 100 keys.
func ParseKeySet(jwks []byte) (keys []*Key, problems []error, err error) {
	if len(jwks) > MaxKeySetBytes {
		return nil, nil, fmt.Errorf("key set of %d bytes: want at most %d", len(jwks), MaxKeySetBytes)
	}
	raw, err := splitKeySet(jwks)
	if err != nil {
		return nil, nil, err
	}
	for i, jwk := range raw {
		k, err := ParseJWK(jwk, "")
		if err != nil {
			problems = append(problems, fmt.Errorf("key %d%s left out: %w", i, kidOf(jwk), err))
			continue
		}
		keys = append(keys, k)
	}
	for _, id := range sharedIDs(keys) {
		keys = slices.DeleteFunc(keys, func(k *Key) bool { return k.id == id })
		problems = append(problems, fmt.Errorf("kid %s left out: several keys have it, and a token could not tell which it means", logtext.Quote(id)))
	}
	if len(keys) > 1 && slices.ContainsFunc(keys, func(k *Key) bool { return k.id == "" }) {
		problems = append(problems, errors.New("a key without a kid among several: no token can name it"))
	}
	return keys, problems, nil
}

// splitKeySet returns the elements of the member keys, which must be there once. Other
// duplicate members are accepted here: those inside a JWK make ParseJWK refuse that JWK
// alone, and not the whole set.
func splitKeySet(jwks []byte) ([]jsontext.Value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(jwks), jsontext.AllowDuplicateNames(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, errors.New("key set is not a JSON object")
	}
	var raw []jsontext.Value
	seen := false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			break // the error is returned below
		}
		if name.String() != "keys" {
			if err := d.SkipValue(); err != nil {
				break
			}
			continue
		}
		if seen {
			return nil, errors.New("key set has two members keys")
		}
		seen = true
		if raw, err = readKeys(d); err != nil {
			return nil, err
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' {
		return nil, errors.New("key set is not strict JSON")
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("data after the key set")
	}
	if !seen {
		return nil, errors.New("key set has no member keys")
	}
	return raw, nil
}

func readKeys(d *jsontext.Decoder) ([]jsontext.Value, error) {
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return nil, errors.New("member keys of the key set is not an array")
	}
	var raw []jsontext.Value
	for d.PeekKind() != ']' {
		v, err := d.ReadValue()
		if err != nil {
			return nil, errors.New("key set is not strict JSON")
		}
		if len(raw) == maxKeys {
			return nil, fmt.Errorf("key set of more than %d keys", maxKeys)
		}
		raw = append(raw, v.Clone())
	}
	_, err := d.ReadToken()
	return raw, err
}

// kidOf names a refused key for the log, where its kid can be read.
func kidOf(jwk []byte) string {
	var m struct {
		Kid string `json:"kid"`
	}
	if err := json.Unmarshal(jwk, &m); err != nil || m.Kid == "" {
		return ""
	}
	return " (kid " + logtext.Quote(m.Kid) + ")"
}

// sharedIDs returns the kids that more than one key has, in order.
func sharedIDs(keys []*Key) []string {
	count := map[string]int{}
	var shared []string
	for _, k := range keys {
		if count[k.id]++; k.id != "" && count[k.id] == 2 {
			shared = append(shared, k.id)
		}
	}
	return shared
}
