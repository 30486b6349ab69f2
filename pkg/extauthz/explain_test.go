package extauthz_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func TestExplain(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	for _, tt := range []struct {
		method, target, token string
		reason                answers.Reason
		steps                 string // names, the failed ones with a !
		advice                string // how the sentence begins
	}{
		{"GET", "/posts", "alice", answers.Allowed, "request tenant credential token verification identity route policy", ""},
		{"GET", "/", "", answers.Allowed, "request tenant credential route policy", ""},
		{"POST", "/posts", "alice", answers.InsufficientScope, "request tenant credential token verification identity route !policy", "route POST /posts needs scope admin:posts; the token has read:posts, write:posts"},
		{"GET", "/admin", "alice", answers.InsufficientRole, "request tenant credential token verification identity route !policy", "route GET /admin needs role admin; the token has editor, author"},
		{"GET", "/workspaces/ws_2", "alice", answers.WorkspaceMismatch, "request tenant credential token verification identity route !policy", `route GET /workspaces/{id} is for the workspace in {id}; the request names "ws_2", the token's is "ws_1"`},
		{"GET", "/workspaces/ws_1;x", "alice", answers.WorkspaceMismatch, "request tenant credential token verification identity route !policy", `route GET /workspaces/{id} is for the workspace in {id}; a server behind could read another one in the request than "ws_1;x", the token's is "ws_1"`},
		{"GET", "/query?workspace=ws_1&workspace[]=ws_2", "alice", answers.WorkspaceMismatch, "request tenant credential token verification identity route !policy", `route GET /query is for the workspace in query:workspace; the request names "ws_1", and another one in a spelling that some servers read as the same name`},
		{"GET", "/Admin.json", "alice", answers.NoRoute, "request tenant credential token verification identity !route !policy", "no route of the tenant acme matches GET /Admin.json"},
		{"GET", "/files/Secret", "alice", answers.NoRoute, "request tenant credential token verification identity !route !policy", "a server that ignores case would route /files/Secret to GET /files/secret, and not to GET /files/{path...}"},
		{"GET", "/nothing", "alice", answers.NoRoute, "request tenant credential token verification identity !route !policy", "no route of the tenant acme matches GET /nothing: add one to routes"},
		{"GET", "/files/secret/", "admin", answers.NoRoute, "request tenant credential token verification identity !route !policy", "a server that ignores a slash at the end would route /files/secret/ to GET /files/secret, and not to GET /files/{path...}, which needs something else"},
		{"GET", "/me", "", answers.TokenNotFound, "request tenant credential route !policy", "route GET /me needs a token, in the header authorization or the cookie access_token; the request has none"},
		{"GET", "/me", "expired", answers.TokenExpired, "request tenant credential token !verification", "the token has expired: 20"},
		{"GET", "/me", "globex", answers.TokenInvalid, "request tenant credential token !verification", "the signature is not that of the key which the token names"},
		{"GET", "/me", "blank", answers.TokenInvalid, "request tenant credential token verification !identity", "the token is good, but no header could carry its identity: a claim can't be a header value: the user id"},
		{"GET", "/a//b", "alice", answers.InvalidRequest, "!request", "two servers could read this request in two ways, so every policy refuses it: path: has an empty segment"},
	} {
		t.Run(tt.method+" "+tt.target+" "+tt.token, func(t *testing.T) {
			x := a.Explain(t.Context(), w.ask(tt.method, tt.target, tt.token))
			if x.Answer.Reason != tt.reason {
				t.Errorf("reason %s, want %s", x.Answer.Reason, tt.reason)
			}
			if got := stepNames(x); got != tt.steps {
				t.Errorf("steps %s, want %s", got, tt.steps)
			}
			if !strings.HasPrefix(x.Advice, tt.advice) || (tt.advice == "") != (x.Advice == "") {
				t.Errorf("advice %q", x.Advice)
			}
			text, err := json.Marshal(x.Steps)
			if err != nil {
				t.Fatal(err)
			}
			if token := w.tokens[tt.token]; token != "" && strings.Contains(string(text)+x.Advice, token[strings.LastIndexByte(token, '.'):]) {
				t.Error("the token's signature shows")
			}
		})
	}
	other := w.ask("GET", "/me", "alice")
	other.Host = "nobody.example"
	if x := a.Explain(t.Context(), other); stepNames(x) != "request !tenant" || !strings.HasSuffix(x.Advice, "send the header x-tenant-id, or pin the context extension tenant in Envoy's route, or ask for a host of a tenant; the tenants are acme, globex") {
		t.Errorf("steps %s, advice %s", stepNames(x), x.Advice)
	}
	two := w.ask("GET", "/me", "alice", [2]string{"cookie", "access_token=" + w.tokens["bob"]})
	if x := a.Explain(t.Context(), two); stepNames(x) != "request tenant !credential" || x.Advice != "send one token in one place: ambiguous credential: header and cookie differ" {
		t.Errorf("steps %s, advice %s", stepNames(x), x.Advice)
	}
}

// TestAdvice: the sentence says what the request lacks, or which rule denied.
func TestAdvice(t *testing.T) {
	w := newWorld(t)
	embedded := policy.Config{}
	own := func(rego string) policy.Config {
		file := filepath.Join(t.TempDir(), "gate.rego")
		if err := os.WriteFile(file, []byte("package gate\n"+rego), 0o600); err != nil {
			t.Fatal(err)
		}
		return policy.Config{Entrypoint: "gate/decision", Paths: []string{file}}
	}
	for _, tt := range []struct {
		name                  string
		policy                policy.Config
		method, target, token string
		want                  string // with … for what lies between
	}{
		{"any scope", embedded, "DELETE", "/posts", "alice", "route DELETE /posts needs one of the scopes delete:posts, admin:posts; the token has read:posts, write:posts"},
		{"any role", embedded, "GET", "/team", "alice", "route GET /team needs one of the roles admin, owner; the token has editor, author"},
		{"all roles", embedded, "GET", "/all", "alice", "route GET /all needs role admin; the token has editor, author"},
		{"access", embedded, "GET", "/media", "alice", "route GET /media needs access update:media/files, which no scope of the token grants; the token has read:posts, write:posts"},
		{"no workspace header", embedded, "GET", "/header", "alice", `route GET /header is for the workspace in header:X-Workspace-ID; the request names none, the token's is "ws_1"`},
		{"workspace in the query", embedded, "GET", "/query?workspace=a&workspace=b", "alice", `route GET /query is for the workspace in query:workspace; the request names "a, b", the token's is "ws_1"`},
		{"audience", embedded, "GET", "/me", "audience", `the token is for the audience ["other"], and tenant acme accepts ["app"]`},
		{"issuer", embedded, "GET", "/me", "issuer", `the token is from the issuer "https://sso.acme.example/", and tenant acme accepts ["https://sso.acme.example"]`},
		{"type", embedded, "GET", "/me", "refresh", `the token is of the type "refresh", and tenant acme accepts ["access"]`},
		{"tenant", embedded, "GET", "/me", "wrong_tenant", `the token's tenant_id is "globex", and tenant acme accepts ["acme"]`},
		{"not yet", embedded, "GET", "/me", "future", "the token is not valid yet: …, in …; is a clock wrong?"},
		{"algorithm", embedded, "GET", "/me", "confused", `the token is signed with "HS256", and tenant acme accepts [EdDSA …]`},
		{"default", own("default decision := false\n\ndecision if {\n\tinput.request.method == \"PUT\"\n}"), "GET", "/me", "alice", `the default of gate.decision (…gate.rego:2) denies: no other rule of it held; not true: …gate.rego:5: input.request.method == "PUT"`},
		{"rule", own(`decision := {"allowed": false, "reason": "closed", "detail": "We are closed"} if input.request.method == "GET"`), "GET", "/me", "alice", "the rule gate.decision (…gate.rego:2) denies: closed, We are closed"},
		{"borrowed reason", own(`decision := {"allowed": false, "reason": "token_expired"}`), "GET", "/me", "", "the rule gate.decision (…gate.rego:2) denies: token_expired"},
		{"undefined", own(`decision if input.request.method == "PUT"`), "GET", "/me", "alice", `the policy failed: the entrypoint is undefined for this input: give it a default value; not true: …gate.rego:2: input.request.method == "PUT"`},
		{"fault", own(`decision := {"alowed": true}`), "GET", "/me", "alice", `the policy failed: the result has the unknown key "alowed"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := w.authorizer(t, tt.policy).Explain(t.Context(), w.ask(tt.method, tt.target, tt.token))
			if !fits(tt.want, x.Advice) {
				t.Errorf("got  %s\nwant %s", x.Advice, tt.want)
			}
		})
	}
}

// fits compares with a pattern in which … stands for anything.
func fits(pattern, s string) bool {
	parts := strings.Split(pattern, "…")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(s)
}

func stepNames(x *extauthz.Explanation) string {
	var names []string
	for _, s := range x.Steps {
		name := s.Name
		if s.Outcome == extauthz.Failed {
			name = "!" + name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}
