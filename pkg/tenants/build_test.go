package tenants_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noNetwork fails every fetch at once.
type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("there is no network")
}

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func mint(t testing.TB, issuer *jwttest.Issuer, claims map[string]any, opts ...jwttest.MintOption) string {
	t.Helper()
	all := map[string]any{"sub": "user:1", "aud": "my-app", "tenant_id": "acme", "exp": now.Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	token, err := issuer.Mint(all, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func build(t testing.TB, c tenants.Config, shared tenants.Shared) *tenants.Tenant {
	t.Helper()
	shared.Now = clock
	tenant, err := c.Build("", shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenant.Close)
	return tenant
}

func TestBuildVerifies(t *testing.T) {
	issuer := newIssuer(t)
	none := map[string]any{}
	tests := []struct {
		name   string
		edit   func(*tenants.Config)
		shared tenants.Shared
		claims map[string]any
		want   error // nil: accepted
	}{
		{"good", nil, tenants.Shared{}, none, nil},
		{"42 another issuer", nil, tenants.Shared{}, map[string]any{"iss": "https://sso.globex.example"}, jwtverify.ErrIssuer},
		{"another issuer, switched off", func(c *tenants.Config) { c.VerifyIss = false }, tenants.Shared{}, map[string]any{"iss": "https://x.example"}, nil},
		{"second issuer", func(c *tenants.Config) { c.Issuer = append(c.Issuer, "https://b.example") }, tenants.Shared{}, map[string]any{"iss": "https://b.example"}, nil},
		{"another audience", nil, tenants.Shared{}, map[string]any{"aud": "other"}, jwtverify.ErrAudience},
		{"another audience, switched off", func(c *tenants.Config) { c.VerifyAud = false }, tenants.Shared{}, map[string]any{"aud": "other"}, nil},
		{"another tenant", nil, tenants.Shared{}, map[string]any{"tenant_id": "globex"}, jwtverify.ErrTenant},
		{"another tenant, accepted", func(c *tenants.Config) { c.TenantIDs = tenants.StringList{"org_1", "globex"} }, tenants.Shared{}, map[string]any{"tenant_id": "globex"}, nil},
		{"own id, not listed", func(c *tenants.Config) { c.TenantIDs = tenants.StringList{"org_1"} }, tenants.Shared{}, none, jwtverify.ErrTenant},
		{"any tenant", func(c *tenants.Config) { c.TenantIDs = tenants.StringList{"*"} }, tenants.Shared{}, map[string]any{"tenant_id": "whoever"}, nil},
		{"no tenant", nil, tenants.Shared{}, map[string]any{"tenant_id": nil}, nil},
		{"no tenant, shared issuer", nil, tenants.Shared{RequireTenantID: true}, map[string]any{"tenant_id": nil}, jwtverify.ErrTenant},
		{"44 a list of tenants", nil, tenants.Shared{}, map[string]any{"tenant_id": []string{"acme"}}, jwtverify.ErrMalformed},
		{"44 a tenant with a blank", nil, tenants.Shared{}, map[string]any{"tenant_id": "acme "}, jwtverify.ErrTenant},
		{"expired", nil, tenants.Shared{}, map[string]any{"exp": now.Add(-time.Minute).Unix()}, jwtverify.ErrExpired},
		{"expired within leeway", func(c *tenants.Config) { c.Leeway = 2 * time.Minute }, tenants.Shared{}, map[string]any{"exp": now.Add(-time.Minute).Unix()}, nil},
		{"expired, switched off", func(c *tenants.Config) { c.VerifyExp = false }, tenants.Shared{}, map[string]any{"exp": now.Add(-time.Hour).Unix()}, nil},
		{"not yet", nil, tenants.Shared{}, map[string]any{"nbf": now.Add(time.Minute).Unix()}, jwtverify.ErrNotYetValid},
		{"not yet, switched off", func(c *tenants.Config) { c.VerifyNbf = false }, tenants.Shared{}, map[string]any{"nbf": now.Add(time.Minute).Unix()}, nil},
		{"refresh token", nil, tenants.Shared{}, map[string]any{"token_type": "refresh"}, jwtverify.ErrTokenType},
		{"algorithm not listed", func(c *tenants.Config) {
			c.Type, c.Key, c.Algorithms = "RS256", tenants.NewSecret(string(newIssuer(t, jwtverify.RS256).PublicPEM(jwtverify.RS256))), []string{"RS256"}
		}, tenants.Shared{}, none, jwtverify.ErrAlgorithm},
		{"64 HS256 tenant, EdDSA token", withKey(secret, "HS256"), tenants.Shared{}, none, jwtverify.ErrAlgorithm},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := base()
			withKey(string(issuer.PublicPEM(jwtverify.EdDSA)), "EdDSA")(&c)
			if test.edit != nil {
				test.edit(&c)
			}
			id, err := build(t, c, test.shared).Verifier.Verify(context.Background(), mint(t, issuer, test.claims))
			if !errors.Is(err, test.want) || (id != nil) != (test.want == nil) {
				t.Errorf("got %v, %v; want %v", id, err, test.want)
			}
		})
	}
}

func TestBuildSecret(t *testing.T) {
	issuer := newIssuer(t, jwtverify.HS256)
	c := base()
	withKey(string(issuer.Secret()), "HS256")(&c)
	if _, err := build(t, c, tenants.Shared{}).Verifier.Verify(context.Background(), mint(t, issuer, nil)); err != nil {
		t.Error(err)
	}
}

func TestBuildClaims(t *testing.T) {
	issuer := newIssuer(t)
	c := base()
	withKey(string(issuer.PublicPEM(jwtverify.EdDSA)), "EdDSA")(&c)
	c.Claims = map[string]string{"roles": "/realm_access/roles", "scopes": "scope"}
	id, err := build(t, c, tenants.Shared{}).Verifier.Verify(context.Background(), mint(t, issuer, map[string]any{
		"realm_access": map[string]any{"roles": []string{"editor"}}, "scope": "read:a write:b",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"editor"}, {"read:a", "write:b"}}, [][]string{id.Roles, id.Scopes}); diff != "" {
		t.Error(diff)
	}
}

// verifyRemote verifies with keys that a fetch under way brings.
func verifyRemote(t *testing.T, tenant *tenants.Tenant, token string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		_, err := tenant.Verifier.Verify(ctx, token)
		if !errors.Is(err, jwtverify.ErrKeysUnavailable) || ctx.Err() != nil {
			return err
		}
	}
}

func TestBuildRemote(t *testing.T) {
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	defer server.Close()
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{})
	defer fetcher.Close()

	c := base()
	c.JWKSURL = server.JWKSURL()
	first := build(t, c, tenants.Shared{Fetcher: fetcher})
	if err := verifyRemote(t, first, mint(t, issuer, nil)); err != nil {
		t.Fatal(err)
	}
	// A reload opens the same source again and fetches nothing.
	second := build(t, c, tenants.Shared{Fetcher: fetcher})
	first.Close()
	first.Close()
	if _, err := second.Verifier.Verify(context.Background(), mint(t, issuer, nil)); err != nil {
		t.Error(err)
	}
	if n := server.Fetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestBuildDiscovery(t *testing.T) {
	// The document names the server's own URL as its issuer.
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	defer server.Close()
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{})
	defer fetcher.Close()

	c := base()
	c.JWKSURL, c.DiscoveryURL = "", server.DiscoveryURL()
	c.Issuer = tenants.StringList{"https://sso.acme.example", server.URL()}
	if err := verifyRemote(t, build(t, c, tenants.Shared{Fetcher: fetcher}), mint(t, issuer, nil)); err != nil {
		t.Error(err)
	}
}

func TestBuildTenant(t *testing.T) {
	issuer := newIssuer(t)
	common := mustRoutes(t, "/common")
	c := base()
	withKey(string(issuer.PublicPEM(jwtverify.EdDSA)), "EdDSA")(&c)
	c.Hosts = []string{"API.acme.example.", "*.Acme.example"}
	c.Issuer = tenants.StringList{"https://a.example", "https://b.example"}

	tenant := build(t, c, tenants.Shared{Routes: common})
	if diff := cmp.Diff([]string{"api.acme.example", "*.acme.example"}, tenant.Hosts); diff != "" {
		t.Error(diff)
	}
	if tenant.ID != "acme" || tenant.Issuer != "https://a.example" || tenant.Routes != common || tenant.Keys == nil {
		t.Errorf("got %+v", tenant)
	}
	got, err := tenant.Token.Credential(headers([][2]string{{"authorization", "bearer a.b.c"}}))
	if err != nil || got.Token != "a.b.c" {
		t.Errorf("got %v, %v", got, err)
	}

	c.Routes = []tenants.Route{{Match: "/own"}}
	if own := build(t, c, tenants.Shared{Routes: common}).Routes; own.Len() != 1 || own.Route(0).Match != "/own" {
		t.Errorf("got %v", own)
	}
	c.Routes, c.Issuer, c.VerifyIss = nil, nil, false
	if tenant := build(t, c, tenants.Shared{}); tenant.Issuer != "" || tenant.Routes.Len() != 0 {
		t.Errorf("got %+v", tenant)
	}
}

func TestBuildRefusesFaults(t *testing.T) {
	c := base()
	withKey(secret, "EdDSA")(&c)
	c.Audience = nil
	tenant, err := c.Build("", tenants.Shared{})
	if tenant != nil || err == nil {
		t.Fatalf("got %v, %v", tenant, err)
	}
	for _, want := range []string{`tenant "acme"`, "key: is neither PEM nor a JWK", "audience: is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: no %q", err, want)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Error("the secret is in the error")
	}
	if f := (tenants.Fault{}); !errors.As(err, &f) || f.Field != "key" {
		t.Errorf("no Fault in %v", err)
	}
	remote := base()
	if tenant, err := remote.Build("", tenants.Shared{}); tenant != nil || err == nil || !strings.Contains(err.Error(), "Fetcher") {
		t.Errorf("got %v, %v", tenant, err)
	}
}

// Two tenants with the same key, one from a file, one in the configuration that
// does not look at the issuer: the token of one is not the other's.
func TestSharedKeyOfAnotherKind(t *testing.T) {
	issuer := newIssuer(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), issuer.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	acme, globex := base(), base()
	acme.ID, acme.JWKSURL, acme.JWKSFile = "acme", "", "keys.json"
	globex.ID, globex.JWKSURL, globex.VerifyIss = "globex", "", false
	globex.Key, globex.Type = tenants.NewSecret(string(issuer.PublicPEM(jwtverify.EdDSA))), "EdDSA"
	token, err := issuer.Mint(map[string]any{"sub": "user:1", "iss": acme.Issuer[0], "aud": acme.Audience[0], "exp": 1_900_000_000})
	if err != nil {
		t.Fatal(err)
	}
	required := tenants.FindMixups([]tenants.Config{acme, globex}, dir).SharedIssuers()
	for _, c := range []tenants.Config{acme, globex} {
		tenant, err := c.Build(dir, tenants.Shared{RequireTenantID: required[c.ID]})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tenant.Verifier.Verify(t.Context(), token); !errors.Is(err, jwtverify.ErrTenant) {
			t.Errorf("%s: %v, want %v", c.ID, err, jwtverify.ErrTenant)
		}
	}
}

const secretText = "0123456789abcdef0123456789abcdef"

func TestSharedIssuers(t *testing.T) {
	config := func(id, url, issuer string, verify bool) tenants.Config {
		c := base()
		c.ID, c.JWKSURL, c.VerifyIss = id, url, verify
		c.Issuer = nil
		if issuer != "" {
			c.Issuer = strings.Split(issuer, ",")
		}
		return c
	}
	issuer := newIssuer(t)
	pem, other := string(issuer.PublicPEM(jwtverify.EdDSA)), string(newIssuer(t).PublicPEM(jwtverify.EdDSA))
	static := func(id, key string) tenants.Config {
		c := config(id, "", "", false)
		c.Key, c.Type = tenants.NewSecret(key), "EdDSA"
		return c
	}
	secret := func(id, key string) tenants.Config {
		c := static(id, key)
		c.Type = "HS256"
		return c
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), issuer.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(id, issuer string, verify bool) tenants.Config {
		c := config(id, "", issuer, verify)
		c.JWKSFile = "keys.json"
		return c
	}
	tests := []struct {
		name string
		list []tenants.Config
		want map[string]bool
	}{
		{"alone", []tenants.Config{config("a", "https://a", "i", true)}, map[string]bool{"a": false}},
		{"alone, its issuer twice", []tenants.Config{config("a", "https://a", "i,i", true)}, map[string]bool{"a": false}},
		{"two issuers", []tenants.Config{config("a", "https://a", "i", true), config("b", "https://b", "j", true)}, map[string]bool{"a": false, "b": false}},
		{"one issuer", []tenants.Config{config("a", "https://a", "i", true), config("b", "https://b", "j,i", true), config("c", "https://c", "k", true)}, map[string]bool{"a": true, "b": true, "c": false}},
		{"same keys, own issuers", []tenants.Config{config("a", "https://a", "i", true), config("b", "https://a", "j", true)}, map[string]bool{"a": false, "b": false}},
		{"same keys, one is blind", []tenants.Config{config("a", "https://a", "i", true), config("b", "https://a", "j", false)}, map[string]bool{"a": true, "b": true}},
		{"same keys, one names none", []tenants.Config{config("a", "https://a", "", false), config("b", "https://a", "j", true)}, map[string]bool{"a": true, "b": true}},
		{"alone and blind", []tenants.Config{config("a", "https://a", "", false)}, map[string]bool{"a": false}},
		{"blind, other URLs", []tenants.Config{config("a", "https://a", "", false), config("b", "https://b", "", false)}, map[string]bool{"a": true, "b": true}},
		{"blind, and one that is not, other URLs", []tenants.Config{config("a", "https://a", "", false), config("b", "https://b", "j", true)}, map[string]bool{"a": true, "b": false}},
		{"a blind key beside a URL", []tenants.Config{static("a", pem), config("b", "https://b", "j", true)}, map[string]bool{"a": true, "b": false}},
		{"a blind URL beside a key", []tenants.Config{config("a", "https://a", "", false), file("b", "j", true)}, map[string]bool{"a": true, "b": false}},
		{"a blind key that another has in a file", []tenants.Config{static("a", pem), file("b", "j", true)}, map[string]bool{"a": true, "b": true}},
		{"a blind file whose key another has", []tenants.Config{file("a", "", false), static("b", pem)}, map[string]bool{"a": true, "b": true}},
		{"blind keys that differ", []tenants.Config{static("a", pem), static("b", other)}, map[string]bool{"a": false, "b": false}},
		{"one secret", []tenants.Config{secret("a", secretText), secret("b", secretText)}, map[string]bool{"a": true, "b": true}},
		{"two secrets", []tenants.Config{secret("a", secretText), secret("b", secretText+"2")}, map[string]bool{"a": false, "b": false}},
		{"a blind file that is not there", []tenants.Config{func() tenants.Config {
			c := file("a", "", false)
			c.JWKSFile = "absent.json"
			return c
		}(), static("b", pem)}, map[string]bool{"a": true, "b": true}},
		{"same URL, spelt otherwise", []tenants.Config{config("a", "https://A.example:443/k", "", false), config("b", "https://a.example/k", "", false)}, map[string]bool{"a": true, "b": true}},
		{"same PEM, spelt otherwise", []tenants.Config{static("a", pem), static("b", "\n"+pem+"\n")}, map[string]bool{"a": true, "b": true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, tenants.FindMixups(test.list, dir).SharedIssuers()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// "*" is not the tokens of another tenant that is told apart by tenant_id alone.
func TestOthersIDs(t *testing.T) {
	config := func(id, issuer string, ids ...string) tenants.Config {
		c := base()
		c.ID, c.JWKSURL, c.Issuer = id, "https://"+id+".example/keys", strings.Split(issuer, ",")
		if ids != nil {
			c.TenantIDs = ids
		}
		return c
	}
	blind := func(c tenants.Config) tenants.Config {
		c.VerifyIss = false
		return c
	}
	type refused = map[string]map[string]string
	type pairs = map[string]string
	for name, c := range map[string]struct {
		list []tenants.Config
		want refused
		open pairs
	}{
		"alone":                {[]tenants.Config{config("a", "i", "*")}, refused{}, nil},
		"another issuer":       {[]tenants.Config{config("a", "i", "*"), config("b", "j")}, refused{}, nil},
		"the id of another":    {[]tenants.Config{config("a", "i", "*"), config("b", "j,i")}, refused{"a": {"b": "b"}}, nil},
		"named ids of another": {[]tenants.Config{config("a", "i", "*"), config("b", "i", "x", "y")}, refused{"a": {"x": "b", "y": "b"}}, nil},
		"several others":       {[]tenants.Config{config("a", "i,j", "*"), config("b", "i"), config("c", "j"), config("d", "k")}, refused{"a": {"b": "b", "c": "c"}}, nil},
		"its own id":           {[]tenants.Config{config("a", "i", "*"), config("b", "i", "a", "b")}, refused{"a": {"b": "b"}}, nil},
		"listed in both":       {[]tenants.Config{config("a", "i", "a", "b"), config("b", "i")}, refused{}, nil},
		"any and any":          {[]tenants.Config{config("a", "i", "*"), config("b", "i", "*")}, refused{}, pairs{"a": "b"}},
		"any twice, and one":   {[]tenants.Config{config("a", "i,j", "*"), config("c", "i,j"), config("b", "i,j", "*")}, refused{"a": {"c": "c"}, "b": {"c": "c"}}, pairs{"a": "b"}},
		"a blind one":          {[]tenants.Config{blind(config("a", "i", "*")), config("b", "j")}, refused{"a": {"b": "b"}}, nil},
		"beside a blind one":   {[]tenants.Config{config("a", "i", "*"), blind(config("b", "j"))}, refused{"a": {"b": "b"}}, nil},
	} {
		if diff := cmp.Diff(c.want, tenants.FindMixups(c.list, "").OthersIDs()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(c.open, tenants.FindMixups(c.list, "").OpenToEachOther(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s, open to each other: %s", name, diff)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{Transport: noNetwork{}})
	defer fetcher.Close()
	c := base()
	c.Hosts = []string{"api.acme.example", "*.acme.example"}
	b.ReportAllocs()
	for b.Loop() {
		c.JWKSURL = fmt.Sprintf("https://sso.acme.example/%d", b.Elapsed())
		tenant, err := c.Build("", tenants.Shared{Fetcher: fetcher})
		if err != nil {
			b.Fatal(err)
		}
		tenant.Close()
	}
}

// Where keys come from is told to people, and what opens it is not.
func TestKeySourceHidesTheQuery(t *testing.T) {
	for _, c := range []struct {
		config tenants.Config
		want   string
	}{
		{tenants.Config{JWKSURL: "https://sso.example/keys?access=s3cret&x=?"}, "https://sso.example/keys"},
		{tenants.Config{JWKSURL: "https://sso.example/keys"}, "https://sso.example/keys"},
		{tenants.Config{DiscoveryURL: "https://sso.example/openid?s3cret"}, "https://sso.example/openid"},
		{tenants.Config{JWKSFile: "conf/keys.json"}, "conf/keys.json"},
		{tenants.Config{Key: tenants.NewSecret("s3cret")}, "the configuration"},
	} {
		if got := c.config.KeySource(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
