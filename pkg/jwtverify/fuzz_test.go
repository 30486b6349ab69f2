package jwtverify_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// FuzzVerify holds Verify to a second opinion made of the standard library:
// what passes must have a signature that crypto/* accepts too, over the very
// bytes that were sent, and claims that a plain decoder reads the same way.
func FuzzVerify(f *testing.F) {
	fg := newForge(f)
	v := newVerifier(f, config(mustSet(f, fg.keys...)))
	for _, alg := range jwtverify.Asymmetric() {
		f.Add(mint(f, fg.issuer, good(nil), jwttest.WithAlgorithm(alg)))
	}
	seeds := 0
	for _, vector := range loadVectors(f) {
		if token := vector.token(f, fg); len(token) < 4096 {
			f.Add(token)
			seeds++
		}
	}
	if seeds < 500 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(context.Background(), token)
		agree(t, v, token, err)
		if err != nil {
			if id != nil || len(sentinelsOf(err)) != 1 {
				t.Fatalf("identity %v with error %v", id, err)
			}
			return
		}
		secondOpinion(t, fg, token, id)
	})
}

func secondOpinion(t *testing.T, f *forge, token string, id *jwtverify.Identity) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("not three segments")
	}
	var raw [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil || base64.RawURLEncoding.EncodeToString(b) != p {
			t.Fatalf("segment %d has another spelling: %v", i, err)
		}
		raw[i] = b
	}
	// Maps, since struct tags of encoding/json match in any case.
	var head, claims map[string]any
	if err := json.Unmarshal(raw[0], &head); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw[1], &claims); err != nil {
		t.Fatal(err)
	}
	name, _ := head["alg"].(string)
	alg := jwtverify.Algorithm(name)
	if alg == "Ed25519" {
		alg = jwtverify.EdDSA
	}
	if kid, ok := head["kid"].(string); !ok || f.issuer.KeyID(alg) != kid {
		t.Fatalf("kid %q for %s", kid, alg)
	}
	if !standardVerify(f, alg, []byte(parts[0]+"."+parts[1]), raw[2]) {
		t.Fatal("the standard library refuses the signature")
	}
	if exp, ok := claims["exp"].(float64); !ok || exp <= now {
		t.Fatalf("exp %v", claims["exp"])
	}
	sub, _ := claims["sub"].(string)
	if id.Issuer != "https://sso.example" || claims["iss"] != id.Issuer || sub != id.Subject {
		t.Fatalf("claims %+v, identity %+v", claims, id)
	}
}

func standardVerify(f *forge, alg jwtverify.Algorithm, signed, signature []byte) bool {
	hash := map[jwtverify.Algorithm]crypto.Hash{
		"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
		"ES256": crypto.SHA256, "ES384": crypto.SHA384,
	}[alg]
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write(signed)
		digest = h.Sum(nil)
	}
	switch key := f.issuer.Public(alg).(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, signed, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	}
	if alg != jwtverify.HS256 {
		return false
	}
	mac := hmac.New(sha256.New, f.issuer.Secret())
	mac.Write(signed)
	return hmac.Equal(mac.Sum(nil), signature)
}

// FuzzParseKeySet: whatever the bytes, a key that comes out is one of ours to
// verify with, under a kid of its own.
func FuzzParseKeySet(f *testing.F) {
	fg := newForge(f)
	seeds := 0
	f.Add(fg.issuer.JWKS())
	for _, v := range loadVectors(f) {
		text := fg.execute(f, v.Set, nil)
		for _, r := range v.JWKS {
			text = `{"keys":[` + r.text(f, fg) + `]}`
		}
		if text != "" && len(text) < 8192 {
			f.Add([]byte(text))
			seeds++
		}
	}
	if seeds < 100 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := jwtverify.ParseKeySet(data)
		if err != nil && keys != nil {
			t.Fatal("keys with an error")
		}
		if len(keys) > 100 {
			t.Fatalf("%d keys", len(keys))
		}
		seen := map[string]bool{}
		for _, k := range keys {
			if k.ID() != "" && seen[k.ID()] {
				t.Fatalf("kid %q twice", k.ID())
			}
			seen[k.ID()] = true
			if len(k.Algorithms()) == 0 || k.Thumbprint() == "" || !k.Equal(k) {
				t.Fatalf("odd key %v", k)
			}
			if !json.Valid(data) {
				t.Fatal("a key out of invalid JSON")
			}
		}
	})
}

// FuzzClaims signs whatever claims come: they never panic, and what passes
// names a user and is read as a plain decoder reads it.
func FuzzClaims(f *testing.F) {
	fg := newForge(f)
	v := newVerifier(f, config(mustSet(f, fg.keys...)))
	c := config(mustSet(f, fg.keys...))
	c.Claims = map[string]string{"session_id": "/a/1", "workspace_id": "/a/b~1/0"}
	mapped := newVerifier(f, c)
	seeds := 0
	for _, vector := range loadVectors(f) {
		payload := fg.execute(f, vector.Payload, nil)
		if vector.Payload == "" {
			payload = vector.goodPayload(f)
		}
		if len(payload) < 4096 {
			f.Add([]byte(payload))
			seeds++
		}
	}
	for _, more := range []string{`"a":["x","s"]`, `"a":{"1":"s","b/":["w"]}`, `"a":{"b/":["\u0077",{"c":[[],{}]}]} , "d" : null `, `"a":[{"x":"]}"},"\\\""]`} {
		f.Add([]byte(" {" + more + `,"sub":"u","exp":1900000000.5,"iss":"https://sso.example","aud":"my-app"} `))
		seeds++
	}
	if seeds < 300 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		token, err := fg.issuer.MintPayload(payload)
		if err != nil {
			t.Fatal(err)
		}
		id, err := v.Verify(context.Background(), token)
		if err != nil {
			if len(sentinelsOf(err)) != 1 {
				t.Fatalf("error %v", err)
			}
			return
		}
		plain := map[string]any{}
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber()
		if err := d.Decode(&plain); err != nil {
			t.Fatalf("encoding/json refuses what passed: %v", err)
		}
		for name, value := range plain { // before Map makes them all
			if got := id.Claims.Get(name); !reflect.DeepEqual(got, value) {
				t.Fatalf("%q is %v out of %q", name, got, payload)
			}
		}
		if got := id.Claims.Map(); !reflect.DeepEqual(got, plain) {
			t.Fatalf("%v out of %q", got, payload)
		}
		if id, err := mapped.Verify(context.Background(), token); err == nil {
			for pointer, got := range map[string]string{"/a/1": id.SessionID, "/a/b~1/0": id.WorkspaceID} {
				if want, _ := at(plain, strings.Split(pointer, "/")[1:]).(string); got != want {
					t.Fatalf("%s is %q, want %q", pointer, got, want)
				}
			}
		}
		number, _ := plain["exp"].(json.Number)
		if exp, err := number.Float64(); err != nil || id.UserID == "" || exp <= now {
			t.Fatalf("%+v out of %q", id, payload)
		}
	})
}

// at returns the value at a JSON pointer (RFC 6901) in a decoded document.
func at(v any, steps []string) any {
	for _, step := range steps {
		switch in := v.(type) {
		case map[string]any:
			v = in[strings.ReplaceAll(step, "~1", "/")]
		case []any:
			if i := int(step[0] - '0'); len(step) == 1 && i < len(in) {
				v = in[i]
			} else {
				return nil
			}
		default:
			return nil
		}
	}
	return v
}
