package jwtverify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

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

// checkEd25519 makes sure that x is 32 bytes (jwx panics on others), the one
// canonical encoding of a point of the curve, and not of small order.
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
