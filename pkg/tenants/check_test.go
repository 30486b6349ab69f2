package tenants_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

const secret = "an-HS256-secret-of-more-than-32-bytes"

func newIssuer(t testing.TB, algorithms ...jwtverify.Algorithm) *jwttest.Issuer {
	t.Helper()
	issuer, err := jwttest.NewIssuer(jwttest.Options{Algorithms: algorithms, Issuer: "https://sso.acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// base is a configuration without a fault; edit it for one.
func base() tenants.Config {
	c := tenants.DefaultConfig()
	c.ID = "acme"
	c.JWKSURL = "https://sso.acme.example/.well-known/jwks.json"
	c.Issuer = tenants.StringList{"https://sso.acme.example"}
	c.Audience = tenants.StringList{"my-app"}
	return c
}

func withKey(key, kind string) func(*tenants.Config) {
	return func(c *tenants.Config) { c.JWKSURL, c.Key, c.Type = "", tenants.NewSecret(key), kind }
}

func withFile(name string) func(*tenants.Config) {
	return func(c *tenants.Config) { c.JWKSURL, c.JWKSFile = "", name }
}

func ptr(s string) *string { return &s }

// fault is what a test expects: a field, and a part of the problem's text.
type fault struct{ field, problem string }

func expectFaults(t *testing.T, got []tenants.Fault, want ...fault) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %v; want %v", got, want)
	}
	for i, f := range got {
		if f.Field != want[i].field || !strings.Contains(f.Problem, want[i].problem) || want[i].problem == "" {
			t.Errorf("got %q; want %s: …%s…", f.Error(), want[i].field, want[i].problem)
		}
	}
}

// singleJWK cuts the only key out of an issuer's set.
func singleJWK(t testing.TB, issuer *jwttest.Issuer) string {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(issuer.JWKS(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v in %s", err, issuer.JWKS())
	}
	return string(set.Keys[0])
}

func TestCheckGood(t *testing.T) {
	issuer, ec := newIssuer(t), newIssuer(t, jwtverify.ES256)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), issuer.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*tenants.Config){
		"as it is":         func(*tenants.Config) {},
		"PEM":              withKey(string(issuer.PublicPEM(jwtverify.EdDSA)), "EdDSA"),
		"RFC 9864":         withKey(string(issuer.PublicPEM(jwtverify.EdDSA)), "Ed25519"),
		"JWK":              withKey(singleJWK(t, ec), "ES256"),
		"secret":           withKey(secret, "HS256"),
		"relative file":    withFile("keys.json"),
		"absolute file":    withFile(filepath.Join(dir, "keys.json")),
		"loopback":         func(c *tenants.Config) { c.JWKSURL = "http://127.0.0.1:1234/jwks.json" },
		"allow_http":       func(c *tenants.Config) { c.JWKSURL, c.AllowHTTP = "http://sso.internal/jwks.json", true },
		"discovery":        func(c *tenants.Config) { c.JWKSURL, c.DiscoveryURL = "", "https://sso.acme.example/oidc" },
		"nothing verified": func(c *tenants.Config) { c.VerifyIss, c.VerifyAud, c.Issuer, c.Audience = false, false, nil, nil },
		"hosts":            func(c *tenants.Config) { c.Hosts = []string{"api.acme.example", "*.acme.example", "[::1]"} },
		"cookie alone":     func(c *tenants.Config) { c.Header.Header = "" },
		"no prefix":        func(c *tenants.Config) { c.Header.Prefix = ptr("") },
		"any tenant id":    func(c *tenants.Config) { c.TenantIDs = tenants.StringList{"*"} },
		"algorithms":       func(c *tenants.Config) { c.Algorithms = []string{"EdDSA", "RS256"} },
		"claims": func(c *tenants.Config) {
			c.Claims = map[string]string{"roles": "/realm_access/roles", "scopes": "scope"}
		},
		"more than a key has":  func(c *tenants.Config) { withFile("keys.json")(c); c.Algorithms = []string{"RS256", "EdDSA"} },
		"secret and algorithm": func(c *tenants.Config) { withKey(secret, "HS256")(c); c.Algorithms = []string{"HS256"} },
		"routes":               func(c *tenants.Config) { c.Routes = []tenants.Route{{Match: "/"}} },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			c := base()
			edit(&c)
			expectFaults(t, c.Check(dir))
		})
	}
}

func TestCheckKeySource(t *testing.T) {
	issuer := newIssuer(t, jwtverify.EdDSA)
	pemKey, jwk := string(issuer.PublicPEM(jwtverify.EdDSA)), singleJWK(t, issuer)
	block, _ := pem.Decode([]byte(pemKey))
	bare := base64.StdEncoding.EncodeToString(block.Bytes)
	tests := []struct {
		name string
		edit func(*tenants.Config)
		want []fault
	}{
		{"none", func(c *tenants.Config) { c.JWKSURL = "" }, []fault{{"", "jwks_url, discovery_url, jwks_file, or key"}}},
		{"none but a type", func(c *tenants.Config) { c.JWKSURL, c.Type = "", "EdDSA" }, []fault{{"", "no source of keys"}, {"type", "there is no key"}}},
		{"two", func(c *tenants.Config) { c.JWKSFile = "keys.json" }, []fault{{"jwks_file", "jwks_url is there already"}}},
		{"three", func(c *tenants.Config) {
			c.DiscoveryURL, c.Key, c.Type = "https://x.example", tenants.NewSecret(pemKey), "EdDSA"
		},
			[]fault{{"discovery_url", "jwks_url is there already"}, {"key", "jwks_url is there already"}}},
		{"plain http", func(c *tenants.Config) { c.JWKSURL = "http://sso.acme.example/jwks" }, []fault{{"jwks_url", "allow_http"}}},
		{"no URL", func(c *tenants.Config) { c.JWKSURL = "sso.acme.example" }, []fault{{"jwks_url", "https://"}}},
		{"file URL", func(c *tenants.Config) { c.JWKSURL = "file:///etc/passwd" }, []fault{{"jwks_url", "https://"}}},
		{"HS256 with URL", func(c *tenants.Config) { c.Type = "HS256" }, []fault{{"type", "give the secret as key"}}},
		{"type with URL", func(c *tenants.Config) { c.Type = "RS256" }, []fault{{"type", "write algorithms: [RS256]"}}},
		{"PEM without type", withKey(pemKey, ""), []fault{{"type", "this key fits EdDSA"}}},
		{"JWK without type", withKey(jwk, ""), []fault{{"type", "this key fits EdDSA"}}},
		{"secret without type", withKey(secret, ""), []fault{{"type", "write HS256"}}},
		{"unknown type", withKey(pemKey, "PS256"), []fault{{"type", "PS256"}}},
		{"type none", withKey(pemKey, "none"), []fault{{"type", "none"}}},
		{"another type", withKey(pemKey, "RS256"), []fault{{"type", "write EdDSA"}}},
		{"JWK of another type", withKey(jwk, "ES256"), []fault{{"type", "write EdDSA"}}},
		{"secret as public key", withKey(secret, "EdDSA"), []fault{{"key", "neither PEM nor a JWK"}}},
		{"broken PEM", withKey("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "EdDSA"), []fault{{"key", "PUBLIC KEY"}}},
		{"private PEM", withKey("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "EdDSA"), []fault{{"key", "private key"}}},
		{"JWK set", withKey(string(issuer.JWKS()), "EdDSA"), []fault{{"key", "whole JWK set"}}},
		{"short secret", withKey(secret[:31], "HS256"), []fault{{"key", "at least 32"}}},
		{"secret with line break", withKey(secret+"\n", "HS256"), []fault{{"key", "line break"}}},
		{"64 PEM as secret", withKey(pemKey, "HS256"), []fault{{"type", "the key's own algorithm"}}},
		{"64 JWK as secret", withKey(jwk, "HS256"), []fault{{"type", "the key's own algorithm"}}},
		{"64 bare base64 as secret", withKey(bare, "HS256"), []fault{{"type", "the key's own algorithm"}}},
		{"64 DER as secret", withKey(string(block.Bytes), "HS256"), []fault{{"type", "the key's own algorithm"}}},
		{"64 SSH key as secret", withKey("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMUb user@host", "HS256"), []fault{{"type", "the key's own algorithm"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := base()
			test.edit(&c)
			got := c.Check("")
			expectFaults(t, got, test.want...)
			if text := fmt.Sprint(got); !c.Key.IsZero() && (strings.Contains(text, secret[:20]) || strings.Contains(text, bare[:20])) {
				t.Errorf("key material in %s", text)
			}
		})
	}
}

func TestCheckKeyFile(t *testing.T) {
	dir := t.TempDir()
	issuer := newIssuer(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := singleJWK(t, issuer)
	write("large.json", strings.Repeat(" ", 1<<20+1))
	write("text.json", "no JSON")
	write("empty.json", `{"keys":[]}`)
	write("oct.json", `{"keys":[`+good+`,{"kty":"oct","kid":"s","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}`)
	write("twice.json", `{"keys":[`+good+`,`+good+`]}`)
	write("good.json", string(issuer.JWKS()))
	tests := []struct {
		file string
		want []fault
	}{
		{"missing.json", []fault{{"jwks_file", "no such file"}}},
		{".", []fault{{"jwks_file", "not a regular file"}}},
		{"large.json", []fault{{"jwks_file", "1 MiB"}}},
		{"text.json", []fault{{"jwks_file", "not a JSON object"}}},
		{"empty.json", []fault{{"jwks_file", "no key that can be used"}}},
		{"oct.json", []fault{{"jwks_file", "symmetric key"}}},
		{"twice.json", []fault{{"jwks_file", "several keys have it"}, {"jwks_file", "no key that can be used"}}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			c := base()
			withFile(test.file)(&c)
			got := c.Check(dir)
			expectFaults(t, got, test.want...)
			if strings.Contains(fmt.Sprint(got), "c2VjcmV0") {
				t.Errorf("key material in %v", got)
			}
		})
	}
	t.Run("algorithms that no key has", func(t *testing.T) {
		c := base()
		withFile("good.json")(&c)
		c.Algorithms = []string{"RS256", "ES256"}
		expectFaults(t, c.Check(dir), fault{"algorithms", "the keys are for [EdDSA]"})
	})
}

func TestCheckFields(t *testing.T) {
	tests := []struct {
		name string
		edit func(*tenants.Config)
		want fault
	}{
		{"id", func(c *tenants.Config) { c.ID = "Acme" }, fault{"", "is no tenant id"}},
		{"bad host", func(c *tenants.Config) { c.Hosts = []string{"a.example", "a b"} }, fault{"hosts[1]", "can't be in a host"}},
		{"star", func(c *tenants.Config) { c.Hosts = []string{"*"} }, fault{"hosts[0]", "tenant_selection.default"}},
		{"star inside", func(c *tenants.Config) { c.Hosts = []string{"a.*.example"} }, fault{"hosts[0]", "first one"}},
		{"two stars", func(c *tenants.Config) { c.Hosts = []string{"*.*.example"} }, fault{"hosts[0]", "first one"}},
		{"star in a label", func(c *tenants.Config) { c.Hosts = []string{"*a.example"} }, fault{"hosts[0]", "first one"}},
		{"port", func(c *tenants.Config) { c.Hosts = []string{"a.example:443"} }, fault{"hosts[0]", `write "a.example"`}},
		{"port of an address", func(c *tenants.Config) { c.Hosts = []string{"[::1]:443"} }, fault{"hosts[0]", `write "[::1]"`}},
		{"star of an address", func(c *tenants.Config) { c.Hosts = []string{"*.[::1]"} }, fault{"hosts[0]", "no labels"}},
		{"URL", func(c *tenants.Config) { c.Hosts = []string{"https://a.example"} }, fault{"hosts[0]", "host name alone"}},
		{"empty host", func(c *tenants.Config) { c.Hosts = []string{""} }, fault{"hosts[0]", "is empty"}},
		{"host twice", func(c *tenants.Config) { c.Hosts = []string{"a.example", "A.example."} }, fault{"hosts[1]", `"a.example" is there twice: remove one`}},
		{"no issuer", func(c *tenants.Config) { c.Issuer = nil }, fault{"issuer", "is missing"}},
		{"no issuer, discovery", func(c *tenants.Config) {
			c.Issuer, c.VerifyIss, c.JWKSURL, c.DiscoveryURL = nil, false, "", "https://sso.acme.example/oidc"
		}, fault{"issuer", "discovery document"}},
		{"empty issuer", func(c *tenants.Config) { c.Issuer = tenants.StringList{""} }, fault{"issuer", "empty value"}},
		{"empty issuer in a list", func(c *tenants.Config) { c.Issuer = append(c.Issuer, "") }, fault{"issuer[1]", "empty value"}},
		{"blank issuer", func(c *tenants.Config) { c.Issuer = tenants.StringList{"https://x "} }, fault{"issuer", "blanks"}},
		{"no audience", func(c *tenants.Config) { c.Audience = nil }, fault{"audience", "is missing"}},
		{"empty audience", func(c *tenants.Config) { c.Audience = tenants.StringList{""} }, fault{"audience", "empty value"}},
		{"no algorithm", func(c *tenants.Config) { c.Algorithms = []string{} }, fault{"algorithms", "is empty"}},
		{"unknown algorithm", func(c *tenants.Config) { c.Algorithms = []string{"RS256", "PS256"} }, fault{"algorithms[1]", "PS256"}},
		{"algorithm none", func(c *tenants.Config) { c.Algorithms = []string{"none"} }, fault{"algorithms[0]", "none"}},
		{"algorithm by case", func(c *tenants.Config) { c.Algorithms = []string{"rs256"} }, fault{"algorithms[0]", "rs256"}},
		{"HS256 of a URL", func(c *tenants.Config) { c.Algorithms = []string{"RS256", "HS256"} }, fault{"algorithms[1]", "needs a secret"}},
		{"RS256 of a secret", func(c *tenants.Config) { withKey(secret, "HS256")(c); c.Algorithms = []string{"HS256", "RS256"} }, fault{"algorithms[1]", "can't be verified with a secret"}},
		{"no token type", func(c *tenants.Config) { c.TokenTypes = nil }, fault{"token_types", "is empty"}},
		{"empty token type", func(c *tenants.Config) { c.TokenTypes = tenants.StringList{"access", ""} }, fault{"token_types[1]", "empty value"}},
		{"no tenant id", func(c *tenants.Config) { c.TenantIDs = tenants.StringList{} }, fault{"tenant_ids", "is empty"}},
		{"empty tenant id", func(c *tenants.Config) { c.TenantIDs = tenants.StringList{""} }, fault{"tenant_ids", "empty value"}},
		{"any and one", func(c *tenants.Config) { c.TenantIDs = tenants.StringList{"*", "acme"} }, fault{"tenant_ids", "write it alone"}},
		{"no token source", func(c *tenants.Config) { c.Header = tenants.TokenSource{} }, fault{"header", "neither type nor cookie_name"}},
		{"bad header", func(c *tenants.Config) { c.Header.Header = "X Token" }, fault{"header.type", "is no header name"}},
		{"pseudo header", func(c *tenants.Config) { c.Header.Header = ":path" }, fault{"header.type", "is no header name"}},
		{"Host header", func(c *tenants.Config) { c.Header.Header = "Host" }, fault{"header.type", "belongs to the protocol"}},
		{"Content-Length header", func(c *tenants.Config) { c.Header.Header = "content-length" }, fault{"header.type", "belongs to the protocol"}},
		{"Envoy's header", func(c *tenants.Config) { c.Header.Header = "X-Envoy-Peer" }, fault{"header.type", "belongs to the protocol"}},
		{"Cookie header", func(c *tenants.Config) { c.Header.Header = "Cookie" }, fault{"header.type", "cookie_name"}},
		{"bad prefix", func(c *tenants.Config) { c.Header.Prefix = ptr("Bearer ") }, fault{"header.prefix", "without blanks"}},
		{"bad cookie", func(c *tenants.Config) { c.Header.Cookie = "a=b" }, fault{"header.cookie_name", "is no cookie name"}},
		{"negative leeway", func(c *tenants.Config) { c.Leeway = -1 }, fault{"leeway", "is not between"}},
		{"long leeway", func(c *tenants.Config) { c.Leeway = 5*time.Minute + 1 }, fault{"leeway", "is not between"}},
		{"short ttl", func(c *tenants.Config) { c.JWKSCache.TTL = time.Millisecond }, fault{"jwks_cache.ttl", "is not between"}},
		{"long ttl", func(c *tenants.Config) { c.JWKSCache = tenants.JWKSCache{25 * time.Hour, 25 * time.Hour} }, fault{"jwks_cache.ttl", "is not between"}},
		{"short max_stale", func(c *tenants.Config) { c.JWKSCache.MaxStale = time.Minute }, fault{"jwks_cache.max_stale", "is less than the ttl"}},
		{"unknown claim", func(c *tenants.Config) { c.Claims = map[string]string{"iss": "issuer"} }, fault{"claims.iss", "user_id, sub"}},
		{"empty claim", func(c *tenants.Config) { c.Claims = map[string]string{"roles": ""} }, fault{"claims.roles", "is empty"}},
		{"bad pointer", func(c *tenants.Config) { c.Claims = map[string]string{"roles": "/a~2"} }, fault{"claims.roles", "JSON pointer"}},
		{"open pointer", func(c *tenants.Config) { c.Claims = map[string]string{"roles": "/a~"} }, fault{"claims.roles", "JSON pointer"}},
		{"route", func(c *tenants.Config) { c.Routes = []tenants.Route{{Match: "/"}, {Match: "x"}} }, fault{"routes[1].match", `write "/x"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := base()
			test.edit(&c)
			expectFaults(t, c.Check(""), test.want)
		})
	}
}

// The claims that can be mapped are those that jwtverify maps.
func TestMappableClaims(t *testing.T) {
	c := base()
	c.Claims = map[string]string{
		"user_id": "a", "sub": "b", "tenant_id": "c", "workspace_id": "d",
		"roles": "/e/f~1g", "scopes": "h", "token_type": "i", "session_id": "j",
	}
	expectFaults(t, c.Check(""))
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{Transport: noNetwork{}})
	defer fetcher.Close()
	tenant, err := c.Build("", tenants.Shared{Fetcher: fetcher})
	if err != nil {
		t.Fatal(err)
	}
	tenant.Close()
}

func TestCheckReportsEveryFault(t *testing.T) {
	c := tenants.Config{ID: "acme", VerifyIss: true, VerifyAud: true, Hosts: []string{"*"}, Leeway: -1, Routes: []tenants.Route{{}}}
	var fields []string
	for _, f := range c.Check("") {
		fields = append(fields, f.Field)
	}
	want := []string{"hosts[0]", "", "issuer", "audience", "token_types", "header", "leeway", "routes[0].match"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
}
