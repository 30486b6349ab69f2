package jwttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"encoding/asn1"
	"fmt"
	"math/big"
	"sync"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// signingKey is a private key that is made at its first use.
type signingKey struct {
	alg     jwtverify.Algorithm
	kid     string
	private func() any // ed25519.PrivateKey, *rsa.PrivateKey, *ecdsa.PrivateKey or []byte
}

// keyring makes the keys of one generation. The RSA algorithms share one key, since RSA
// keys are slow to generate.
type keyring struct {
	rsa func() any
}

func newKeyring() *keyring {
	return &keyring{rsa: lazy(jwtverify.RS256)}
}

func (r *keyring) key(alg jwtverify.Algorithm, kid string) *signingKey {
	switch alg {
	case jwtverify.RS256, jwtverify.RS384, jwtverify.RS512:
		return &signingKey{alg: alg, kid: kid, private: r.rsa}
	}
	return &signingKey{alg: alg, kid: kid, private: lazy(alg)}
}

// givenKey wraps a private key of Options, which must fit alg.
func givenKey(alg jwtverify.Algorithm, kid string, private any) (*signingKey, error) {
	fits := false
	switch p := private.(type) {
	case ed25519.PrivateKey:
		fits = alg == jwtverify.EdDSA
	case *rsa.PrivateKey:
		fits = alg == jwtverify.RS256 || alg == jwtverify.RS384 || alg == jwtverify.RS512
	case *ecdsa.PrivateKey:
		fits = alg == jwtverify.ES256 && p.Curve == elliptic.P256() || alg == jwtverify.ES384 && p.Curve == elliptic.P384()
	case []byte:
		fits = alg == jwtverify.HS256
	}
	if !fits {
		return nil, fmt.Errorf("a private key of type %T is none for %s", private, alg)
	}
	return &signingKey{alg: alg, kid: kid, private: func() any { return private }}, nil
}

// lazy returns a function that generates a key at its first call.
func lazy(alg jwtverify.Algorithm) func() any {
	return sync.OnceValue(func() any {
		k, err := GenerateKey(alg)
		if err != nil {
			panic(err) // the system has no random numbers
		}
		return k
	})
}

// GenerateKey makes a private key for alg, of a type that Options.PrivateKeys accepts.
func GenerateKey(alg jwtverify.Algorithm) (any, error) {
	switch alg {
	case jwtverify.EdDSA:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	case jwtverify.RS256, jwtverify.RS384, jwtverify.RS512:
		return rsa.GenerateKey(rand.Reader, 2048)
	case jwtverify.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwtverify.ES384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jwtverify.HS256:
		return []byte(rand.Text() + rand.Text()), nil // text, so that it fits into a configuration file
	}
	return nil, fmt.Errorf("no keys for %s", alg)
}

func (k *signingKey) secret() []byte { return k.private().([]byte) }

func (k *signingKey) public() crypto.PublicKey {
	return k.private().(crypto.Signer).Public()
}

// token joins header, payload and their signature.
func (k *signingKey) token(header, payload []byte) (string, error) {
	signed := encode(header) + "." + encode(payload)
	signature, err := k.sign([]byte(signed))
	if err != nil {
		return "", err
	}
	return signed + "." + encode(signature), nil
}

// sign returns the signature of a JWS: for ECDSA not in ASN.1, as Go has it.
func (k *signingKey) sign(signed []byte) ([]byte, error) {
	switch private := k.private().(type) {
	case []byte:
		h := hmac.New(sha256.New, private)
		h.Write(signed)
		return h.Sum(nil), nil
	case ed25519.PrivateKey:
		return ed25519.Sign(private, signed), nil
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(rand.Reader, private, k.hash(), k.digest(signed))
	case *ecdsa.PrivateKey:
		der, err := ecdsa.SignASN1(rand.Reader, private, k.digest(signed))
		if err != nil {
			return nil, err
		}
		return joinRS(der, (private.Curve.Params().BitSize+7)/8)
	}
	return nil, fmt.Errorf("can't sign with %s", k.alg)
}

// joinRS converts an ASN.1 signature to the two numbers of fixed size of a JWS (RFC 7518,
// 3.4).
func joinRS(der []byte, size int) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	out := make([]byte, 2*size)
	rs.R.FillBytes(out[:size])
	rs.S.FillBytes(out[size:])
	return out, nil
}

// hash returns the hash function of the key's algorithm; Ed25519 and HS256 need none of it.
func (k *signingKey) hash() crypto.Hash {
	switch k.alg {
	case jwtverify.RS384, jwtverify.ES384:
		return crypto.SHA384
	case jwtverify.RS512:
		return crypto.SHA512
	}
	return crypto.SHA256
}

func (k *signingKey) digest(b []byte) []byte {
	h := k.hash().New()
	h.Write(b)
	return h.Sum(nil)
}

// jwk returns the public key with kid, alg and use.
func (k *signingKey) jwk() map[string]string {
	m := map[string]string{"kid": k.kid, "alg": string(k.alg), "use": "sig"}
	switch p := k.public().(type) {
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", encode(p)
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", encode(p.N.Bytes()), encode(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			panic(err) // generated keys are on their curve
		}
		size := len(point) / 2
		m["kty"], m["crv"] = "EC", p.Params().Name
		m["x"], m["y"] = encode(point[1:1+size]), encode(point[1+size:])
	}
	return m
}
