package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

// The story of the demo, step by step, with what the application received.
func TestTour(t *testing.T) {
	w := start(t)
	for n, step := range tour.Steps() {
		t.Run(fmt.Sprintf("%02d %s", n+1, step.Title), func(t *testing.T) {
			if err := step.Check(w.do(t, step, n+1)); err != nil {
				t.Error(err)
			}
		})
	}
}

// policyFile is a policy with every outcome that only a policy can have.
const policyFile = `package e2e

default decision := {"allowed": false}

decision := data.usso.authz.decision if not startswith(input.request.path, "/policy/")

decision := {"allowed": false, "reason": "token_revoked"} if input.request.path == "/policy/revoked"

decision := {"allowed": false, "detail": "Not today"} if input.request.path == "/policy/denied"

decision := {"allowed": true, "headers": {"x-user-id": "root"}} if input.request.path == "/policy/forges"

decision := {"allowed": true, "request_headers_to_remove": ["x-roles"]} if input.request.path == "/policy/unsets"

decision := "yes" if input.request.path == "/policy/mistyped"

decision := {
	"allowed": false, "http_status": 302, "body": "please log in",
	"headers": {"Location": "https://login.example", "Set-Cookie": ["a=1", "b=2"]},
} if input.request.path == "/policy/redirects"

decision := {
	"allowed": true, "headers": {"x-plan": "gold"}, "response_headers_to_add": {"x-served-by": "policy"},
	"request_headers_to_remove": ["x-debug"], "query_parameters_to_set": {"page": "10"}, "query_parameters_to_remove": ["debug"],
} if input.request.path == "/policy/changes"
`

// withPolicy serves the demo's tenants with the policy above, further settings,
// and a route for every path under /policy.
func withPolicy(settings string) func(*world, *stack.Config) {
	return func(_ *world, c *stack.Config) {
		text, err := os.ReadFile(c.File)
		if err != nil {
			panic(err)
		}
		c.File = filepath.Join(c.Dir, "ussoauthz.yaml")
		text = append(text, "  - match: /policy/\n"...)
		text = append(text, "policy: {entrypoint: e2e/decision, paths: [e2e.rego]}\n"+settings...)
		for name, content := range map[string][]byte{"ussoauthz.yaml": text, "e2e.rego": []byte(policyFile)} {
			if err := os.WriteFile(filepath.Join(c.Dir, name), content, 0o600); err != nil {
				panic(err)
			}
		}
	}
}

// Every row of the answers table, as a client of Envoy gets it.
func TestAnswers(t *testing.T) {
	w := start(t, withPolicy(""))
	steps := map[string]tour.Step{}
	for _, s := range tour.Steps() {
		if s.Reason != "" && s.Reason != "envoy" {
			steps[s.Reason] = s
		}
	}
	me := steps["token_expired"] // a token of acme for /me
	token := *me.Token
	token.Expired = false
	for reason, path := range map[string]string{
		"token_revoked": "/policy/revoked", "policy_denied": "/policy/denied", "policy_error": "/policy/mistyped",
	} {
		s := me
		s.Token, s.Path, s.Reason = &token, path, reason
		steps[reason] = s
	}
	for reason, want := range map[string]struct {
		status           int
		title, challenge string
		retry            bool
	}{
		"invalid_request":    {400, "Invalid request", "", false},
		"invalid_tenant":     {400, "Invalid tenant", "", false},
		"token_not_found":    {401, "Token not found", `Bearer realm="acme"`, false},
		"token_expired":      {401, "Token expired", `Bearer realm="acme", error="invalid_token"`, false},
		"token_invalid":      {401, "Invalid token", `, error="invalid_token"`, false},
		"token_revoked":      {401, "Invalid token", `Bearer realm="acme", error="invalid_token"`, false},
		"insufficient_scope": {403, "Insufficient permissions", `error="insufficient_scope", scope="delete:posts"`, false},
		"insufficient_role":  {403, "Insufficient permissions", "", false},
		"workspace_mismatch": {403, "Insufficient permissions", "", false},
		"no_route":           {403, "Insufficient permissions", "", false},
		"policy_denied":      {403, "Insufficient permissions", "", false},
		"keys_unavailable":   {503, "Authentication unavailable", "", true},
		"policy_error":       {500, "Authorization error", "", false},
	} {
		t.Run(reason, func(t *testing.T) {
			step, ok := steps[reason]
			if !ok {
				t.Fatal("no request gives this reason")
			}
			a := w.do(t, step, 100)
			var body map[string]string
			if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
				t.Fatalf("%q: %v", a.Body, err)
			}
			if a.Status != want.status || body["reason"] != reason || body["error"] != want.title || body["detail"] == "" || len(body) != 3 {
				t.Errorf("%d %s", a.Status, a.Body)
			}
			if got := a.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("content-type %q", got)
			}
			challenge := a.Header.Get("WWW-Authenticate")
			if !strings.Contains(challenge, want.challenge) || (want.challenge == "") != (challenge == "") {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
			if (a.Header.Get("Retry-After") != "") != want.retry {
				t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
			}
			if a.Seen != nil {
				t.Error("the request reached the application")
			}
		})
	}
}

// gRPC callers get HTTP 200 and the status in a header.
func TestAnswersToGRPC(t *testing.T) {
	w := start(t, withPolicy(""))
	for _, tt := range []struct {
		step tour.Step
		want string
	}{
		{tour.Step{Host: "acme.example", Path: "/posts"}, "16"},
		{tour.Step{Host: "acme.example", Path: "/posts/%zz"}, "3"},
		{tour.Step{Host: "nobody.example", Path: "/me"}, "3"},
		{tour.Step{Host: "acme.example", Path: "/policy/denied"}, "7"},
		{tour.Step{Host: "acme.example", Path: "/policy/mistyped"}, "13"},
		{tour.Step{Host: "initech.example", Path: "/me", Token: &tour.Token{Tenant: "initech", Subject: "a"}}, "14"},
	} {
		tt.step.Method = http.MethodPost
		tt.step.Headers = [][2]string{{"Content-Type", "application/grpc"}, {"TE", "trailers"}}
		a := w.do(t, tt.step, 1)
		if got := a.Header.Get("Grpc-Status"); got != tt.want || a.Status != http.StatusOK || a.Seen != nil {
			t.Errorf("%s: grpc-status %q, status %d, want %s", tt.step.Line(), got, a.Status, tt.want)
		}
	}
}

// What a policy may change in a request, and what it may not.
func TestPolicyThroughEnvoy(t *testing.T) {
	w := start(t, withPolicy("forward_token: false\n"), func(_ *world, c *stack.Config) {
		c.Edit = func(text []byte) []byte { // Envoy must allow what this policy sets
			return []byte(strings.Replace(string(text), "authorization|cookie", "authorization|cookie|x-plan|x-debug", 1))
		}
	})
	alice := &tour.Token{Tenant: "acme", Subject: "user:alice", Roles: []string{"editor"}}
	ask := func(path string, cookie bool) tour.Answer {
		return w.do(t, tour.Step{Host: "acme.example", Path: path, Token: alice, Cookie: cookie, Headers: [][2]string{{"X-Debug", "1"}}}, 1)
	}
	for _, path := range []string{"/policy/forges", "/policy/unsets"} {
		if a := ask(path, false); a.Reason() != "policy_error" {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	a := ask("/policy/redirects", false)
	if a.Status != http.StatusFound || a.Header.Get("Location") != "https://login.example" || a.Body != "please log in" || len(a.Header.Values("Set-Cookie")) != 2 {
		t.Errorf("redirect: %d %v %q", a.Status, a.Header, a.Body)
	}
	a = ask("/policy/changes?debug=1&a=2", false)
	if a.Seen.Get("X-Plan") != "gold" || a.Seen.Get("X-Debug") != "" || a.Header.Get("X-Served-By") != "policy" {
		t.Errorf("changes: %d %v, seen %v", a.Status, a.Header, a.Seen)
	}
	if a.Seen.Get("X-User-Id") != "user:alice" {
		t.Errorf("identity: %v", a.Seen)
	}
	if a.Seen.Get("Authorization") != "" {
		t.Error("the credential reached the application")
	}
	if a := ask("/me", true); a.Seen.Get("Cookie") != "theme=dark" {
		t.Errorf("cookie %q, want it without the token", a.Seen.Get("Cookie"))
	}
}
