package jwttest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

func issuer(t *testing.T, opts jwttest.Options) *jwttest.Issuer {
	t.Helper()
	i, err := jwttest.NewIssuer(opts)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func mint(t *testing.T, i *jwttest.Issuer, opts ...jwttest.MintOption) string {
	t.Helper()
	token, err := i.Mint(map[string]any{"sub": "user:1", "aud": "app", "exp": time.Now().Add(time.Hour).Unix()}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// verify verifies a token with the published keys.
func verify(t *testing.T, jwks []byte, token string) error {
	t.Helper()
	keys, problems, err := jwtverify.ParseKeySet(jwks)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jwtverify.New(jwtverify.Config{Keys: set, Issuers: []string{"https://sso.example"}, Audiences: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(context.Background(), token)
	return err
}

func TestZeroOptions(t *testing.T) {
	i := issuer(t, jwttest.Options{})
	if i.KeyID(jwtverify.EdDSA) == "" || i.PublicPEM(jwtverify.EdDSA) == nil {
		t.Error("no EdDSA key")
	}
	if i.PublicPEM(jwtverify.RS256) != nil || i.Public(jwtverify.RS256) != nil || i.Secret() != nil {
		t.Error("keys of algorithms that were not configured")
	}
	if _, err := i.Mint(nil, jwttest.WithAlgorithm(jwtverify.RS256)); err == nil {
		t.Error("minted without a key")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, opts := range map[string]jwttest.Options{
		"unknown algorithm": {Algorithms: []jwtverify.Algorithm{"none"}},
		"one twice":         {Algorithms: []jwtverify.Algorithm{"EdDSA", "Ed25519"}},
		"too many ids":      {KeyIDs: []string{"a", "b"}},
	} {
		if _, err := jwttest.NewIssuer(opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEveryAlgorithmVerifies(t *testing.T) {
	i := issuer(t, jwttest.Options{Algorithms: jwtverify.Asymmetric(), Issuer: "https://sso.example"})
	for _, alg := range jwtverify.Asymmetric() {
		if err := verify(t, i.JWKS(), mint(t, i, jwttest.WithAlgorithm(alg))); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if _, err := jwtverify.ParsePEM(i.PublicPEM(alg), alg); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

func TestSecretStaysPrivate(t *testing.T) {
	i := issuer(t, jwttest.Options{Algorithms: []jwtverify.Algorithm{jwtverify.HS256}})
	if string(i.JWKS()) != `{"keys":[]}` || i.PublicPEM(jwtverify.HS256) != nil {
		t.Error("the secret is published")
	}
	secret := string(i.Secret())
	if len(secret) < 32 {
		t.Error("no secret")
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		t.Errorf("a configuration file can't hold the secret %q", secret)
	}
}

func TestRotate(t *testing.T) {
	i := issuer(t, jwttest.Options{Issuer: "https://sso.example"})
	first := mint(t, i)
	if err := i.Rotate(true); err != nil {
		t.Fatal(err)
	}
	second := mint(t, i)
	for name, token := range map[string]string{"old": first, "new": second} {
		if err := verify(t, i.JWKS(), token); err != nil {
			t.Errorf("%s token, old key still published: %v", name, err)
		}
	}
	if err := i.Rotate(false); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"first": first, "second": second} {
		if err := verify(t, i.JWKS(), token); !errors.Is(err, jwtverify.ErrUnknownKey) {
			t.Errorf("%s token, old keys gone: %v", name, err)
		}
	}
}

func TestHeaderOptions(t *testing.T) {
	i := issuer(t, jwttest.Options{KeyIDs: []string{"k"}})
	for name, c := range map[string]struct {
		opts []jwttest.MintOption
		want string
	}{
		"none":       {nil, `{"alg":"EdDSA","kid":"k","typ":"JWT"}`},
		"key id":     {[]jwttest.MintOption{jwttest.WithKeyID("x")}, `{"alg":"EdDSA","kid":"x","typ":"JWT"}`},
		"no key id":  {[]jwttest.MintOption{jwttest.WithKeyID("")}, `{"alg":"EdDSA","typ":"JWT"}`},
		"other alg":  {[]jwttest.MintOption{jwttest.WithHeader("alg", "none")}, `{"alg":"none","kid":"k","typ":"JWT"}`},
		"extension":  {[]jwttest.MintOption{jwttest.WithHeader("crit", []string{"x"})}, `{"alg":"EdDSA","crit":["x"],"kid":"k","typ":"JWT"}`},
		"without it": {[]jwttest.MintOption{jwttest.WithHeader("typ", nil)}, `{"alg":"EdDSA","kid":"k"}`},
	} {
		token := mint(t, i, c.opts...)
		segment, _, _ := strings.Cut(token, ".")
		got, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestMintRawKeepsEveryByte(t *testing.T) {
	i := issuer(t, jwttest.Options{})
	header, payload := []byte("{not json\x00"), []byte{0xff, '\n'}
	token, err := i.MintRaw(header, payload)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	for n, want := range [][]byte{header, payload} {
		if got, err := base64.RawURLEncoding.DecodeString(parts[n]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("segment %d: %q", n, got)
		}
	}
}

// Mint must not change the claims of its caller.
func TestMintCopiesClaims(t *testing.T) {
	i := issuer(t, jwttest.Options{Issuer: "https://sso.example"})
	claims := map[string]any{"sub": "u"}
	if _, err := i.Mint(claims); err != nil {
		t.Fatal(err)
	}
	if len(claims) != 1 {
		t.Error("the claims were changed")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServer(t *testing.T) {
	i := issuer(t, jwttest.Options{})
	s := jwttest.NewServer(i)
	defer s.Close()
	step := func(name, url string, status int, body string, fetches int) {
		t.Helper()
		gotStatus, gotBody := get(t, url)
		if gotStatus != status || !strings.Contains(gotBody, body) || s.Fetches() != fetches {
			t.Errorf("%s: %d %s, %d fetches", name, gotStatus, gotBody, s.Fetches())
		}
	}
	step("keys", s.JWKSURL(), 200, i.KeyID(jwtverify.EdDSA), 1)
	step("discovery is not counted", s.DiscoveryURL(), 200, `"jwks_uri":"`+s.JWKSURL()+`"`, 1)
	step("elsewhere", s.URL()+"/x", 404, "", 1)
	s.SetDown(true)
	step("down", s.JWKSURL(), 503, "", 2)
	step("discovery down", s.DiscoveryURL(), 503, "", 2)
	s.SetDown(false)
	if err := i.Rotate(false); err != nil {
		t.Fatal(err)
	}
	step("rotated", s.JWKSURL(), 200, i.KeyID(jwtverify.EdDSA), 3)
	s.SetHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "mine") }))
	step("handler", s.JWKSURL(), 200, "mine", 4)
	s.SetHandler(nil)
	step("handler gone", s.JWKSURL(), 200, "keys", 5)
}

func TestDiscoveryNamesTheIssuer(t *testing.T) {
	for _, c := range []struct{ iss string }{{""}, {"https://sso.example"}} {
		s := jwttest.NewServer(issuer(t, jwttest.Options{Issuer: c.iss}))
		want := c.iss
		if want == "" {
			want = s.URL()
		}
		_, body := get(t, s.DiscoveryURL())
		var d struct{ Issuer string }
		if err := json.Unmarshal([]byte(body), &d); err != nil || d.Issuer != want {
			t.Errorf("%s, want %s", body, want)
		}
		s.Close()
	}
}

func TestConcurrentUse(t *testing.T) {
	i := issuer(t, jwttest.Options{Issuer: "https://sso.example"})
	s := jwttest.NewServer(i)
	defer s.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				if _, err := i.Mint(nil); err != nil {
					t.Error(err)
				}
				if err := i.Rotate(true); err != nil {
					t.Error(err)
				}
				if _, _, err := jwtverify.ParseKeySet(i.JWKS()); err != nil {
					t.Error(err)
				}
				s.SetDown(false)
				_ = s.Fetches()
			}
		})
	}
	wg.Wait()
}
