package devissuer_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/dev/devissuer"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// now is the time of the tests that have a clock.
var now = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// acme returns a tenant's block as the file would give it.
func acme(jwksURL string) tenants.Config {
	cfg := tenants.DefaultConfig()
	cfg.ID = "acme"
	cfg.JWKSURL = jwksURL
	cfg.Issuer = tenants.StringList{"https://sso.acme.example", "https://old.acme.example"}
	cfg.Audience = tenants.StringList{"posts"}
	return cfg
}

// site serves the tenants on a free port; each of them names it with edit.
func site(t *testing.T, keys *devissuer.Keys, list func(base string) []tenants.Config) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	issuer, err := devissuer.NewIssuer(list("http://"+address), keys, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{address}, issuer.Addresses()); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	server.Config.Handler = issuer
	server.Start()
	return server
}

func ask(t *testing.T, method, url, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// verify judges a token by the tenant's own block and the published keys.
func verify(t *testing.T, cfg tenants.Config, jwks, token string, at time.Time) (*jwtverify.Identity, error) {
	t.Helper()
	dir := t.TempDir()
	if jwks != "" {
		if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(jwks), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.JWKSURL, cfg.DiscoveryURL, cfg.JWKSFile = "", "", "keys.json"
	}
	tenant, err := cfg.Build(dir, tenants.Shared{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	defer tenant.Close()
	return tenant.Verifier.Verify(t.Context(), token)
}

// TestTokenAndKeysInAnyOrder: two processes with one folder agree on the keys,
// whoever comes first, and every algorithm that was used is published.
func TestTokenAndKeysInAnyOrder(t *testing.T) {
	for name, tokenFirst := range map[string]bool{"token first": true, "issuer first": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			server := site(t, devissuer.OpenKeys(dir), func(base string) []tenants.Config {
				return []tenants.Config{acme(base + "/acme/.well-known/jwks.json")}
			})
			jwks := func() string {
				status, body := ask(t, http.MethodGet, server.URL+"/acme/.well-known/jwks.json", "", "")
				if status != http.StatusOK {
					t.Fatal(status, body)
				}
				return body
			}
			if !tokenFirst {
				jwks()
			}
			cfg := acme("http://127.0.0.1:1/")
			for _, alg := range append(jwtverify.Asymmetric(), "") {
				minter, err := devissuer.NewTenant(cfg, devissuer.OpenKeys(dir), clock)
				if err != nil {
					t.Fatal(err)
				}
				token, err := minter.Mint(minter.Claims(devissuer.User{Subject: "user:1"}), alg)
				if err != nil {
					t.Fatal(err)
				}
				if id, err := verify(t, cfg, jwks(), token, now); err != nil || id.Subject != "user:1" || id.TenantID != "acme" {
					t.Errorf("%q: got %v, %v", alg, id, err)
				}
			}
		})
	}
}

func TestKeysAreMadeOnceAndPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var wg sync.WaitGroup
	tokens := make([]string, 8)
	for i := range tokens {
		wg.Go(func() {
			minter, err := devissuer.NewTenant(acme(""), devissuer.OpenKeys(dir), clock)
			if err != nil {
				t.Error(err)
				return
			}
			tokens[i], err = minter.Mint(map[string]any{"sub": "user:1"}, jwtverify.EdDSA)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if unique := slices.Compact(tokens); len(unique) != 1 { // EdDSA signs alike
		t.Errorf("several keys were used: %v", unique)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "acme.EdDSA.pem" {
		t.Fatalf("files %v, %v, want acme.EdDSA.pem alone", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestClaimsGoWhereTheTenantReadsThem(t *testing.T) {
	cfg := acme("")
	cfg.Claims = map[string]string{"roles": "/realm_access/roles", "scopes": "scope", "tenant_id": "/a~1b/tenant", "workspace_id": "ws"}
	cfg.TenantIDs = tenants.StringList{"acme-prod"}
	cfg.TokenTypes = tenants.StringList{"service"}
	minter, err := devissuer.NewTenant(cfg, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	got := minter.Claims(devissuer.User{
		Subject: "user:1", Workspace: "ws_1", Roles: []string{"admin"}, Scopes: []string{"read:posts"},
		Claims: map[string]any{"company_id": "c1", "/realm_access/more": true, "iat": nil, "/none/x": nil},
	})
	want := map[string]any{
		"sub": "user:1", "ws": "ws_1", "scope": []string{"read:posts"},
		"realm_access": map[string]any{"roles": []string{"admin"}, "more": true},
		"a/b":          map[string]any{"tenant": "acme-prod"},
		"iss":          "https://sso.acme.example", "aud": "posts", "token_type": "service",
		"exp": now.Add(time.Hour).Unix(), "company_id": "c1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestUserOptions(t *testing.T) {
	tests := []struct {
		name string
		user devissuer.User
		want error
	}{
		{"as the tenant wants", devissuer.User{Subject: "u"}, nil},
		{"long", devissuer.User{Subject: "u", Lifetime: 24 * time.Hour}, nil},
		{"expired", devissuer.User{Subject: "u", Lifetime: -time.Hour}, jwtverify.ErrExpired},
		{"other audience", devissuer.User{Subject: "u", Audience: []string{"a", "b"}}, jwtverify.ErrAudience},
		{"the second issuer", devissuer.User{Subject: "u", Issuer: "https://old.acme.example"}, nil},
		{"other issuer", devissuer.User{Subject: "u", Issuer: "https://evil.example"}, jwtverify.ErrIssuer},
		{"other tenant", devissuer.User{Subject: "u", Claims: map[string]any{"tenant_id": "globex"}}, jwtverify.ErrTenant},
		{"refresh token", devissuer.User{Subject: "u", Claims: map[string]any{"token_type": "refresh"}}, jwtverify.ErrTokenType},
	}
	secret := tenants.NewSecret("0123456789abcdef0123456789abcdef")
	cfg := acme("")
	cfg.Key, cfg.Type = secret, "HS256"
	minter, err := devissuer.NewTenant(cfg, nil, clock) // a secret needs no folder
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token, err := minter.Mint(minter.Claims(test.user), "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verify(t, cfg, "", token, now); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestMintRefuses(t *testing.T) {
	static := acme("")
	static.JWKSFile = "keys.json"
	narrow := acme("")
	narrow.Algorithms = []string{"ES256"}
	tests := []struct {
		name string
		cfg  tenants.Config
		alg  jwtverify.Algorithm
		want string
	}{
		{"an algorithm of others", narrow, jwtverify.EdDSA, "accepts [ES256], not EdDSA"},
		{"a secret where there is none", acme(""), jwtverify.HS256, "not HS256"},
		{"a public key alone", static, "", "acme.EdDSA.pem"},
	}
	for _, test := range tests {
		minter, err := devissuer.NewTenant(test.cfg, devissuer.OpenKeys(t.TempDir()), clock)
		if err != nil {
			t.Fatal(err)
		}
		if token, err := minter.Mint(map[string]any{}, test.alg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %q, %v, want an error with %q", test.name, token, err, test.want)
		}
	}
}

func TestMintRefusesADamagedKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "acme.EdDSA.pem"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	minter, err := devissuer.NewTenant(acme(""), devissuer.OpenKeys(dir), clock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := minter.Mint(map[string]any{}, ""); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

// TestSites: tenants beside each other on one port, by discovery, with a key
// URL of another style, and two that share their keys.
func TestSites(t *testing.T) {
	server := site(t, devissuer.OpenKeys(t.TempDir()), func(base string) []tenants.Config {
		named := func(id, jwks, discovery string) tenants.Config {
			cfg := acme("")
			cfg.ID, cfg.JWKSURL, cfg.DiscoveryURL = id, jwks, discovery
			return cfg
		}
		return []tenants.Config{
			named("acme", base+"/acme/.well-known/jwks.json", ""),
			named("globex", "", base+"/globex/.well-known/openid-configuration"),
			named("keys", base+"/keys/all", ""),
			named("shared1", base+"/shared/.well-known/jwks.json", ""),
			named("shared2", base+"/shared/.well-known/jwks.json", ""),
			named("remote", "https://sso.example/.well-known/jwks.json", ""),
			named("elsewhere", "http://sso.example/.well-known/jwks.json", ""),
		}
	})
	for path, want := range map[string]int{
		"/acme/.well-known/jwks.json": 1, "/globex/.well-known/jwks.json": 1,
		"/keys/all": 1, "/shared/.well-known/jwks.json": 2,
	} {
		status, body := ask(t, http.MethodGet, server.URL+path, "", "")
		keys, problems, err := jwtverify.ParseKeySet([]byte(body))
		if status != http.StatusOK || err != nil || len(problems) > 0 || len(keys) != want {
			t.Errorf("%s: %d, %d keys, %v, %v, want %d keys", path, status, len(keys), problems, err, want)
		}
	}
	_, body := ask(t, http.MethodGet, server.URL+"/globex/.well-known/openid-configuration", "", "")
	want := `{"issuer":"https://sso.acme.example","jwks_uri":"` + server.URL + `/globex/.well-known/jwks.json"}`
	if strings.TrimSpace(body) != want {
		t.Errorf("discovery: %s, want %s", body, want)
	}
	for path, want := range map[string]int{
		"/acme/.well-known/openid-configuration": 200, "/.well-known/jwks.json": 404, "/acme": 404, "/acme/../acme/token": 404,
	} {
		if status, _ := ask(t, http.MethodGet, server.URL+path, "", ""); status != want {
			t.Errorf("GET %s: %d, want %d", path, status, want)
		}
	}
}

func TestTokenEndpoint(t *testing.T) {
	server := site(t, devissuer.OpenKeys(t.TempDir()), func(base string) []tenants.Config {
		other := acme(base + "/.well-known/jwks.json")
		other.ID = "globex"
		return []tenants.Config{acme(base + "/.well-known/jwks.json"), other}
	})
	const kind = "application/json"
	tests := []struct {
		name, method, query, kind, body string
		status                          int
	}{
		{"good", "POST", "?tenant=acme", kind, `{"sub":"user:1"}`, 200},
		{"another algorithm", "POST", "?tenant=acme&alg=ES256", kind, `{"sub":"user:1"}`, 200},
		{"which tenant", "POST", "", kind, `{"sub":"user:1"}`, 400},
		{"no such tenant", "POST", "?tenant=x", kind, `{"sub":"user:1"}`, 400},
		{"no such algorithm", "POST", "?tenant=acme&alg=none", kind, `{"sub":"user:1"}`, 400},
		{"GET", "GET", "?tenant=acme", "", "", 405},
		{"a form of a web page", "POST", "?tenant=acme", "text/plain", `{"sub":"user:1"}`, 415},
		{"no object", "POST", "?tenant=acme", kind, `null`, 400},
		{"two objects", "POST", "?tenant=acme", kind, `{}{}`, 400},
		{"too large", "POST", "?tenant=acme", kind, `{"sub":"` + strings.Repeat("a", 64<<10) + `"}`, 400},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, body := ask(t, test.method, server.URL+"/token"+test.query, test.kind, test.body)
			if status != test.status {
				t.Fatalf("got %d %s, want %d", status, body, test.status)
			}
			if status != http.StatusOK {
				return
			}
			var answer struct {
				Token string `json:"access_token"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Fatal(err)
			}
			_, jwks := ask(t, http.MethodGet, server.URL+"/.well-known/jwks.json", "", "")
			if id, err := verify(t, acme(""), jwks, answer.Token, time.Now()); err != nil || id.Subject != "user:1" {
				t.Errorf("got %v, %v", id, err)
			}
		})
	}
}

func TestNothingToServe(t *testing.T) {
	list := []tenants.Config{acme("https://sso.example/.well-known/jwks.json"), acme("http://issuer:8000/.well-known/jwks.json")}
	if _, err := devissuer.NewIssuer(list, nil, false); err == nil || !strings.Contains(err.Error(), "nothing to serve") {
		t.Errorf("got %v", err)
	}
	issuer, err := devissuer.NewIssuer(list, nil, true)
	if err != nil || len(issuer.Sites()) != 1 || issuer.Sites()[0].Address != "issuer:8000" {
		t.Errorf("on any host: %v", err)
	}
}
