package oracle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// key verifies signatures of its algorithms.
type key struct {
	kid        string
	public     interface{ Equal(crypto.PublicKey) bool } // nil: a secret
	secret     []byte
	algorithms []string
}

func (k key) sameAs(other key) bool {
	if k.public == nil || other.public == nil {
		return k.public == nil && other.public == nil && bytes.Equal(k.secret, other.secret)
	}
	return k.public.Equal(other.public)
}

// readKeys takes the tenant's keys from the file.
func (t *tenant) readKeys(files map[string]string) error {
	switch {
	case t.JWKSURL != "" || t.DiscoveryURL != "":
		return errors.New("keys from the network are not specified here")
	case t.JWKSFile != "":
		value, _ := parseJSON(files[t.JWKSFile], 10)
		set, _ := value.(map[string]any)
		list, _ := set["keys"].([]any)
		for _, jwk := range list {
			k, err := readJWK(jwk)
			if err != nil {
				return err
			}
			t.keys = append(t.keys, k)
		}
	case t.Type == "HS256":
		t.keys = []key{{secret: []byte(t.Key), algorithms: []string{"HS256"}}}
	case strings.HasPrefix(t.Key, "-----BEGIN"):
		block, _ := pem.Decode([]byte(t.Key))
		if block == nil {
			return errors.New("no PEM")
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return err
		}
		t.keys = []key{newKey("", public, t.Type)}
	default:
		value, _ := parseJSON(t.Key, 10)
		k, err := readJWK(value)
		if err != nil {
			return err
		}
		k.algorithms = []string{t.Type}
		t.keys = []key{k}
	}
	if len(t.keys) == 0 || slices.ContainsFunc(t.keys, func(k key) bool { return k.algorithms == nil }) {
		return errors.New("no key that verifies tokens")
	}
	return nil
}

// newKey binds a public key to the algorithms of its type, or to one of them.
func newKey(kid string, public any, alg string) key {
	k := key{kid: kid}
	switch p := public.(type) {
	case ed25519.PublicKey:
		k.public, k.algorithms = p, []string{"EdDSA"}
	case *ecdsa.PublicKey:
		k.public = p
		k.algorithms = map[elliptic.Curve][]string{elliptic.P256(): {"ES256"}, elliptic.P384(): {"ES384"}}[p.Curve]
	case *rsa.PublicKey:
		k.public, k.algorithms = p, []string{"RS256", "RS384", "RS512"}
	}
	if alg != "" {
		k.algorithms = []string{strings.Replace(alg, "Ed25519", "EdDSA", 1)}
	}
	return k
}

// readJWK reads a public key (RFC 7517).
func readJWK(value any) (key, error) {
	jwk, _ := value.(map[string]any)
	text := func(name string) string { s, _ := jwk[name].(string); return s }
	raw := func(name string) []byte { b, _ := base64.RawURLEncoding.DecodeString(text(name)); return b }
	var public any
	var err error
	switch text("kty") {
	case "OKP":
		public = ed25519.PublicKey(raw("x"))
	case "RSA":
		public = &rsa.PublicKey{N: new(big.Int).SetBytes(raw("n")), E: int(new(big.Int).SetBytes(raw("e")).Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[text("crv")]
		public, err = ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, raw("x"), raw("y")))
	default:
		err = fmt.Errorf("a key of type %q", text("kty"))
	}
	return newKey(text("kid"), public, text("alg")), err
}

// algorithms are those that the tenant allows.
func (t *tenant) algorithms() []string {
	var all []string
	for _, name := range t.Algorithms {
		all = append(all, strings.Replace(name, "Ed25519", "EdDSA", 1))
	}
	switch {
	case all != nil:
		return all
	case t.Type == "HS256":
		return []string{"HS256"}
	}
	return []string{"EdDSA", "RS256", "RS384", "RS512", "ES256", "ES384"}
}

// signed tells whether the key that kid means made the signature. A single key
// without a kid answers for all, and a single one for tokens without a kid.
func (t *tenant) signed(alg, kid, text, signature string) bool {
	for _, k := range t.keys {
		single := len(t.keys) == 1 && (k.kid == "" || kid == "")
		if (single || kid != "" && k.kid == kid) && slices.Contains(k.algorithms, alg) {
			return k.verifies(alg, []byte(text), []byte(signature))
		}
	}
	return false
}

func (k key) verifies(alg string, text, signature []byte) bool {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[len(alg)-3:]]
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write(text)
		digest = h.Sum(nil)
	}
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, text, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, hash, digest, signature) == nil
	case *ecdsa.PublicKey: // r and s, each as long as the curve's numbers (RFC 7518, 3.4)
		size := (public.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(public, digest, r, s)
	}
	mac := hmac.New(hash.New, k.secret)
	mac.Write(text)
	return hmac.Equal(mac.Sum(nil), signature)
}
