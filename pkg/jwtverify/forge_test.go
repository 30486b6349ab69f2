package jwtverify_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// A forge makes what an attacker would: tokens and keys by recipes. It knows
// one issuer with a key of every algorithm, and one RSA key, "forge", whose
// private half is at hand for broken paddings.
type forge struct {
	issuer   *jwttest.Issuer
	attacker *jwttest.Issuer
	keys     []*jwtverify.Key // the issuer's asymmetric ones
	jwks     map[string]map[string]any
	rsa      func() *rsa.PrivateKey
}

func newForge(t testing.TB) *forge {
	t.Helper()
	algs := everyAlgorithm()
	ids := make([]string, len(algs))
	for i, a := range algs {
		ids[i] = strings.ToLower(string(a))
	}
	f := &forge{attacker: newIssuer(t, jwtverify.EdDSA, jwtverify.HS256), jwks: map[string]map[string]any{}}
	var err error
	if f.issuer, err = jwttest.NewIssuer(jwttest.Options{Algorithms: algs, KeyIDs: ids}); err != nil {
		t.Fatal(err)
	}
	f.rsa = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(f.issuer.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		f.jwks[k["alg"].(string)] = k
	}
	if f.keys, _, err = jwtverify.ParseKeySet(f.issuer.JWKS()); err != nil {
		t.Fatal(err)
	}
	return f
}

// jwk returns a copy of a public key's members.
func (f *forge) jwk(t testing.TB, of string) map[string]any {
	t.Helper()
	switch of {
	case "forge":
		p := f.rsa().PublicKey
		return map[string]any{"kty": "RSA", "kid": "forge", "n": b64(string(p.N.Bytes())), "e": "AQAB"}
	case "P-521":
		k, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"kty": "EC", "crv": "P-521", "kid": "p-521", "x": b64(string(point[1:67])), "y": b64(string(point[67:]))}
	}
	m := f.jwks[of]
	if m == nil {
		t.Fatalf("the forge has no key %q", of)
	}
	c := map[string]any{}
	for name, v := range m {
		c[name] = v
	}
	return c
}

// segments are those of a genuine token.
type segments struct{ H, P, S string }

func newSegments(t testing.TB, f *forge, alg jwtverify.Algorithm, header, payload string) segments {
	t.Helper()
	s := segments{H: b64(header), P: b64(payload)}
	signature, err := f.issuer.Sign(alg, []byte(s.H+"."+s.P))
	if err != nil {
		t.Fatal(err)
	}
	s.S = b64(string(signature))
	return s
}

// execute runs a template. Its functions panic on misuse, which the template
// package turns into an error.
func (f *forge) execute(t testing.TB, text string, s any) string {
	t.Helper()
	if !strings.Contains(text, "{{") {
		return text
	}
	tmpl, err := template.New("").Option("missingkey=error").Funcs(f.funcs()).Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (f *forge) funcs() template.FuncMap {
	return template.FuncMap{
		"rep":    strings.Repeat,
		"hex":    func(s string) string { return string(must(hex.DecodeString(s))) },
		"b64":    b64,
		"std":    func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(unb64(s))) },
		"member": func(of, name string) string { return unb64(f.jwks[of][name].(string)) },
		"jwk":    func(of string) string { return string(must(json.Marshal(f.jwks[of]))) },
		"pem":    func(of string) string { return string(f.issuer.PublicPEM(jwtverify.Algorithm(of))) },
		"resign": f.resign,
		"mac":    f.mac,
		"pkcs1":  f.pkcs1,
		"pss":    f.pss,
		"flip":   func(s string) string { return flip(s, 0) },
		"flipat": flip,
		"cut":    func(n int, s string) string { b := unb64(s); return b64(b[:len(b)-n]) },
		"lead":   func(n int, s string) string { return b64(strings.Repeat("\x00", n) + unb64(s)) },
		"trail":  func(n int, s string) string { return b64(unb64(s) + strings.Repeat("\x00", n)) },
		"mid0":   func(s string) string { b := unb64(s); return b64(b[:len(b)/2] + "\x00" + b[len(b)/2:]) },
		"bump":   bump,
		"rs":     replaceRS,
		"plusL":  plusL,
		"attack": func(s segments) string { return b64(string(must(f.attacker.Sign("EdDSA", []byte(s.H+"."+s.P))))) },
		"attackerJWK": func() string {
			var set struct{ Keys []json.RawMessage }
			if err := json.Unmarshal(f.attacker.JWKS(), &set); err != nil {
				panic(err)
			}
			return string(set.Keys[0])
		},
	}
}

// resign signs any text with one of the issuer's keys.
func (f *forge) resign(alg, signed string) string {
	return b64(string(must(f.issuer.Sign(jwtverify.Algorithm(alg), []byte(signed)))))
}

// mac is an HMAC of the token, keyed with something public.
func (f *forge) mac(secret string, s segments) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(s.H + "." + s.P))
	return b64(string(h.Sum(nil)))
}

func (f *forge) pss(s segments) string {
	digest := sha256.Sum256([]byte(s.H + "." + s.P))
	return b64(string(must(rsa.SignPSS(rand.Reader, f.rsa(), crypto.SHA256, digest[:], nil))))
}

// pkcs1 signs with a padding that RFC 8017, 9.2 does not know; "good" is the
// right one.
func (f *forge) pkcs1(variant string, s segments) string {
	digest := sha256.Sum256([]byte(s.H + "." + s.P))
	info := string(must(hex.DecodeString("3031300d060960864801650304020105000420"))) + string(digest[:])
	lead, fill := "\x00\x01", "\xff"
	switch variant {
	case "good":
	case "no NULL":
		info = string(must(hex.DecodeString("302f300b0609608648016503040201"+"0420"))) + string(digest[:])
	case "long length":
		info = string(must(hex.DecodeString("308131300d060960864801650304020105000420"))) + string(digest[:])
	case "sha1 oid":
		info = string(must(hex.DecodeString("3021300906052b0e03021a05000414"))) + string(digest[:20])
	case "bare digest":
		info = string(digest[:])
	case "garbage behind", "short padding":
		// Bleichenbacher's: eight bytes of padding, the rest is free.
		em := "\x00\x01" + strings.Repeat("\xff", 8) + "\x00" + info
		return f.rawRSA(em + strings.Repeat("\xaa", 256-len(em)))
	case "type 2":
		lead = "\x00\x02"
	case "type 0":
		lead, fill = "\x00\x00", "\x00"
	case "zero padding":
		fill = "\x00"
	case "other padding":
		fill = "\xfe"
	case "bent digest":
		info = info[:len(info)-1] + string(info[len(info)-1]^1)
	default:
		panic("unknown padding " + variant)
	}
	return f.rawRSA(lead + strings.Repeat(fill, 256-len(info)-3) + "\x00" + info)
}

func (f *forge) rawRSA(em string) string {
	k := f.rsa()
	m := new(big.Int).SetBytes([]byte(em))
	return b64(string(m.Exp(m, k.D, k.N).FillBytes(make([]byte, 256))))
}

// replaceRS puts other numbers into an ES256 signature.
func replaceRS(signature, r, s string) string {
	b := []byte(unb64(signature))
	n := elliptic.P256().Params().N
	number := func(name string) *big.Int {
		switch name {
		case "r":
			return new(big.Int).SetBytes(b[:32])
		case "s":
			return new(big.Int).SetBytes(b[32:])
		case "n-s":
			return new(big.Int).Sub(n, new(big.Int).SetBytes(b[32:]))
		case "n":
			return n
		case "n+1":
			return new(big.Int).Add(n, big.NewInt(1))
		case "max":
			return new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, 32))
		case "0", "1":
			return big.NewInt(int64(name[0] - '0'))
		}
		panic("unknown number " + name)
	}
	return b64(string(number(r).FillBytes(make([]byte, 32))) + string(number(s).FillBytes(make([]byte, 32))))
}

// plusL adds the group order to S: the same point, another spelling
// (RFC 8032, 5.1.7).
func plusL(signature string) string {
	b := []byte(unb64(signature))
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(b[ed25519.SignatureSize/2:])
	slices.Reverse(s)
	sum := order.Add(order, new(big.Int).SetBytes(s)).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return b64(string(b[:32]) + string(sum))
}

// bump sets a trailing bit that decoders drop: another spelling of the bytes.
func bump(segment string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(segment)%4 == 0 {
		panic("the segment has no trailing bits")
	}
	last := strings.IndexByte(alphabet, segment[len(segment)-1])
	return segment[:len(segment)-1] + string(alphabet[last|1])
}

func flip(segment string, i int) string {
	b := []byte(unb64(segment))
	b[i] ^= 1
	return b64(string(b))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unb64(s string) string { return string(must(base64.RawURLEncoding.DecodeString(s))) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint("forge: ", err))
	}
	return v
}
