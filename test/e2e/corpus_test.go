package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

// More of what clients are known to try, through a real Envoy and in both forms
// in which it hands the headers on. The application gets the identity of the
// token or nothing of one, whatever came.
func TestHostileCorpus(t *testing.T) {
	inBothForms(t, func(t *testing.T, w *world, rawHeaders bool) {
		token := w.token(t, alice)
		auth := "Authorization: Bearer " + token
		claims := func(more map[string]any) string {
			all := alice.Claims("https://sso.acme.example", "posts", time.Now())
			for name, value := range more {
				all[name] = value
			}
			return "Authorization: Bearer " + w.mint(t, "acme", all)
		}
		unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + token[strings.IndexByte(token, '.'):strings.LastIndexByte(token, '.')+1]
		roles := make([]string, 2000)
		for i := range roles {
			roles[i] = fmt.Sprint("role-", i)
		}
		const host = "Host: acme.example"
		twoLines, answer := 200, "allowed"
		if !rawHeaders {
			twoLines, answer = 401, "token_not_found" // Envoy joins them with a comma
		}
		for _, tt := range []attempt{
			{"no Host in HTTP/1.0", "GET /me HTTP/1.0", []string{auth}, 426, ""},
			{"no Host", "GET /me", []string{auth}, 400, ""},
			{"a host that looks alike", "GET /me", []string{"Host: acme.example.evil.io", auth}, 400, "invalid_tenant"},
			{"a host that ends alike", "GET /me", []string{"Host: evilacme.example", auth}, 400, "invalid_tenant"},
			{"two labels for a wildcard", "GET /me", []string{"Host: a.b.acme.example", auth}, 400, "invalid_tenant"},
			{"a joined tenant", "GET /me", []string{host, "X-Tenant-ID: acme,globex", auth}, 400, "invalid_tenant"},
			{"a tenant in another case", "GET /me", []string{host, "X-Tenant-ID: ACME", auth}, 400, "invalid_tenant"},
			{"a tenant in the query", "GET /me?tenant=globex&X-Tenant-ID=globex", []string{host, auth}, 200, "allowed"},

			{"a tab behind Bearer", "GET /me", []string{host, "Authorization: Bearer\t" + token}, 401, "token_invalid"},
			{"Bearer alone", "GET /me", []string{host, "Authorization: Bearer"}, 401, "token_invalid"},
			{"Bearer in capitals, two blanks", "GET /me", []string{host, "Authorization: BEARER  " + token}, 200, "allowed"},
			{"Bearer=", "GET /me", []string{host, "Authorization: Bearer=" + token}, 401, "token_invalid"},
			{"the bare token", "GET /me", []string{host, "Authorization: " + token}, 401, "token_not_found"},
			{"a folded line, unfolded by Envoy", "GET /me", []string{host, "Authorization: Bearer\r\n " + token}, 200, "allowed"},
			{"an identity in a folded line", "GET /me", []string{host, auth, "X-A: a\r\n X-User-Id: user:root"}, 200, "allowed"},
			{"Basic beside a cookie", "GET /me", []string{host, "Authorization: Basic dTpw", "Cookie: access_token=" + token}, 401, "token_not_found"},
			{"two Cookie lines", "GET /me", []string{host, "Cookie: a=1", "Cookie: access_token=" + token}, twoLines, answer},
			{"a quoted cookie", "GET /me", []string{host, `Cookie: access_token="` + token + `"`}, 200, "allowed"},
			{"a cookie with a comma", "GET /me", []string{host, "Cookie: access_token=" + token + ",x"}, 401, "token_invalid"},
			{"a cookie of a longer name", "GET /me", []string{host, "Cookie: xaccess_token=" + token + "; Access_Token=" + token}, 401, "token_not_found"},
			{"thousands of cookies", "GET /me", []string{host, "Cookie: " + strings.Repeat("a=b; ", 8000) + "access_token=" + token}, 200, "allowed"},
			{"a cookie of 70 KiB", "GET /me", []string{host, "Cookie: a=" + strings.Repeat("b", 70<<10)}, 431, ""},
			{"a token of 50 KiB", "GET /me", []string{host, auth + strings.Repeat("A", 50<<10)}, 401, "token_invalid"},
			{"two hundred headers", "GET /me", append(slices.Repeat([]string{"X-Many: 1"}, 200), host, auth), 431, ""},
			{"NUL in a header", "GET /me", []string{host, "Authorization: Bearer \x00" + token}, 400, ""},
			{"a bare CR in a header", "GET /me", []string{host, auth, "X-A: a\rX-User-Id: user:root"}, 200, "allowed"},
			{"the token in the query", "GET /me?access_token=" + token, []string{host}, 401, "token_not_found"},
			{"no signature", "GET /me", []string{host, "Authorization: Bearer " + unsigned}, 401, "token_invalid"},
			{"five segments", "GET /me", []string{host, auth + ".a.b"}, 401, "token_invalid"},
			{"padding", "GET /me", []string{host, auth + "="}, 401, "token_invalid"},
			{"a session of another type", "GET /me", []string{host, claims(map[string]any{"token_type": "refresh"})}, 401, "token_invalid"},
			{"a list of tenants", "GET /me", []string{host, claims(map[string]any{"tenant_id": []string{"acme", "globex"}})}, 401, "token_invalid"},
			{"a subject with a line break", "GET /me", []string{host, claims(map[string]any{"sub": "user:alice\r\nx-roles: admin"})}, 401, "token_invalid"},
			{"a role that holds two", "GET /me", []string{host, claims(map[string]any{"roles": []string{"user,admin"}})}, 401, "token_invalid"},
			{"two thousand roles", "GET /me", []string{host, claims(map[string]any{"roles": roles})}, 401, "token_invalid"},
			{"a company that breaks lines", "GET /me", []string{host, claims(map[string]any{"company_id": "a\r\nx-roles: admin"})}, 401, "token_invalid"},

			{"two lines of a spoofed header", "GET /me", []string{host, auth, "X-Roles: admin", "x-roles: root", "X-USER-ID: user:root"}, 200, "allowed"},
			{"the same on a public page", "GET /", []string{host, "X-Roles: admin", "x-roles: root", "X-USER-ID: user:root", "X-Company-Id: 1"}, 200, "allowed"},
			{"every identity header nominated", "GET /me", []string{host, auth, "Connection: x-user-id, x-tenant-id, x-workspace-id, x-roles, x-scopes"}, 200, "allowed"},
			{"the credential nominated, removed by Envoy", "GET /me", []string{host, auth, "Connection: close, authorization"}, 401, "token_not_found"},
			{"what ext_authz itself would say", "GET /me", []string{host, auth, "X-Envoy-Auth-Headers-To-Remove: x-user-id", "X-Envoy-Auth-Failure-Mode-Allowed: true", "X-Envoy-Auth-Partial-Body: true"}, 200, "allowed"},
			{"another cluster's name", "GET /me", []string{host, "X-Envoy-Downstream-Service-Cluster: billing", "X-Forwarded-For: 127.0.0.1", "X-Envoy-Internal: true"}, 401, "token_not_found"},
			{"paths in headers", "GET /me", []string{host, auth, "X-Original-URL: /", "X-Rewrite-URL: /", "X-Envoy-Original-Path: /", "X-Forwarded-Prefix: /health"}, 200, "allowed"},
			{"the same without a token", "GET /me", []string{host, "X-Original-URL: /", "X-Rewrite-URL: /", "X-Envoy-Original-Path: /", "X-Forwarded-Prefix: /health"}, 401, "token_not_found"},

			{"an encoded backslash", "GET /posts/..%5cadmin", []string{host, auth}, 400, ""},
			{"encoded dots, resolved by Envoy", "GET /posts/%2e%2e/me", []string{host, auth}, 200, "allowed"},
			{"encoded dots on the way to another rule", "GET /health/%2e%2e/admin/users", []string{host, auth}, 403, "insufficient_role"},
			{"merged slashes", "GET //admin//users", []string{host, auth}, 403, "insufficient_role"},
			{"a dot", "GET /./admin/./users", []string{host, auth}, 403, "insufficient_role"},
			{"a last slash", "GET /me/", []string{host, auth}, 403, "no_route"},
			{"path parameters", "GET /me;x=1", []string{host, auth}, 403, "no_route"},
			{"encoded path parameters", "GET /me%3bx", []string{host, auth}, 403, "no_route"},
			{"a line feed", "GET /me%0a", []string{host, auth}, 400, "invalid_request"},
			{"no UTF-8", "GET /me%ff", []string{host, auth}, 400, "invalid_request"},
			{"a fragment", "GET /health#/../admin/users", []string{host, auth}, 400, ""},
			{"no path", "GET ?a=1", []string{host, auth}, 400, ""},
			{"a star", "OPTIONS *", []string{host, auth}, 404, ""},
			{"dots in the query", "GET /me?/../admin/users", []string{host, auth}, 200, "allowed"},
			{"odd pairs in the query", "GET /me?a=1;b=2&%61=%zz&a", []string{host, auth}, 200, "allowed"},

			{"another method in a header", "POST /posts/1", []string{host, auth, "X-HTTP-Method-Override: DELETE", "Content-Length: 0"}, 403, "no_route"},
			{"a method that nobody has", "FOO /me", []string{host, auth}, 400, ""},
			{"a preflight without cors", "OPTIONS /me", []string{host, "Origin: https://evil.example", "Access-Control-Request-Method: GET"}, 403, "no_route"},
			{"a WebSocket", "GET /me", []string{host, auth, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}, 200, "allowed"},
			{"a WebSocket without a token", "GET /me", []string{host, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: bearer, " + token}, 401, "token_not_found"},
			{"HTTP/2 by upgrade", "GET /me", []string{host, auth, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}, 200, "allowed"},
			{"two lengths", "POST /posts", []string{host, auth, "Content-Length: 5", "Content-Length: 6"}, 400, ""},
			{"length and chunks", "POST /posts", []string{host, auth, "Content-Length: 4", "Transfer-Encoding: chunked"}, 400, ""},
			{"another transfer encoding", "POST /posts", []string{host, auth, "Transfer-Encoding: xchunked"}, 501, ""},
			{"a blank before the colon", "GET /me", []string{host, "Authorization : Bearer " + token}, 400, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				a := w.try(t, tt)
				if a.Seen != nil {
					onlyOf(t, a, tt.line == "GET /")
				}
				minted.search(t, "an answer", a.Body)
			})
		}
	})
}

// onlyOf fails the test where the application got anything else for the
// identity than alice's, or on a public page than nothing.
func onlyOf(t *testing.T, a tour.Answer, public bool) {
	t.Helper()
	want := []string{"x-user-id: user:alice", "x-tenant-id: acme", "x-workspace-id: ws_1", "x-scopes: read:posts"}
	if public {
		want = nil
	}
	if got := a.Identity(); !slices.Equal(got, want) {
		text, err := json.Marshal(got)
		t.Errorf("the application got %s, want %q (%v)", text, want, err)
	}
	if got := a.Seen.Get("Upgrade") + a.Seen.Get("HTTP2-Settings"); got != "" && got != "websocket" {
		t.Errorf("the application may upgrade to %s", got)
	}
	for _, name := range []string{"x-envoy-auth-failure-mode-allowed", "x-envoy-auth-headers-to-remove", "x-envoy-auth-partial-body"} {
		if got := a.Seen.Get(name); got != "" {
			t.Errorf("the application got %s: %s", name, got)
		}
	}
}
