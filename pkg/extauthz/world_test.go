package extauthz_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"github.com/ussoio/ussoauthz/internal/testkit/grpctest"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// world is two tenants with real keys, and every token that the tests name.
type world struct {
	directory *tenants.Directory
	tokens    map[string]string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	acme, globex := newIssuer(t, "acme"), newIssuer(t, "globex")
	routes, faults := tenants.NewRoutes([]tenants.Route{
		{Match: "GET /{$}", Public: true},
		{Match: "GET /me"},
		{Match: "GET /posts", Scopes: []string{"read:posts"}},
		{Match: "POST /posts", Scopes: []string{"read:posts", "admin:posts"}},
		{Match: "DELETE /posts", AnyScope: []string{"delete:posts", "admin:posts"}},
		{Match: "GET /files/{path...}"},
		{Match: "GET /files/secret", Roles: []string{"admin"}},
		{Match: "GET /admin", Roles: []string{"admin"}},
		{Match: "GET /team", Roles: []string{"admin", "owner"}},
		{Match: "GET /all", AllRoles: []string{"editor", "admin"}},
		{Match: "GET /workspaces/{id}", Workspace: "{id}"},
		{Match: "GET /header", Workspace: "header:X-Workspace-ID"},
		{Match: "GET /query", Workspace: "query:workspace"},
		{Match: "GET /media", Access: "update:media/files"},
	})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	configs := []tenants.Config{config(acme, "acme", "acme.example", "*.acme.example"), config(globex, "globex", "globex.example")}
	cache, err := jwtverify.NewCache(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	var list []*tenants.Tenant
	for i := range configs {
		tenant, err := configs[i].Build("", tenants.Shared{Routes: routes, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, tenant)
	}
	directory, err := tenants.NewDirectory(tenants.Selection{Header: "X-Tenant-ID", Extension: "tenant"}, list)
	if err != nil {
		t.Fatal(err)
	}
	return &world{directory: directory, tokens: tokens(t, acme, globex)}
}

func newIssuer(t testing.TB, name string) *jwttest.Issuer {
	t.Helper()
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso." + name + ".example", KeyIDs: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

func config(issuer *jwttest.Issuer, id string, hosts ...string) tenants.Config {
	c := tenants.DefaultConfig()
	c.ID, c.Hosts = id, hosts
	c.Key, c.Type = tenants.NewSecret(string(issuer.PublicPEM(jwtverify.EdDSA))), "EdDSA"
	c.Issuer, c.Audience = tenants.StringList{"https://sso." + id + ".example"}, tenants.StringList{"app"}
	return c
}

func claims(change map[string]any) map[string]any {
	c := map[string]any{
		"sub": "user:alice", "aud": "app", "tenant_id": "acme", "workspace_id": "ws_1",
		"roles": []string{"editor", "author"}, "scopes": []string{"read:posts", "write:posts"},
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	for name, value := range change {
		c[name] = value
	}
	return c
}

// tokens mints every token by name, of acme but for those that say so.
func tokens(t testing.TB, acme, globex *jwttest.Issuer) map[string]string {
	t.Helper()
	minted := map[string]string{}
	for name, change := range map[string]map[string]any{
		"alice":             nil,
		"bob":               {"sub": "user:bob"},
		"admin":             {"sub": "user:root", "roles": []string{"admin", "editor"}},
		"expired":           {"exp": time.Now().Add(-time.Hour).Unix()},
		"future":            {"nbf": time.Now().Add(time.Hour).Unix()},
		"refresh":           {"token_type": "refresh"},
		"audience":          {"aud": "other"},
		"issuer":            {"iss": "https://sso.acme.example/"},
		"wrong_tenant":      {"tenant_id": "globex"},
		"tenant_list":       {"tenant_id": []string{"acme", "globex"}},
		"tenant_blank":      {"tenant_id": "acme "},
		"crlf":              {"sub": "a\r\nx-roles: admin"},
		"subject_crlf":      {"user_id": "u1", "sub": "a\r\nb"},
		"subject_long":      {"user_id": "u1", "sub": strings.Repeat("s", 5000)},
		"subject_name":      {"user_id": "u1", "sub": "Älice B."},
		"blank":             {"sub": "user alice"},
		"unicode":           {"sub": "user:älice"},
		"comma_role":        {"roles": []string{"user,admin"}},
		"long_role":         {"roles": []string{strings.Repeat("r", 5000)}},
		"company":           {"company_id": "Café 100%"},
		"company_crlf":      {"company_id": "a\nb"},
		"company_number":    {"company_id": uint64(9007199254740993)},
		"company_digits":    {"company_id": json.Number(strings.Repeat("9", 5000))},
		"company_list":      {"company_id": []string{"a"}},
		"many_roles":        {"roles": strings.Split(strings.Repeat("a-role-of-twenty-nine-bytes-xx,", 300)+"last", ",")},
		"hostile_elsewhere": {"session_id": "a\r\nb", "bio": "line\nline", "tags": []string{"a\x00b"}},
	} {
		minted[name] = mint(t, acme, claims(change))
	}
	minted["globex"] = mint(t, globex, claims(map[string]any{"tenant_id": "globex"}))
	minted["unsigned"] = unsigned(minted["alice"])
	minted["confused"] = confused(t, acme)
	return minted
}

func mint(t testing.TB, issuer *jwttest.Issuer, claims map[string]any) string {
	t.Helper()
	token, err := issuer.Mint(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

var names = extauthz.IdentityHeaders{
	UserID: "x-user-id", TenantID: "x-tenant-id", WorkspaceID: "x-workspace-id", Roles: "x-roles", Scopes: "x-scopes",
	Claims: map[string]string{"x-company-id": "company_id"},
}

// patience is more than the usual limit of an evaluation: the race detector on
// a busy machine is slow.
const patience = 10 * time.Second

func (w *world) authorizer(t testing.TB, cfg policy.Config, change ...func(*extauthz.Config)) *extauthz.Authorizer {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = patience
	}
	engine, err := policy.New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := extauthz.Config{Tenants: w.directory, Policy: engine, Headers: names}
	for _, f := range change {
		f(&c)
	}
	a, err := extauthz.NewAuthorizer(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve starts a real gRPC server on loopback and returns a connection to it.
func serve(t testing.TB, s *extauthz.Server, options ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	server := grpc.NewServer(append(extauthz.ServerOptions(), options...)...)
	s.Register(server)
	return grpctest.Serve(t, server)
}

// rawCodec sends bytes as they are, so that a test can send what is no message.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// checkBytes sends the bytes of a check and returns the answer, which must not
// be a gRPC error.
func checkBytes(ctx context.Context, conn *grpc.ClientConn, check []byte) (*authv3.CheckResponse, error) {
	var answer []byte
	if err := conn.Invoke(ctx, authv3.Authorization_Check_FullMethodName, check, &answer, grpc.ForceCodec(rawCodec{})); err != nil {
		return nil, fmt.Errorf("a gRPC error: %w", err)
	}
	return decodeResponse(answer)
}

func hmacSHA256(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
