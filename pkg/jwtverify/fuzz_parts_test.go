package jwtverify_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// FuzzHeader signs every fuzzed header. FuzzVerify cannot find what this finds: it changes
// tokens, which breaks their signature. A header that is accepted must be a JSON object that
// a plain decoder reads the same way, and must require nothing but a signature by the named
// key.
func FuzzHeader(f *testing.F) {
	fg := newForge(f)
	v := newVerifier(f, config(mustSet(f, fg.keys...)))
	kid := fg.issuer.KeyID(jwtverify.EdDSA)
	seeds := 0
	for _, vector := range loadVectors(f) {
		if header := fg.execute(f, vector.Header, nil); vector.Header != "" && len(header) < 4096 {
			f.Add([]byte(header))
			seeds++
		}
	}
	if seeds < 50 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Add([]byte(`{"alg":"EdDSA","kid":"` + kid + `"}`))
	payload := must(json.Marshal(good(nil)))
	f.Fuzz(func(t *testing.T, header []byte) {
		token, err := fg.issuer.MintRaw(header, payload, jwttest.WithAlgorithm(jwtverify.EdDSA))
		if err != nil {
			t.Fatal(err)
		}
		id, err := v.Verify(context.Background(), token)
		if err != nil {
			if id != nil || len(sentinelsOf(err)) != 1 {
				t.Fatalf("identity %v with error %v", id, err)
			}
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(header, &plain); err != nil {
			t.Fatalf("encoding/json refuses the header that passed: %v", err)
		}
		if plain["kid"] != kid || plain["alg"] != "EdDSA" && plain["alg"] != "Ed25519" {
			t.Fatalf("%q passed with the key %q", header, kid)
		}
		for _, changes := range []string{"crit", "b64", "zip", "enc"} {
			if _, there := plain[changes]; there {
				t.Fatalf("%q passed with %s", header, changes)
			}
		}
	})
}

// FuzzPEM: a key that comes out is one that the standard library reads out of
// the same block, and never a private one.
func FuzzPEM(f *testing.F) {
	fg := newForge(f)
	for _, alg := range jwtverify.Asymmetric() {
		f.Add(fg.issuer.PublicPEM(alg), string(alg))
		f.Add(fg.issuer.PublicPEM(alg), "")
	}
	f.Add(certificate(f, fg), "RS256")
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&fg.rsa().PublicKey)}), "RS512")
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(fg.rsa()))}), "RS256")
	f.Fuzz(func(t *testing.T, data []byte, alg string) {
		key, err := jwtverify.ParsePEM(data, jwtverify.Algorithm(alg))
		if err != nil {
			if key != nil {
				t.Fatal("a key with an error")
			}
			return
		}
		block, rest := pem.Decode(data)
		if block == nil || strings.TrimSpace(string(rest)) != "" || strings.Contains(block.Type, "PRIVATE") {
			t.Fatalf("a key out of %q", data)
		}
		if len(key.Algorithms()) == 0 || alg != "" && string(key.Algorithms()[0]) != alg && alg != "Ed25519" {
			t.Fatalf("%v for %q", key.Algorithms(), alg)
		}
		_, spki := x509.ParsePKIXPublicKey(block.Bytes)
		_, pkcs1 := x509.ParsePKCS1PublicKey(block.Bytes)
		_, cert := x509.ParseCertificate(block.Bytes)
		if spki != nil && pkcs1 != nil && cert != nil {
			t.Fatalf("the standard library finds no public key in %q", data)
		}
	})
}
