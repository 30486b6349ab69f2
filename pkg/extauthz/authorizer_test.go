package extauthz_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// ask is a request of acme with a token by name; "" is none.
func (w *world) ask(method, target, token string, headers ...[2]string) *extauthz.Message {
	m := &extauthz.Message{Method: method, Host: "acme.example", Target: target}
	if token != "" {
		m.Headers = append(m.Headers, tenants.Header{Name: "authorization", Value: "Bearer " + w.tokens[token]})
	}
	for _, h := range headers {
		m.Headers = append(m.Headers, tenants.Header{Name: h[0], Value: h[1]})
	}
	return m
}

func TestAnswersOfTheDefaultPolicy(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	for _, tt := range []struct {
		method, target, token string
		status                int
		reason                answers.Reason
		title, detail         string
		challenge             string
	}{
		{"GET", "/", "", 0, answers.Allowed, "", "", ""},
		{"GET", "/me", "alice", 0, answers.Allowed, "", "", ""},
		{"HEAD", "/me", "alice", 0, answers.Allowed, "", "", ""},
		{"GET", "/posts", "alice", 0, answers.Allowed, "", "", ""},
		{"GET", "/admin", "admin", 0, answers.Allowed, "", "", ""},
		{"GET", "/team", "admin", 0, answers.Allowed, "", "", ""},
		{"GET", "/all", "admin", 0, answers.Allowed, "", "", ""},
		{"GET", "/workspaces/ws_1", "alice", 0, answers.Allowed, "", "", ""},
		{"GET", "/me", "", 401, answers.TokenNotFound, "Token not found", "A token is required", `Bearer realm="acme"`},
		{"GET", "/me", "expired", 401, answers.TokenExpired, "Token expired", "The token has expired", `Bearer realm="acme", error="invalid_token"`},
		{"GET", "/me", "refresh", 401, answers.TokenInvalid, "Invalid token", "The token is not valid", `Bearer realm="acme", error="invalid_token"`},
		{"POST", "/posts", "alice", 403, answers.InsufficientScope, "Insufficient permissions", "Required scope 'admin:posts' not found", `Bearer realm="acme", error="insufficient_scope", scope="read:posts admin:posts"`},
		{"DELETE", "/posts", "alice", 403, answers.InsufficientScope, "Insufficient permissions", "One of scopes ('delete:posts', 'admin:posts') required", `Bearer realm="acme", error="insufficient_scope", scope="delete:posts admin:posts"`},
		{"GET", "/media", "alice", 403, answers.InsufficientScope, "Insufficient permissions", "Required access 'update:media/files' not found", `Bearer realm="acme", error="insufficient_scope"`},
		{"GET", "/admin", "alice", 403, answers.InsufficientRole, "Insufficient permissions", "Required role 'admin' not found", ""},
		{"GET", "/team", "alice", 403, answers.InsufficientRole, "Insufficient permissions", "One of roles ('admin', 'owner') required", ""},
		{"GET", "/all", "alice", 403, answers.InsufficientRole, "Insufficient permissions", "Required role 'admin' not found", ""},
		{"GET", "/workspaces/ws_2", "alice", 403, answers.WorkspaceMismatch, "Insufficient permissions", "The token belongs to another workspace", ""},
		{"GET", "/nothing", "admin", 403, answers.NoRoute, "Insufficient permissions", "No route allows this request", ""},
		{"GET", "/nothing", "", 403, answers.NoRoute, "Insufficient permissions", "No route allows this request", ""},
		{"GET", "/a//b", "admin", 400, answers.InvalidRequest, "Invalid request", "The request is malformed or ambiguous", ""},
	} {
		t.Run(tt.method+" "+tt.target+" "+tt.token, func(t *testing.T) {
			got := a.Authorize(t.Context(), w.ask(tt.method, tt.target, tt.token))
			if got.Reason != tt.reason || got.Status != tt.status || got.Allowed != (tt.reason == answers.Allowed) {
				t.Fatalf("%v, status %d, reason %s: %v", got.Allowed, got.Status, got.Reason, got.Err)
			}
			if got.Allowed {
				return
			}
			var body map[string]string
			if err := json.Unmarshal(got.Body, &body); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"error": tt.title, "detail": tt.detail, "reason": string(tt.reason)}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if c := value(got.Headers, "www-authenticate"); c != tt.challenge {
				t.Errorf("challenge %q, want %q", c, tt.challenge)
			}
			if got.RemoveHeaders != nil || got.SetQuery != nil {
				t.Errorf("a denial that changes the request: %+v", got)
			}
		})
	}
}

func value(headers []policy.Header, name string) string {
	i := slices.IndexFunc(headers, func(h policy.Header) bool { return h.Name == name })
	if i < 0 {
		return ""
	}
	return headers[i].Value
}

// own returns a policy of the test's own.
func own(t testing.TB, rego string) policy.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "own.rego")
	if err := os.WriteFile(path, []byte("package own\n"+rego), 0o600); err != nil {
		t.Fatal(err)
	}
	return policy.Config{Entrypoint: "own/decision", Paths: []string{path}}
}

// No policy, not even one that says yes to everything, opens the door to a
// token that is not valid, and none speaks for the identity.
func TestWhatAPolicyCanNot(t *testing.T) {
	w := newWorld(t)
	yes := w.authorizer(t, own(t, `decision := true`))
	for token, want := range map[string]answers.Reason{
		"alice": answers.Allowed, "": answers.Allowed, "expired": answers.TokenExpired, "unsigned": answers.TokenInvalid,
		"globex": answers.TokenInvalid, "confused": answers.TokenInvalid, "crlf": answers.TokenInvalid,
	} {
		if got := yes.Authorize(t.Context(), w.ask("GET", "/nowhere", token)); got.Reason != want {
			t.Errorf("token %q: %s, want %s", token, got.Reason, want)
		}
	}
	for _, result := range []string{
		`"headers": {"x-user-id": "root"}`, `"headers": {"X_User_Id": "root"}`, `"headers": [{"X-Roles": ""}]`, `"headers": {"x-company-id": ["a"]}`,
		`"request_headers_to_remove": ["x-user-id"]`, `"request_headers_to_remove": ["X_Tenant_Id"]`,
	} {
		a := w.authorizer(t, own(t, `decision := {"allowed": true, `+result+`}`))
		if got := a.Authorize(t.Context(), w.ask("GET", "/me", "alice")); got.Reason != answers.PolicyError || got.Allowed {
			t.Errorf("%s: %s", result, got.Reason)
		}
	}
}

func TestPolicyAnswers(t *testing.T) {
	w := newWorld(t)
	denial := w.authorizer(t, own(t, `decision := {
	"allowed": false, "reason": "closed", "detail": "Come back tomorrow", "http_status": 429,
	"headers": {"Retry-After": "3600", "Content-Type": "text/html"}, "dynamic_metadata": {"tenant": "forged", "plan": "gold"},
}`)).Authorize(t.Context(), w.ask("GET", "/me", "alice"))
	if denial.Status != 429 || denial.Reason != "closed" || !strings.Contains(string(denial.Body), "Come back tomorrow") {
		t.Errorf("denial: %+v %s", denial, denial.Body)
	}
	if value(denial.Headers, "content-type") != "text/html" || value(denial.Headers, "retry-after") != "3600" {
		t.Errorf("headers: %v", denial.Headers)
	}
	if denial.Tenant != "acme" || denial.Metadata["plan"] != "gold" {
		t.Errorf("metadata: %q %v", denial.Tenant, denial.Metadata)
	}
	revoked := w.authorizer(t, own(t, `decision := {"allowed": false, "reason": "token_revoked"}`)).Authorize(t.Context(), w.ask("GET", "/me", "alice"))
	if revoked.Status != 401 || !strings.Contains(string(revoked.Body), "Invalid token") {
		t.Errorf("revoked: %d %s", revoked.Status, revoked.Body)
	}
}

func TestStripToken(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{}, func(c *extauthz.Config) { c.StripToken = true })
	token := w.tokens["alice"]
	for _, tt := range []struct {
		name    string
		headers [][2]string
		removes []string
		cookie  string
	}{
		{"header", [][2]string{{"authorization", "Bearer " + token}, {"cookie", "a=1"}}, []string{"authorization"}, ""},
		{"cookie alone", [][2]string{{"cookie", "access_token=" + token}}, []string{"cookie"}, ""},
		{"cookie among others", [][2]string{{"cookie", "a=1; access_token=" + token + "; b=2"}}, nil, "a=1; b=2"},
		{"two lines", [][2]string{{"cookie", "a=1"}, {"cookie", "access_token=" + token}}, nil, "a=1"},
		{"both", [][2]string{{"authorization", "Bearer " + token}, {"cookie", "access_token=" + token + "; b=2"}}, []string{"authorization"}, "b=2"},
		{"bytes that are no text", [][2]string{{"cookie", "a=\xff; access_token=" + token}}, nil, "a=!"},
	} {
		got := a.Authorize(t.Context(), w.ask("GET", "/me", "", tt.headers...))
		if !got.Allowed {
			t.Fatalf("%s: %s %v", tt.name, got.Reason, got.Err)
		}
		for _, name := range []string{"authorization", "cookie"} {
			if removed := slices.Contains(got.RemoveHeaders, name); removed != slices.Contains(tt.removes, name) {
				t.Errorf("%s: %s removed: %v", tt.name, name, removed)
			}
		}
		if c := value(got.Headers, "cookie"); c != tt.cookie {
			t.Errorf("%s: cookie %q, want %q", tt.name, c, tt.cookie)
		}
	}
	// A credential that was not used is none of ours.
	if got := a.Authorize(t.Context(), w.ask("GET", "/", "", [2]string{"authorization", "Basic dTpw"})); slices.Contains(got.RemoveHeaders, "authorization") {
		t.Error("Basic credentials are removed")
	}
}

// Envoy removes after it has set: a name in both lists would be gone.
func TestSetOrRemovedAndNeverBoth(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, result, header string
		value                string // "": removed
	}{
		{"another token for the upstream", `"headers": {"Authorization": "Bearer inner"}`, "authorization", "Bearer inner"},
		{"another cookie", `"headers": {"cookie": "inner=1"}`, "cookie", "inner=1"},
		{"no cookie at all", `"request_headers_to_remove": ["Cookie"]`, "cookie", ""},
		{"what it sets and removes itself", `"headers": {"x-a": "1"}, "request_headers_to_remove": ["X-A"]`, "x-a", ""},
	} {
		a := w.authorizer(t, own(t, `decision := {"allowed": true, `+tt.result+`}`), func(c *extauthz.Config) { c.StripToken = true })
		token := w.tokens["alice"]
		got := a.Authorize(t.Context(), w.ask("GET", "/me", "", [2]string{"authorization", "Bearer " + token}, [2]string{"cookie", "a=1; access_token=" + token}))
		if !got.Allowed {
			t.Fatalf("%s: %s %v", tt.name, got.Reason, got.Err)
		}
		if v := value(got.Headers, tt.header); v != tt.value || slices.Contains(got.RemoveHeaders, tt.header) != (v == "") {
			t.Errorf("%s: set %v, removed %v", tt.name, got.Headers, got.RemoveHeaders)
		}
	}
}

func TestForwardedByDefault(t *testing.T) {
	w := newWorld(t)
	got := w.authorizer(t, policy.Config{}).Authorize(t.Context(), w.ask("GET", "/me", "alice", [2]string{"cookie", "a=1"}))
	if slices.Contains(got.RemoveHeaders, "authorization") || value(got.Headers, "cookie") != "" {
		t.Errorf("the credential is touched: %+v", got)
	}
}

func TestDeadlines(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if got := a.Authorize(ctx, w.ask("GET", "/me", "alice")); got.Allowed || got.Reason != answers.Overloaded {
		t.Errorf("after the deadline: %s", got.Reason)
	}
}

// A fault of ours in one request is a denial of that request.
func TestPanicsAreDenials(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, own(t, `decision if input.attributes`))
	m := w.ask("GET", "/me", "alice")
	m.Attributes = func() (any, error) { panic("a fault") }
	if got := a.Authorize(t.Context(), m); got.Allowed || got.Reason != answers.PolicyError || got.Status != 500 {
		t.Errorf("in the policy: %+v", got)
	}
	var nothing *extauthz.Message
	if got := safely(a, nothing); got.Allowed || got.Reason != answers.Internal || got.Status != 500 {
		t.Errorf("in the road: %+v", got)
	}
}

func safely(a *extauthz.Authorizer, m *extauthz.Message) *extauthz.Answer {
	return a.Authorize(context.Background(), m)
}

func TestGRPCStatus(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	mistyped := w.authorizer(t, own(t, `decision := 1`))
	for contentType, grpc := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc-web": false, "application/json": false, "": false,
	} {
		h := [2]string{"content-type", contentType}
		for _, tt := range []struct {
			a      *extauthz.Authorizer
			target string
			want   string
		}{{a, "//", "3"}, {mistyped, "/me", "13"}, {a, "/admin", ""}} {
			got := value(tt.a.Authorize(t.Context(), w.ask("GET", tt.target, "alice", h)).Headers, "grpc-status")
			if !grpc {
				tt.want = ""
			}
			if got != tt.want {
				t.Errorf("%q %s: grpc-status %q, want %q", contentType, tt.target, got, tt.want)
			}
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	w := newWorld(b)
	a := w.authorizer(b, policy.Config{})
	m := w.ask("GET", "/posts", "alice")
	b.ReportAllocs()
	for b.Loop() {
		if got := a.Authorize(context.Background(), m); !got.Allowed {
			b.Fatal(got.Reason)
		}
	}
}
