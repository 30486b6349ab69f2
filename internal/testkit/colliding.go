package testkit

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// Colliding makes n different texts of 16 letters, digits and other visible
// ASCII whose xxhash64 is hash, as anybody can: the hash of 16 bytes is a
// permutation of its second half, so for each first half there is exactly one
// second half. One of some thousand is printable.
func Colliding(n int, hash uint64) (list []string) {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	var b [16]byte
	for i := uint64(0); len(list) < n; i++ {
		for j := range 8 {
			b[j] = alphabet[i>>(6*j)&63]
		}
		binary.LittleEndian.PutUint64(b[8:], secondHalf(binary.LittleEndian.Uint64(b[:8]), hash))
		if printable(b[8:]) {
			list = append(list, string(b[:]))
		}
	}
	return list
}

// The primes of xxhash64.
const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// inverse is the inverse modulo 2^64, by Newton's method.
func inverse(a uint64) uint64 {
	x := a
	for range 6 {
		x *= 2 - a*x
	}
	return x
}

// secondHalf returns the eight bytes that give, behind first, the hash.
func secondHalf(first, hash uint64) uint64 {
	// The end of the hash, backwards: h ^= h>>33; h *= prime2; h ^= h>>29; h *= prime3; h ^= h>>32.
	h := hash
	h ^= h >> 32
	h *= inverse(prime3)
	h ^= h>>29 ^ h>>58
	h *= inverse(prime2)
	h ^= h >> 33
	// h is rotl(g ^ round(second), 27)*prime1 + prime4, where g is the same of first.
	start := prime5 + 16
	g := bits.RotateLeft64(start^bits.RotateLeft64(first*prime2, 31)*prime1, 27)*prime1 + prime4
	round := bits.RotateLeft64((h-prime4)*inverse(prime1), -27) ^ g
	return bits.RotateLeft64(round*inverse(prime1), -31) * inverse(prime2)
}

func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' || strings.IndexByte("\"\\&=%+#;", c) >= 0 {
			return false
		}
	}
	return true
}
