//go:build interop

package interop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

const slack = 10 * time.Second

// newBench makes all keys and key sets, and publishes them.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Now().Truncate(time.Second), opened: map[string]*jwks.RemoteKeySet{}}
	var err error
	if _, b.ed25519, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	if b.p521, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	b.rsa = newRSA(t, 2048)
	b.issuer = newIssuer(t, jwtverify.Asymmetric(), b.ed25519, b.rsa)
	b.stranger = newIssuer(t, []jwtverify.Algorithm{jwtverify.EdDSA})
	b.long = newIssuer(t, []jwtverify.Algorithm{jwtverify.RS256}, newRSA(t, 3072))
	b.secrets = newIssuer(t, []jwtverify.Algorithm{jwtverify.HS256}, []byte("a secret of the two sides alone!"))
	b.sets = b.keySets()
	b.server = jwttest.NewServer(b.issuer)
	t.Cleanup(b.server.Close)
	b.server.SetHandler(http.HandlerFunc(b.publish))
	b.fetcher = jwks.NewFetcher(jwks.FetcherConfig{})
	t.Cleanup(b.fetcher.Close)
	return b
}

// newIssuer uses the given private keys for the algorithms that they fit.
func newIssuer(t *testing.T, algs []jwtverify.Algorithm, private ...any) *jwttest.Issuer {
	t.Helper()
	keys := make([]any, len(algs))
	for i, alg := range algs {
		for _, p := range private {
			if fits(alg, p) {
				keys[i] = p
			}
		}
	}
	issuer, err := jwttest.NewIssuer(jwttest.Options{Algorithms: algs, PrivateKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

func fits(alg jwtverify.Algorithm, private any) bool {
	switch private.(type) {
	case ed25519.PrivateKey:
		return alg == jwtverify.EdDSA
	case *rsa.PrivateKey:
		return alg == jwtverify.RS256 || alg == jwtverify.RS384 || alg == jwtverify.RS512
	case []byte:
		return alg == jwtverify.HS256
	}
	return false
}

func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type jwk = map[string]any

// keySets are those that keySetCases and algorithmCases name.
func (b *bench) keySets() map[string][]byte {
	eddsa := published(b.t, b.issuer, jwtverify.EdDSA)
	rs256 := published(b.t, b.issuer, jwtverify.RS256)
	stranger := published(b.t, b.stranger, jwtverify.EdDSA)
	sets := map[string][]jwk{
		"one":             {eddsa},
		"unusable before": {{"kty": "XYZ", "kid": "x"}, eddsa},
		"nameless before": {without(stranger, "kid"), eddsa},
		"twice":           {rs256, eddsa, with(stranger, "kid", eddsa["kid"])},
		"encryption":      {rs256, with(eddsa, "use", "enc")},
		"private":         {rs256, with(eddsa, "d", base64URL(b.ed25519.Seed()))},
		"secret":          {rs256, {"kty": "oct", "alg": "HS256", "use": "sig", "kid": "secret", "k": base64URL(b.secrets.Secret())}},
		"empty":           {},
		"rs256":           {with(rs256, "kid", "rs256")},
		"ps256":           {with(with(rs256, "kid", "ps256"), "alg", "PS256")},
		"rsa without alg": {with(without(rs256, "alg"), "kid", "rsa")},
		"p521":            {b.p521JWK()},
	}
	all := map[string][]byte{"none": []byte(`{"error":"maintenance"}`)}
	for name, keys := range sets {
		set, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			b.t.Fatal(err)
		}
		all[name] = set
	}
	return all
}

// published is the JWK of an issuer's key.
func published(t *testing.T, issuer *jwttest.Issuer, alg jwtverify.Algorithm) jwk {
	t.Helper()
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(issuer.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if k["alg"] == string(alg) {
			return k
		}
	}
	t.Fatalf("no key for %s", alg)
	return nil
}

func with(k jwk, name string, value any) jwk {
	changed := maps.Clone(k)
	changed[name] = value
	return changed
}

func without(k jwk, name string) jwk {
	changed := maps.Clone(k)
	delete(changed, name)
	return changed
}

func (b *bench) strangersJWK() jwk { return published(b.t, b.stranger, jwtverify.EdDSA) }

func (b *bench) p521JWK() jwk {
	point, err := b.p521.PublicKey.Bytes()
	if err != nil {
		b.t.Fatal(err)
	}
	size := len(point) / 2
	return jwk{
		"kty": "EC", "crv": "P-521", "alg": "ES512", "use": "sig", "kid": "p521",
		"x": base64URL(point[1 : 1+size]), "y": base64URL(point[1+size:]),
	}
}

// publish serves the issuer's keys, or the set that ?set= names.
func (b *bench) publish(w http.ResponseWriter, r *http.Request) {
	set, ok := b.issuer.JWKS(), true
	if name := r.URL.Query().Get("set"); name != "" {
		set, ok = b.sets[name]
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(set)
}

// joined is a good token with this header, signed by sign.
func (b *bench) joined(header jwk, sign func(signed []byte) ([]byte, error)) string {
	b.t.Helper()
	signed := encodeJSON(b.t, header) + "." + encodeJSON(b.t, b.claims(nil))
	signature, err := sign([]byte(signed))
	if err != nil {
		b.t.Fatal(err)
	}
	return signed + "." + base64URL(signature)
}

func (b *bench) signPS256() string {
	return b.joined(jwk{"alg": "PS256", "kid": "ps256"}, func(signed []byte) ([]byte, error) {
		digest := sha256.Sum256(signed)
		return rsa.SignPSS(rand.Reader, b.rsa, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	})
}

func (b *bench) signES512() string {
	return b.joined(jwk{"alg": "ES512", "kid": "p521"}, func(signed []byte) ([]byte, error) {
		digest := sha512.Sum512(signed)
		r, s, err := ecdsa.Sign(rand.Reader, b.p521, digest[:])
		if err != nil {
			return nil, err
		}
		const size = 66 // 521 bits (RFC 7518, 3.4)
		signature := make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return signature, nil
	})
}

func (b *bench) signHS512() string {
	return b.joined(jwk{"alg": "HS512"}, func(signed []byte) ([]byte, error) {
		mac := hmac.New(sha512.New, b.secrets.Secret())
		mac.Write(signed)
		return mac.Sum(nil), nil
	})
}

// confused is signed with HS256 and a public key for a secret: a verifier that
// lets the token choose would take it.
func (b *bench) confused() string {
	kid := b.issuer.KeyID(jwtverify.RS256)
	return b.joined(jwk{"alg": "HS256", "kid": kid}, func(signed []byte) ([]byte, error) {
		mac := hmac.New(sha256.New, b.issuer.PublicPEM(jwtverify.RS256))
		mac.Write(signed)
		return mac.Sum(nil), nil
	})
}

func (b *bench) otherSecrets() *jwttest.Issuer {
	return newIssuer(b.t, []jwtverify.Algorithm{jwtverify.HS256}, []byte("a secret of two others, not ours"))
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// outcome tells how our verdict is not the wanted one.
func outcome(id *jwtverify.Identity, err, want error) string {
	if (id == nil) == (err == nil) {
		return fmt.Sprintf("identity %v with error %v", id, err)
	}
	if !errors.Is(err, want) {
		return fmt.Sprintf("we say %v, want %v", err, want)
	}
	return ""
}
