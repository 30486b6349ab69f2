package jwtverify_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

func TestParseAlgorithm(t *testing.T) {
	for name, want := range map[string]jwtverify.Algorithm{
		"EdDSA": "EdDSA", "Ed25519": "EdDSA", "RS256": "RS256", "HS256": "HS256",
		"": "", "none": "", "eddsa": "", "PS256": "", "ES512": "", "RS256 ": "",
	} {
		got, err := jwtverify.ParseAlgorithm(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	if slices.Contains(jwtverify.Asymmetric(), jwtverify.HS256) {
		t.Error("HS256 is not asymmetric")
	}
}

// The example of RFC 8037, A.2 and A.3, and of RFC 7638, 3.1.
func TestThumbprint(t *testing.T) {
	for want, jwk := range map[string]string{
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
	} {
		k, err := jwtverify.ParseJWK([]byte(jwk), "")
		if err != nil {
			t.Fatal(err)
		}
		if k.Thumbprint() != want {
			t.Errorf("thumbprint %s, want %s", k.Thumbprint(), want)
		}
	}
}

func TestKeyEqual(t *testing.T) {
	f := newForge(t)
	parse := func(alg, want string, change func(map[string]any)) *jwtverify.Key {
		m := f.jwk(t, alg)
		change(m)
		k, err := jwtverify.ParseJWK(must(json.Marshal(m)), jwtverify.Algorithm(want))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	same := func(map[string]any) {}
	base := parse("RS256", "", same)
	secret := func(c string) *jwtverify.Key { return must(jwtverify.NewSecretKey([]byte(strings.Repeat(c, 32)))) }
	for name, c := range map[string]struct {
		a, b *jwtverify.Key
		want bool
	}{
		"same":            {base, parse("RS256", "", same), true},
		"other kid":       {base, parse("RS256", "", func(m map[string]any) { m["kid"] = "x" }), false},
		"other alg":       {base, parse("RS256", "", func(m map[string]any) { m["alg"] = "RS512" }), false},
		"more algs":       {base, parse("RS256", "", func(m map[string]any) { delete(m, "alg") }), false},
		"other e":         {base, parse("RS256", "", func(m map[string]any) { m["e"] = "Aw" }), false},
		"same secret":     {secret("a"), secret("a"), true},
		"other secret":    {secret("a"), secret("b"), false},
		"secret, public":  {secret("a"), base, false},
		"nil":             {base, nil, false},
		"nil and nothing": {nil, nil, true},
	} {
		if c.a.Equal(c.b) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	const text = "0123456789abcdefghijklmnopqrstuvwxyz"
	material := []byte(text)
	k, err := jwtverify.NewSecretKey(material)
	if err != nil {
		t.Fatal(err)
	}
	thing := struct{ Key jwtverify.Key }{*k}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%z"} {
		for name, value := range map[string]any{"a key": k, "its value": *k, "a pointer": &k, "a list": []*jwtverify.Key{k}, "a struct": thing, "for a log": k.LogValue(), "a thumbprint": k.Thumbprint()} {
			printed := strings.ToLower(strings.NewReplacer(" ", "", "0x", "", ",", "").Replace(fmt.Sprintf(verb, value)))
			for _, form := range []string{text, hex.EncodeToString(material), strings.ReplaceAll(strings.Trim(fmt.Sprint(material), "[]"), " ", "")} {
				if strings.Contains(printed, form[:16]) {
					t.Errorf("%s by %s: %s", name, verb, printed)
				}
			}
		}
	}
	if asJSON := must(json.Marshal(map[string]any{"key": k, "value": *k})); strings.Contains(string(asJSON), text[:8]) {
		t.Errorf("%s", asJSON)
	}
	// The key must not change with the caller's slice.
	clear(material)
	if other := must(jwtverify.NewSecretKey([]byte(text))); !k.Equal(other) {
		t.Error("the key shares the caller's memory")
	}
}

func certificate(t testing.TB, f *forge) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, NotAfter: time.Unix(1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &f.rsa().PublicKey, f.rsa())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestParsePEM(t *testing.T) {
	f := newForge(t)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	ed := string(f.issuer.PublicPEM("EdDSA"))
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	identity := append(must(x509.MarshalPKIXPublicKey(f.issuer.Public("EdDSA")))[:12], append([]byte{1}, make([]byte, 31)...)...)
	for _, c := range []struct {
		name, pem, alg, algs string // algs: what comes out
		problem              string // or a part of the error
	}{
		{"Ed25519", ed, "EdDSA", "[EdDSA]", ""},
		{"any alg", ed, "", "[EdDSA]", ""},
		{"text in front", "subject=x\n" + ed + "\n \n", "EdDSA", "[EdDSA]", ""},
		{"RSA", string(f.issuer.PublicPEM("RS256")), "RS384", "[RS384]", ""},
		{"RSA, any alg", string(f.issuer.PublicPEM("RS256")), "", "[RS256 RS384 RS512]", ""},
		{"P-256", string(f.issuer.PublicPEM("ES256")), "ES256", "[ES256]", ""},
		{"P-384", string(f.issuer.PublicPEM("ES384")), "", "[ES384]", ""},
		{"PKCS1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&f.rsa().PublicKey)), "RS256", "[RS256]", ""},
		{"certificate", string(certificate(t, f)), "RS256", "[RS256]", ""},

		{"two keys", ed + ed, "EdDSA", "", "data after the first PEM block"},
		{"no PEM", "hello", "EdDSA", "", "no PEM block"},
		{"empty", "", "EdDSA", "", "no PEM block"},
		{"as a secret", ed, "HS256", "", "does not fit the key"},
		{"another alg", ed, "RS256", "", "does not fit the key"},
		{"another curve", string(f.issuer.PublicPEM("ES256")), "ES384", "", "does not fit the key"},
		{"PS256", string(f.issuer.PublicPEM("RS256")), "PS256", "", "does not fit the key"},
		{"1024 bits", block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&small.PublicKey))), "RS256", "", "1024 bits"},
		{"small order", block("PUBLIC KEY", identity), "EdDSA", "", "small order"},
		{"private key", block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(f.rsa()))), "RS256", "", "private key"},
		{"private RSA key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(f.rsa())), "RS256", "", "private key"},
		{"junk inside", block("PUBLIC KEY", []byte("junk")), "EdDSA", "", "reading the PEM block"},
		{"another block", block("CERTIFICATE REQUEST", []byte("junk")), "EdDSA", "", "not one to verify with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := jwtverify.ParsePEM([]byte(c.pem), jwtverify.Algorithm(c.alg))
			switch {
			case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
				t.Fatalf("got %v, want %q", err, c.problem)
			case c.problem == "" && err != nil:
				t.Fatal(err)
			case c.problem == "" && fmt.Sprint(k.Algorithms()) != c.algs:
				t.Fatalf("algorithms %v, want %s", k.Algorithms(), c.algs)
			}
		})
	}
}

// The text of a refused key reaches logs: it names the key and the reason, and holds
// nothing of the material.
func TestProblemsNameTheKey(t *testing.T) {
	const material = "SECRETSECRETSECRETSECRETSECRETSECRETSECRETS"
	for jwk, want := range map[string]string{
		`{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"` + material + `","d":"` + material + `"}`: `key 0 (kid "k1") left out: private key`,
		`{"kty":"oct","kid":"k2","k":"` + material + `"}`:                                        `key 0 (kid "k2") left out: symmetric`,
		`{"kty":"OKP","crv":"Ed25519","kid":"k3","x":"` + material + `=="}`:                      `key 0 (kid "k3") left out: JWK member "x"`,
		`{"kty":"OKP","crv":"Ed25519","kid":"k4","x":["` + material + `"]}`:                      `key 0 (kid "k4") left out: JWK is not strict JSON or a member has the wrong type`,
		`{"kty":"oct","kid":"` + strings.Repeat("k", 70) + `"}`:                                  `key 0 (kid "` + strings.Repeat("k", 64) + `"…) left out`,
		`{"kty":"x","x":"` + material + `","x":"` + material + `"}`:                              `key 0 left out: JWK is not strict JSON or a member has the wrong type: duplicate member`,
		`{"kty":"XYZ","kid":"k5"}`:                                                               `key 0 (kid "k5") left out: unsupported key: kty "XYZ"`,
	} {
		keys, problems, err := jwtverify.ParseKeySet([]byte(`{"keys":[` + jwk + `]}`))
		if err != nil || len(keys) != 0 || len(problems) != 1 {
			t.Fatalf("%v %v %v", keys, problems, err)
		}
		if text := problems[0].Error(); !strings.HasPrefix(text, want) || strings.Contains(text, material[:6]) {
			t.Errorf("%s\nwant %s", text, want)
		}
	}
}

func TestStaticKeySet(t *testing.T) {
	f := newForge(t)
	plain, err := jwtverify.ParsePEM(f.issuer.PublicPEM("EdDSA"), "")
	if err != nil {
		t.Fatal(err)
	}
	one, many, without := mustSet(t, f.keys[0]), mustSet(t, f.keys...), mustSet(t, plain)
	mixed := mustSet(t, f.keys[0], plain)
	for name, c := range map[string]struct {
		set  *jwtverify.StaticKeySet
		kid  string
		want *jwtverify.Key
	}{
		"one, named":          {one, "eddsa", f.keys[0]},
		"one, no kid":         {one, "", f.keys[0]},
		"one, another kid":    {one, "x", nil},
		"many, named":         {many, "rs384", f.keys[2]},
		"many, no kid":        {many, "", nil},
		"many, another kid":   {many, "x", nil},
		"without, any kid":    {without, "x", plain},
		"without, no kid":     {without, "", plain},
		"mixed, named":        {mixed, "eddsa", f.keys[0]},
		"mixed, no kid":       {mixed, "", nil},
		"mixed, unknown name": {mixed, "x", nil},
	} {
		k, err := c.set.Find(context.Background(), c.kid)
		if k != c.want || (c.want == nil) != errors.Is(err, jwtverify.ErrUnknownKey) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	for name, keys := range map[string][]*jwtverify.Key{
		"none": {}, "nil": {nil}, "twice": {f.keys[0], f.keys[0]},
	} {
		if _, err := jwtverify.NewStaticKeySet(keys...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := many.Keys(); !slices.Equal(got, f.keys) {
		t.Error("Keys returns others")
	}
}
