package httpauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// noKeys is a key set that was never fetched.
type noKeys struct{}

func (noKeys) Find(context.Context, string) (*jwtverify.Key, error) {
	return nil, jwtverify.ErrKeysUnavailable
}

// mockUser is the caller of most tests.
func mockUser() *jwtverify.Identity {
	return &jwtverify.Identity{
		Subject: "user:test123", UserID: "user:test123", TenantID: "org_test", WorkspaceID: "ws_test",
		Roles: []string{"editor"}, Scopes: []string{"read:posts", "write:posts"},
	}
}

// whoami answers with the caller's id.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id, ok := httpauth.FromContext(r.Context())
	if !ok {
		_, _ = io.WriteString(w, "nobody")
		return
	}
	_, _ = io.WriteString(w, id.UserID)
})

func serve(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func failing(err error) httpauth.Authenticator {
	return func(*http.Request) (*jwtverify.Identity, error) { return nil, err }
}

func TestMiddleware(t *testing.T) {
	tests := []struct {
		name     string
		auth     httpauth.Authenticator
		required int // the status of Middleware
		optional int // the status of Optional
		reason   answers.Reason
	}{
		{"a caller", httpauth.Fake(mockUser()), 200, 200, ""},
		{"nobody", httpauth.Fake(nil), 401, 200, answers.TokenNotFound},
		{"no token", failing(&httpauth.Error{Reason: answers.TokenNotFound}), 401, 200, answers.TokenNotFound},
		{"ambiguous", failing(&httpauth.Error{Reason: answers.InvalidRequest}), 400, 400, answers.InvalidRequest},
		{"tenant", failing(&httpauth.Error{Reason: answers.InvalidTenant}), 400, 400, answers.InvalidTenant},
		{"wrapped", failing(fmt.Errorf("cache: %w", &httpauth.Error{Reason: answers.TokenRevoked})), 401, 401, answers.TokenRevoked},
		{"expired", failing(jwtverify.ErrExpired), 401, 401, answers.TokenExpired},
		{"malformed", failing(jwtverify.ErrMalformed), 401, 401, answers.TokenInvalid},
		{"signature", failing(fmt.Errorf("verifying: %w", jwtverify.ErrSignature)), 401, 401, answers.TokenInvalid},
		{"keys", failing(jwtverify.ErrKeysUnavailable), 503, 503, answers.KeysUnavailable},
		{"a fault", failing(errors.New("database password is hunter2")), 500, 500, answers.Internal},
		{"an empty error", failing(&httpauth.Error{}), 500, 500, answers.Internal},
		{"an error that says allowed", failing(&httpauth.Error{Reason: answers.Allowed}), 403, 403, answers.Allowed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for kind, c := range map[string]struct {
				middleware func(http.Handler) http.Handler
				status     int
			}{
				"Middleware": {httpauth.Middleware(test.auth), test.required},
				"Optional":   {httpauth.Optional(test.auth), test.optional},
			} {
				resp := serve(c.middleware(whoami), httptest.NewRequest(http.MethodGet, "/", nil))
				if resp.StatusCode != c.status {
					t.Errorf("%s: status %d, want %d", kind, resp.StatusCode, c.status)
				}
				want := string(test.reason.Body(""))
				if c.status == http.StatusOK {
					want = "nobody"
					if test.reason == "" {
						want = "user:test123"
					}
				}
				if got := body(t, resp); got != want {
					t.Errorf("%s: body %s, want %s", kind, got, want)
				}
			}
		})
	}
}

// TestDenyAnswersAsTheServiceInFront pins what clients see, header by header.
func TestDenyAnswersAsTheServiceInFront(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		header map[string]string
		body   string
	}{
		{
			"no token", &httpauth.Error{Reason: answers.TokenNotFound, Realm: "acme"}, 401,
			map[string]string{"Content-Type": "application/json", "Www-Authenticate": `Bearer realm="acme"`},
			`{"error":"Token not found","detail":"A token is required","reason":"token_not_found"}`,
		},
		{
			"expired", jwtverify.ErrExpired, 401,
			map[string]string{"Content-Type": "application/json", "Www-Authenticate": `Bearer realm="ussoauthz", error="invalid_token"`},
			`{"error":"Token expired","detail":"The token has expired","reason":"token_expired"}`,
		},
		{
			"keys", jwtverify.ErrKeysUnavailable, 503,
			map[string]string{"Content-Type": "application/json", "Retry-After": "5"},
			`{"error":"Authentication unavailable","detail":"The keys to verify tokens are not available","reason":"keys_unavailable"}`,
		},
		{
			"a fault", errors.New("secret"), 500,
			map[string]string{"Content-Type": "application/json"},
			`{"error":"Authorization error","detail":"The request could not be decided","reason":"internal"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			httpauth.Deny(w, test.err)
			header := map[string]string{}
			for name, values := range w.Header() {
				header[name] = fmt.Sprint(values[0])
			}
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, test.status, test.body)
			}
			if diff := cmp.Diff(test.header, header); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequire(t *testing.T) {
	type guard = func(http.Handler) http.Handler
	workspace := func(name string) guard {
		return httpauth.RequireWorkspace(func(*http.Request) string { return name })
	}
	homeless := mockUser()
	homeless.WorkspaceID = ""
	tests := []struct {
		name      string
		guard     guard
		id        *jwtverify.Identity
		reason    answers.Reason // "" passes
		detail    string
		challenge string
	}{
		{"scope", httpauth.RequireScope("read:posts"), mockUser(), "", "", ""},
		{"missing scope", httpauth.RequireScope("delete:posts"), mockUser(), answers.InsufficientScope,
			"Required scope 'delete:posts' not found", `Bearer realm="org_test", error="insufficient_scope", scope="delete:posts"`},
		{"part of a scope", httpauth.RequireScope("read"), mockUser(), answers.InsufficientScope,
			"Required scope 'read' not found", `Bearer realm="org_test", error="insufficient_scope", scope="read"`},
		{"one of the scopes", httpauth.RequireAnyScope("read:all", "read:posts"), mockUser(), "", "", ""},
		{"none of the scopes", httpauth.RequireAnyScope("a", "b"), mockUser(), answers.InsufficientScope,
			"One of scopes ('a', 'b') required", `Bearer realm="org_test", error="insufficient_scope", scope="a b"`},
		{"no scopes", httpauth.RequireAnyScope(), mockUser(), answers.InsufficientScope,
			"One of scopes ('') required", `Bearer realm="org_test", error="insufficient_scope"`},
		{"role", httpauth.RequireRole("editor"), mockUser(), "", "", ""},
		{"missing role", httpauth.RequireRole("admin"), mockUser(), answers.InsufficientRole, "Required role 'admin' not found", ""},
		{"one of the roles", httpauth.RequireAnyRole("editor", "admin"), mockUser(), "", "", ""},
		{"none of the roles", httpauth.RequireAnyRole("owner", "admin"), mockUser(), answers.InsufficientRole, "One of roles ('owner', 'admin') required", ""},
		{"workspace", workspace("ws_test"), mockUser(), "", "", ""},
		{"other workspace", workspace("ws_other"), mockUser(), answers.WorkspaceMismatch, "", ""},
		{"no workspace named", workspace(""), mockUser(), answers.WorkspaceMismatch, "", ""},
		{"no workspace anywhere", workspace(""), homeless, answers.WorkspaceMismatch, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp := serve(httpauth.Middleware(httpauth.Fake(test.id))(test.guard(whoami)), httptest.NewRequest(http.MethodGet, "/", nil))
			if test.reason == "" {
				if got := body(t, resp); got != test.id.UserID {
					t.Errorf("got %d %s, want it to pass", resp.StatusCode, got)
				}
				return
			}
			if got, want := body(t, resp), string(test.reason.Body(test.detail)); got != want || resp.StatusCode != http.StatusForbidden {
				t.Errorf("got %d %s, want 403 %s", resp.StatusCode, got, want)
			}
			if got := resp.Header.Get("Www-Authenticate"); got != test.challenge {
				t.Errorf("challenge %q, want %q", got, test.challenge)
			}
		})
	}
}

// TestRequireWithoutMiddleware: a forgotten Middleware refuses everybody.
func TestRequireWithoutMiddleware(t *testing.T) {
	for name, guard := range map[string]func(http.Handler) http.Handler{
		"RequireScope":     httpauth.RequireScope("a"),
		"RequireAnyScope":  httpauth.RequireAnyScope("a"),
		"RequireRole":      httpauth.RequireRole("a"),
		"RequireAnyRole":   httpauth.RequireAnyRole("a"),
		"RequireWorkspace": httpauth.RequireWorkspace(func(*http.Request) string { return "" }),
	} {
		resp := serve(guard(whoami), httptest.NewRequest(http.MethodGet, "/", nil))
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, resp.StatusCode)
		}
	}
}

// TestOptionalForgetsTheOuterIdentity: what the inner authenticator does not
// find must not be there.
func TestOptionalForgetsTheOuterIdentity(t *testing.T) {
	h := httpauth.Middleware(httpauth.Fake(mockUser()))(httpauth.Optional(httpauth.Fake(nil))(whoami))
	if got := body(t, serve(h, httptest.NewRequest(http.MethodGet, "/", nil))); got != "nobody" {
		t.Errorf("got %s, want nobody", got)
	}
}

func TestFromContext(t *testing.T) {
	if id, ok := httpauth.FromContext(t.Context()); ok || id != nil {
		t.Errorf("an empty context holds %v", id)
	}
	if id, ok := httpauth.FromContext(httpauth.WithIdentity(t.Context(), nil)); ok || id != nil {
		t.Errorf("a context with nil holds %v", id)
	}
	want := mockUser()
	if id, ok := httpauth.FromContext(httpauth.WithIdentity(t.Context(), want)); !ok || id != want {
		t.Errorf("got %v, %v", id, ok)
	}
}

// A token whose key can't be looked for yet is told when to come again.
func TestDenyTellsWhenKeysAreLookedFor(t *testing.T) {
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{Transport: empty{}})
	defer fetcher.Close()
	keys, err := fetcher.Open(jwks.RemoteConfig{URL: "https://sso.example/"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // the first ones wait for the set, and then use up the lookups
		_, err = keys.Find(t.Context(), strconv.Itoa(i))
	}
	w := httptest.NewRecorder()
	httpauth.Deny(w, err)
	if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || w.Code != 503 || after < 20 || after > 30 {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}

// empty is a server with a key that nobody asks for.
type empty struct{}

func (empty) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	_, _ = io.WriteString(w, `{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	response := w.Result()
	response.Request = r
	return response, nil
}
