package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// tenant returns what a block that says only this means.
func tenant(id, jwksURL, issuer, audience string, more func(t *tenants.Config)) tenants.Config {
	t := tenants.DefaultConfig()
	t.ID, t.JWKSURL, t.Issuer, t.Audience = id, jwksURL, tenants.StringList{issuer}, tenants.StringList{audience}
	if more != nil {
		more(&t)
	}
	return t
}

// goodFiles says of each file of testdata/good in what it differs from the
// defaults, and which warnings it has ("LINE: FIELD: words…").
func goodFiles() map[string]struct {
	set      func(c *config.Config)
	warnings []string
} {
	return map[string]struct {
		set      func(c *config.Config)
		warnings []string
	}{
		"minimal.yaml": {func(c *config.Config) {
			c.Tenants = []tenants.Config{tenant("acme", "https://sso.acme.example/.well-known/jwks.json", "https://sso.acme.example", "my-app", nil)}
		}, []string{`1: routes: there are none for acme: …no_route; "- match: /"`}},
		"every_key.yaml": {everyKey, []string{
			"52: tenants.globex.type: is HS256: ",
			"57: tenants.acme.jwks_url: fetches keys without TLS",
			"64: tenants.acme.verify_nbf: is off: ",
		}},
		"variables.yaml": {func(c *config.Config) {
			c.Limits.MaxInFlight = 17
			c.Caches = config.Caches{Tokens: config.MiB, Decisions: 2 * config.MiB}
			c.ForwardToken = false
			c.Tenants = []tenants.Config{tenant("acme", "https://sso.acme.example/.well-known/jwks.json", "https://sso.acme.example", "", func(t *tenants.Config) {
				t.Audience = tenants.StringList{"my-app", "${env:AUDIENCE}", "a:-b$c", "$x$"}
				t.Claims = map[string]string{"roles": "roles"}
				t.Leeway = 3 * time.Second
			})}
			c.Routes = []tenants.Route{{Match: "/"}}
		}, nil},
		"defaults.yaml": {inheritance, []string{"7: defaults.verify_nbf: is off: "}},
		"aliases.yaml": {func(c *config.Config) {
			posts := tenants.Route{Match: "GET /posts", Scopes: []string{"read:posts"}}
			c.Routes = []tenants.Route{posts, {Match: "GET /files", Scopes: []string{"read:posts"}}}
			c.Tenants = []tenants.Config{
				tenant("acme", "https://sso.example/keys", "https://sso.example", "app", nil),
				tenant("beta", "https://sso.example/keys", "https://sso.example", "app", nil),
				tenant("gamma", "https://sso.gamma.example/keys", "https://sso.gamma.example", "app", func(t *tenants.Config) {
					t.Routes = []tenants.Route{posts}
				}),
			}
		}, nil},
		"any_tenant.yaml": {func(c *config.Config) {
			c.Routes = []tenants.Route{{Match: "/"}}
			for _, id := range []string{"acme", "beta", "delta", "gamma"} {
				c.Tenants = append(c.Tenants, tenant(id, "https://sso.example/keys", "https://sso.example", "app", func(t *tenants.Config) {
					t.Hosts = []string{id + ".example"}
					switch id {
					case "acme", "gamma":
						t.TenantIDs = tenants.StringList{"*"}
					case "delta":
						t.TenantIDs, t.Issuer = tenants.StringList{"*"}, tenants.StringList{"https://delta.example"}
					}
				}))
			}
		}, []string{`3: tenants.acme.tenant_ids: is "*" here and in tenant "gamma"`}},
		"warnings.yaml": {func(c *config.Config) {
			c.Listen = ":9191"
			c.TenantSelection.Header = ""
			c.Tenants = []tenants.Config{
				tenant("acme", "http://sso.acme.example/keys", "", "", func(t *tenants.Config) {
					t.Issuer, t.Audience = nil, nil
					t.AllowHTTP = true
					t.VerifyExp, t.VerifyAud, t.VerifyIss = false, false, false
				}),
				tenant("globex", "", "https://globex.example", "app", func(t *tenants.Config) {
					t.Hosts = []string{"globex.example"}
					t.Key, t.Type = tenants.NewSecret("a secret of thirty-two bytes, or more"), "HS256"
					t.VerifyExp, t.VerifyNbf = false, false
				}),
			}
		}, []string{
			"1: listen: is not a loopback address and has no TLS",
			`1: routes: there are none for acme, globex: `,
			"4: defaults.verify_exp: is off: ", // once, for both tenants
			"6: tenants.acme.hosts: are missing and tenant_selection.header is off",
			"7: tenants.acme.jwks_url: fetches keys without TLS",
			"9: tenants.acme.verify_aud: is off: ",
			"10: tenants.acme.verify_iss: is off: ",
			"13: tenants.globex.type: is HS256: ",
			"14: tenants.globex.verify_nbf: is off: ",
		}},
	}
}

func everyKey(c *config.Config) {
	dir := func(name string) string { return filepath.Join("testdata", name) }
	c.Listen = "unix:///run/ussoauthz/ext.sock"
	c.TLS = config.TLS{
		CertFile: dir("tls/cert.pem"), KeyFile: dir("tls/key.pem"), ClientCAFile: dir("tls/ca.pem"),
		Peers: []string{"spiffe://mesh.example/ns/edge/sa/envoy", "envoy.mesh.example"},
	}
	c.RequireTLS = true
	c.JWKSDir, c.JWKSDenyPrivate = dir("keys"), true
	c.Admin = config.Admin{Listen: "[::1]:9999", Hosts: []string{"authz.ops.example"}, Pprof: true, MaxSeries: 500}
	c.Log = config.Log{Level: "debug", Format: "text"}
	c.Limits = config.Limits{MaxInFlight: 100, MaxInFlightBytes: 128 * config.KiB, MaxRequestBytes: 64 * config.KiB, MaxQueryNames: 50, MaxObjectNames: 200_000}
	c.Caches = config.Caches{Decisions: config.GiB}
	c.TenantSelection = config.TenantSelection{Header: "X-Company", ContextExtension: "company", Default: "globex"}
	c.IdentityHeaders = config.IdentityHeaders{
		UserID: "x-auth-user", WorkspaceID: "x-auth-workspace", Roles: "x-auth-roles", Scopes: "x-auth-scopes",
		Claims: map[string]string{"x-company-id": "company_id", "x-plan": "/account/plan"},
	}
	c.ForwardToken = false
	c.Policy = config.Policy{
		Entrypoint: "envoy/authz/allow", Paths: []string{dir("policies"), dir("policies/authz.rego")},
		Timeout: 250 * time.Millisecond, AllowNet: []string{"opa.example", "10.0.0.1"}, Bundles: config.Sections{},
		ProtoDescriptor: dir("proto/api.pb"),
	}
	c.DecisionLog = config.DecisionLog{
		Console: true,
		File:    config.DecisionFile{Path: dir("decisions.jsonl"), MaxSize: 10 * config.MiB, MaxFiles: 3, MaxAge: 168 * time.Hour},
		Service: config.DecisionService{
			URL: "http://logs.example", Partition: "edge/acme", Token: tenants.NewSecret("s3cret"), CAFile: dir("tls/ca.pem"),
			Headers: map[string]tenants.Secret{"X-Api-Key": tenants.NewSecret("k3y")}, AllowHTTP: true, Delay: 2 * time.Second,
		},
		SampleAllows: 0.25, Input: true, Buffer: config.MiB,
		Masks: []config.DecisionMask{
			{Op: "remove", Path: "/sub"},
			{Op: "upsert", Path: "/input/request/path", Value: []any{"hidden", int64(1), map[string]any{"a": true}}},
		},
	}
	c.Revocation = config.Revocation{File: dir("revoked.jsonl"), OnUnavailable: "deny", Redis: revocation.Redis{
		URL: "rediss://redis.example:6380/3", Username: "ussoauthz", Password: tenants.NewSecret("s3cret"),
		CAFile: dir("tls/ca.pem"), CertFile: dir("tls/cert.pem"), KeyFile: dir("tls/key.pem"),
		AllowPlaintext: true, Prefix: "sso", Resync: 5 * time.Minute,
	}}
	c.Shutdown = config.Shutdown{Drain: time.Second, Grace: 90 * time.Second}
	c.Routes = []tenants.Route{{Match: "/"}}
	c.PathReadings = []string{"slash", "case"}

	acme := tenant("acme", "http://sso.acme.example/.well-known/jwks.json", "", "acme-app", nil)
	acme.Hosts = []string{"api.acme.example", "*.acme.example"}
	acme.AllowHTTP = true
	acme.Issuer = tenants.StringList{"https://sso.acme.example", "https://old.acme.example"}
	acme.Algorithms = []string{"EdDSA", "RS256"}
	acme.Header = tenants.TokenSource{Header: "X-Access-Token", Prefix: new(string)}
	acme.VerifyNbf = false
	acme.Leeway = 20 * time.Second
	acme.TokenTypes = tenants.StringList{"access", "service"}
	acme.TenantIDs = tenants.StringList{"*"}
	acme.Claims = map[string]string{"roles": "/realm_access/roles", "scopes": "scope"}
	acme.JWKSTLS = tenants.JWKSTLS{CAFile: "../tls/ca.pem", CertFile: "../tls/cert.pem", KeyFile: "../tls/key.pem"}
	acme.JWKSCache = tenants.JWKSCache{TTL: 10 * time.Minute, MaxStale: 12 * time.Hour}
	acme.PathReadings = []string{}
	acme.Routes = []tenants.Route{
		{
			Match: "GET /posts/{id}", Scopes: []string{"read:posts"}, AnyScope: []string{"read:posts", "read:all"},
			Roles: []string{"editor", "admin"}, AllRoles: []string{}, Workspace: "header:X-Workspace-ID",
		},
		{Match: "PUT /files/{workspace_id}/{name...}", Workspace: "{workspace_id}", Access: "update:media/files"},
		{Match: "GET /health", Public: true},
	}
	globex := tenant("globex", "", "https://id.globex.example", "", nil)
	globex.Hosts = []string{"globex.example"}
	globex.Key, globex.Type = tenants.NewSecret("a secret of thirty-two bytes, or more $"), "HS256"
	globex.Audience = tenants.StringList{"my-app", "their-app"} // inherited
	globex.Leeway = 5 * time.Second
	c.Tenants = []tenants.Config{acme, globex}
}

func inheritance(c *config.Config) {
	heir := func(id string, more func(t *tenants.Config)) tenants.Config {
		return tenant(id, "https://sso.example/keys", "https://sso.example", "shared", func(t *tenants.Config) {
			t.Header = tenants.TokenSource{Header: "X-Token"}
			t.VerifyNbf = false
			t.JWKSCache.TTL = 5 * time.Minute
			t.Claims = map[string]string{"roles": "groups"}
			t.Routes = []tenants.Route{{Match: "GET /shared"}}
			more(t)
		})
	}
	c.Tenants = []tenants.Config{
		heir("all", func(*tenants.Config) {}),
		heir("cache", func(t *tenants.Config) {
			t.JWKSCache = tenants.JWKSCache{TTL: time.Hour, MaxStale: time.Hour}
			t.VerifyNbf = true
		}),
		heir("header", func(t *tenants.Config) {
			t.Header = tenants.TokenSource{Header: "Authorization", Cookie: "session"}
		}),
		heir("keys", func(t *tenants.Config) {
			t.JWKSURL, t.DiscoveryURL = "", "https://other.example/.well-known/openid-configuration"
		}),
		heir("routes", func(t *tenants.Config) {
			t.Routes, t.Claims = []tenants.Route{{Match: "/"}}, map[string]string{}
		}),
	}
}

func TestGoodFiles(t *testing.T) {
	cases := goodFiles()
	for _, path := range files(t, "testdata/good/*.yaml") {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			want, found := cases[name]
			if !found {
				t.Fatalf("goodFiles says nothing of %s", path)
			}
			delete(cases, name)
			got, err := parseFile(t, path)
			if err != nil {
				t.Fatal(err)
			}
			checkWarnings(t, path, got.Warnings, want.warnings)
			c := config.Default()
			c.Path, c.Dir, c.Warnings, c.Digest = path, "testdata/good", got.Warnings, got.Digest
			want.set(&c)
			if diff := cmp.Diff(&c, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	for name := range cases {
		t.Errorf("testdata/good/%s is missing", name)
	}
}

func checkWarnings(t *testing.T, path string, got []config.FieldError, want []string) {
	t.Helper()
	for i, w := range got {
		if text, _ := strings.CutPrefix(w.Error(), path+":"); i >= len(want) || !matches(text, want[i]) {
			t.Errorf("warning %d: %s", i, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d warnings, want\n%s", len(got), strings.Join(want, "\n"))
	}
}

// TestSectionsHideSecrets: whichever way a configuration is printed, what OPA's
// sections hold of credentials stays hidden.
func TestSectionsHideSecrets(t *testing.T) {
	s := config.Sections{
		"services": map[string]any{"cdn": map[string]any{
			"url":         "https://cdn.example/x?sig=s3cret",
			"headers":     map[string]any{"X-Key": "s3cret"},
			"credentials": map[string]any{"bearer": map[string]any{"token": "s3cret"}},
		}, "mirror": map[string]any{"url": "https://ci:s3cret@mirror.example"}, "typo": map[string]any{"url": "https://ci:s3cret%@mirror.example"}},
		"keys":    map[string]any{"ci": map[string]any{"private_key": "s3cret"}},
		"bundles": map[string]any{"main": map[string]any{"resource": "main.tar.gz?sig=s3cret"}},
	}
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("bundles", s))
	for _, text := range []string{string(asJSON), string(asYAML), log.String(), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v", s, s, s)} {
		if strings.Contains(text, "s3cret") || !strings.Contains(text, "main.tar.gz") {
			t.Errorf("it is shown as %s", text)
		}
	}
}
