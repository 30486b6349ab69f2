package jwtverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"slices"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// Bounds of key material. They are checked once, when a key is loaded, so that no token
// is verified with a weak, broken or costly key.
const (
	minRSABits     = 2048
	maxRSABits     = 8192 // a verification costs about 16 times one of 2048 bits
	minSecretBytes = 32   // RFC 7518, 3.2: at least the size of the hash
)

// secretThumbprint replaces the thumbprint of a secret: a reader of the logs could guess
// a weak secret and compare its thumbprint.
const secretThumbprint = "redacted"

// Key is a checked verification key, bound to its algorithms when it was loaded. The zero
// value verifies nothing. A Key is immutable and safe for concurrent use; it never prints
// its material.
type Key struct {
	id       string
	algs     []Algorithm
	material any // ed25519.PublicKey, *rsa.PublicKey, *ecdsa.PublicKey or a secret
	thumb    string
}

// secret is HMAC key material.
type secret = []byte

// ID returns the key's kid, or "" where it has none.
func (k *Key) ID() string { return k.id }

// Algorithms returns the algorithms that the key verifies.
func (k *Key) Algorithms() []Algorithm { return slices.Clone(k.algs) }

// Thumbprint returns the key's RFC 7638 thumbprint (SHA-256, base64url), and
// for a secret a constant.
func (k *Key) Thumbprint() string { return k.thumb }

// Equal reports whether both keys have the same material, kid and algorithms, so that one
// verifies every token that the other verifies.
func (k *Key) Equal(other *Key) bool {
	if k == nil || other == nil {
		return k == other
	}
	if k.id != other.id || k.thumb != other.thumb || !slices.Equal(k.algs, other.algs) {
		return false
	}
	a, isSecret := k.material.(secret)
	if !isSecret {
		return true // the thumbprint covers all of a public key
	}
	b, ok := other.material.(secret)
	return ok && subtle.ConstantTimeCompare(a, b) == 1
}

// String describes the key without its material. Like the next two methods it has a value
// receiver, so that printing *k is safe as well.
func (k Key) String() string {
	return fmt.Sprintf("key %s %v %s", logtext.Quote(k.id), k.algs, k.thumb)
}

// Format prints String for every verb, so that %#v, %x and %d print no material.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) } // fmt can't fail

// LogValue describes the key without its material.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kid", k.id), slog.Any("algorithms", k.algs), slog.String("thumbprint", k.thumb))
}

// verifies reports whether alg is one of the key's own.
func (k *Key) verifies(alg Algorithm) bool { return slices.Contains(k.algs, alg) }

// verify checks a signature with one of the key's own algorithms. The errors
// wrap ErrAlgorithm or ErrSignature.
func (k *Key) verify(alg Algorithm, signed, signature []byte) error {
	if !k.verifies(alg) {
		return fmt.Errorf("%w: the key %s is not one for %s", ErrAlgorithm, logtext.Quote(k.id), alg)
	}
	if err := verifySignature(alg, signed, signature, k.material); err != nil {
		if err == errPanic {
			return fmt.Errorf("%w: key %s: %w", ErrSignature, logtext.Quote(k.id), err)
		}
		return fmt.Errorf("%w: key %s", ErrSignature, logtext.Quote(k.id))
	}
	return nil
}

// NewSecretKey makes an HS256 key of a secret of at least 32 bytes that issuer and verifier
// share. Only this function makes one: a key set or a PEM with a secret is refused. The
// secret is copied.
func NewSecretKey(shared []byte) (*Key, error) {
	if len(shared) < minSecretBytes {
		return nil, fmt.Errorf("an HS256 secret of %d bytes is too short: use at least %d random bytes", len(shared), minSecretBytes)
	}
	// The classic algorithm confusion: a public key, known to all, used as the secret.
	if bytes.Contains(shared, []byte("-----BEGIN ")) || bytes.Contains(shared, []byte(`"kty"`)) {
		return nil, errors.New("the HS256 secret is a PEM or JWK: set the type to that key's algorithm instead")
	}
	return &Key{algs: []Algorithm{HS256}, material: bytes.Clone(shared), thumb: secretThumbprint}, nil
}

// ParsePEM parses one public key ("PUBLIC KEY", "RSA PUBLIC KEY") or the key of one
// certificate, whose dates and issuer are not checked. alg must fit the key; an empty alg
// means every algorithm that fits. The key has no kid.
func ParsePEM(data []byte, alg Algorithm) (*Key, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block found: want one that starts with -----BEGIN PUBLIC KEY-----")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("data after the first PEM block: give exactly one public key or certificate")
	}
	public, err := parsePEMBlock(block)
	if err != nil {
		return nil, err
	}
	return newPublicKey("", public, alg)
}

func parsePEMBlock(block *pem.Block) (any, error) {
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = cert.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the PEM holds a private key: give the public key (openssl pkey -pubout), and treat the private key as exposed")
	default:
		return nil, fmt.Errorf("PEM type %s is not one to verify with: want PUBLIC KEY or CERTIFICATE", logtext.Quote(block.Type))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the PEM block %s: %w", logtext.Quote(block.Type), err)
	}
	return public, nil
}

// newPublicKey checks a public key and binds it to alg, or to every algorithm that fits
// where alg is empty.
func newPublicKey(id string, public any, alg Algorithm) (*Key, error) {
	var possible []Algorithm
	var err error
	switch p := public.(type) {
	case ed25519.PublicKey:
		possible, err = ed25519Algorithms, checkEd25519(p)
	case *rsa.PublicKey:
		possible, err = rsaAlgorithms, checkRSA(p)
	case *ecdsa.PublicKey:
		possible, err = checkECDSA(p)
	default:
		return nil, fmt.Errorf("a key of type %T can't verify tokens: use Ed25519, RSA, P-256 or P-384", public)
	}
	if err != nil {
		return nil, err
	}
	algs, mismatch := narrow(possible, alg)
	thumb, err := thumbprint(public)
	if err := errors.Join(mismatch, err); err != nil {
		return nil, err
	}
	return &Key{id: id, algs: algs, material: public, thumb: thumb}, nil
}

// checkRSA bounds modulus and exponent: with a small modulus signatures can be forged, a
// large one costs CPU for every token, and an even modulus or exponent is no RSA key.
func checkRSA(p *rsa.PublicKey) error {
	if p.N == nil || p.N.Sign() <= 0 || p.N.Bit(0) == 0 {
		return errors.New("RSA modulus is not a positive odd number")
	}
	if bits := p.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("RSA modulus of %d bits: want %d to %d", bits, minRSABits, maxRSABits)
	}
	if p.E < 3 || p.E > 1<<31-1 || p.E%2 == 0 {
		return errors.New("RSA exponent is not an odd number from 3 to 2^31-1")
	}
	return nil
}

// checkECDSA allows P-256 and P-384, each with the one algorithm of its size: an ES384
// token must not be verified with a P-256 key.
func checkECDSA(p *ecdsa.PublicKey) ([]Algorithm, error) {
	if _, err := p.Bytes(); err != nil { // off the curve, or the point at infinity
		return nil, fmt.Errorf("EC key is no point of its curve: %w", err)
	}
	switch p.Curve {
	case elliptic.P256():
		return p256Algorithms, nil
	case elliptic.P384():
		return p384Algorithms, nil
	}
	return nil, fmt.Errorf("curve %s is not supported: use P-256 or P-384", p.Curve.Params().Name)
}

// smallOrderY lists, little endian and without the sign bit, the y coordinates
// of the eight points whose order divides 8. With one of them as public key a
// signature can be made without any secret: R = identity, S = 0 verifies for
// every message.
var smallOrderY = [...]string{
	"0100000000000000000000000000000000000000000000000000000000000000", // 1, the identity
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // -1, order 2
	"0000000000000000000000000000000000000000000000000000000000000000", // 0, order 4, both signs
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8, both signs
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8, both signs
}

// checkEd25519 accepts 32 bytes (jwx panics on others) that are the canonical encoding of
// a point of the curve, and not one of small order.
func checkEd25519(x ed25519.PublicKey) error {
	if len(x) != ed25519.PublicKeySize {
		return fmt.Errorf("Ed25519 key of %d bytes: want exactly %d", len(x), ed25519.PublicKeySize)
	}
	y := bytes.Clone(x)
	y[31] &= 0x7f // the sign of the x coordinate
	if slices.Contains(smallOrderY[:], hex.EncodeToString(y)) {
		return errors.New("Ed25519 key is a point of small order: anybody can sign for it")
	}
	slices.Reverse(y)
	if !onEdwards25519(new(big.Int).SetBytes(y)) {
		return errors.New("Ed25519 key is not the canonical encoding of a point of the curve")
	}
	return nil
}

// onEdwards25519 reports whether y is below the prime and some x belongs to it
// (RFC 8032, 5.1.3): x^2 = (y^2 - 1) / (d y^2 + 1), with d = -121665/121666.
func onEdwards25519(y *big.Int) bool {
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	p.Sub(p, big.NewInt(19))
	if y.Cmp(p) >= 0 {
		return false
	}
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	yy := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(yy, big.NewInt(1))
	v := yy.Mul(yy, d)
	v.Add(v, big.NewInt(1))
	// u/v is a square exactly where u*v is one.
	return big.Jacobi(u.Mul(u, v).Mod(u, p), p) >= 0
}
