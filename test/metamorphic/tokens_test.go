package metamorphic

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // the hashes of the algorithms
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
)

// signer signs tokens with one key.
type signer struct {
	kid, alg string
	private  crypto.Signer // nil: a secret
	secret   string
}

// signers makes one for each kind of key, and a second one of the commonest.
// The bytes of keys and signatures are all that a seed does not repeat.
func signers() []*signer {
	must := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	ed := func(n byte) crypto.Signer { return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string('a'+n), 32))) }
	p256, err256 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err384 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsa2048, errRSA := rsa.GenerateKey(rand.Reader, 2048)
	return []*signer{
		{kid: "ed-1", alg: "EdDSA", private: ed(0)}, {kid: "ed-2", alg: "EdDSA", private: ed(1)},
		{kid: "p256", alg: "ES256", private: must(p256, err256)}, {kid: "p384", alg: "ES384", private: must(p384, err384)},
		{kid: "rsa", alg: "RS256", private: must(rsa2048, errRSA)},
		{alg: "HS256", secret: strings.Repeat("a secret of the issuer, ", 2) + "and no more"},
	}
}

func (s *signer) pem() string {
	if s.private == nil {
		return s.secret
	}
	der, err := x509.MarshalPKIXPublicKey(s.private.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// jwk is the public key with its kid.
func (s *signer) jwk() map[string]any {
	encode := base64.RawURLEncoding.EncodeToString
	switch public := s.private.Public().(type) {
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": s.kid, "use": "sig", "x": encode(public)}
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		return map[string]any{"kty": "EC", "crv": public.Curve.Params().Name, "kid": s.kid, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": s.kid, "n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes())}
	}
	panic("a key without a JWK")
}

// sign makes the signature that alg says, where the key can.
func (s *signer) sign(alg, text string) []byte {
	hash := map[string]crypto.Hash{"RS384": crypto.SHA384, "ES384": crypto.SHA384, "RS512": crypto.SHA512}[alg]
	if hash == 0 {
		hash = crypto.SHA256
	}
	h := hash.New()
	h.Write([]byte(text))
	var signature []byte
	var err error
	switch private := s.private.(type) {
	case nil:
		mac := hmac.New(sha256.New, []byte(s.secret))
		mac.Write([]byte(text))
		signature = mac.Sum(nil)
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(text))
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, private, hash, h.Sum(nil))
	case *ecdsa.PrivateKey:
		var r, t *big.Int
		if r, t, err = ecdsa.Sign(rand.Reader, private, h.Sum(nil)); err == nil {
			size := (private.Curve.Params().BitSize + 7) / 8
			signature = append(r.FillBytes(make([]byte, size)), t.FillBytes(make([]byte, size))...)
		}
	}
	if err != nil {
		panic(err)
	}
	return signature
}

// token is a token before it is written, with members that may come twice.
type token struct {
	signer         *signer
	header, claims []member
	signature      func([]byte) []byte // a defect; nil: none
	finish         func(string) string // the same, of the whole text
}

// member is a name and a JSON text.
type member struct{ name, value string }

func text(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func texts(list ...string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = text(s)
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// set puts a member in the place of the one that has its name.
func set(members []member, name, value string) []member {
	for i := range members {
		if members[i].name == name {
			members[i].value = value
			return members
		}
	}
	return append(members, member{name, value})
}

func without(members []member, name string) (rest []member) {
	for _, m := range members {
		if m.name != name {
			rest = append(rest, m)
		}
	}
	return rest
}

func object(members []member) string {
	list := make([]string, len(members))
	for i, m := range members {
		list[i] = text(m.name) + ":" + m.value
	}
	return "{" + strings.Join(list, ",") + "}"
}

func (t *token) String() string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(object(t.header))) + "." + encode([]byte(object(t.claims)))
	alg := t.signer.alg
	for _, m := range t.header {
		if m.name == "alg" {
			alg = strings.Trim(m.value, `"`)
		}
	}
	signature := t.signer.sign(alg, signed)
	if t.signature != nil {
		signature = t.signature(signature)
	}
	written := signed + "." + encode(signature)
	if t.finish != nil {
		written = t.finish(written)
	}
	return written
}
