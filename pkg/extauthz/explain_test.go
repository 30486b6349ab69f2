package extauthz_test

import (
	"encoding/json"
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
		advice                string // what the sentence must say
	}{
		{"GET", "/posts", "alice", answers.Allowed, "request tenant credential token verification route policy", ""},
		{"GET", "/", "", answers.Allowed, "request tenant credential route policy", ""},
		{"POST", "/posts", "alice", answers.InsufficientScope, "request tenant credential token verification route !policy", `route POST /posts needs scopes ["read:posts" "admin:posts"]; the token has scopes ["read:posts" "write:posts"]`},
		{"GET", "/admin", "alice", answers.InsufficientRole, "request tenant credential token verification route !policy", `the token has roles ["editor" "author"]`},
		{"GET", "/workspaces/ws_2", "alice", answers.WorkspaceMismatch, "request tenant credential token verification route !policy", `the token's is "ws_1"`},
		{"GET", "/nothing", "alice", answers.NoRoute, "request tenant credential token verification !route !policy", "no route of the tenant acme matches GET /nothing"},
		{"GET", "/files/secret/", "admin", answers.NoRoute, "request tenant credential token verification !route !policy", "a narrower one"},
		{"GET", "/me", "", answers.TokenNotFound, "request tenant credential route !policy", "route GET /me needs a token"},
		{"GET", "/me", "expired", answers.TokenExpired, "request tenant credential token !verification", "token expired"},
		{"GET", "/me", "globex", answers.TokenInvalid, "request tenant credential token !verification", "bad signature"},
		{"GET", "/me", "blank", answers.TokenInvalid, "request tenant credential token !verification", "the user id"},
		{"GET", "/a//b", "alice", answers.InvalidRequest, "!request", "empty segment"},
	} {
		t.Run(tt.method+" "+tt.target+" "+tt.token, func(t *testing.T) {
			x := a.Explain(t.Context(), w.ask(tt.method, tt.target, tt.token))
			if x.Answer.Reason != tt.reason {
				t.Errorf("reason %s, want %s", x.Answer.Reason, tt.reason)
			}
			if got := stepNames(x); got != tt.steps {
				t.Errorf("steps %s, want %s", got, tt.steps)
			}
			if !strings.Contains(x.Advice, tt.advice) || (tt.advice == "") != (x.Advice == "") {
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
	if x := a.Explain(t.Context(), other); stepNames(x) != "request !tenant" {
		t.Errorf("steps %s", stepNames(x))
	}
	two := w.ask("GET", "/me", "alice", [2]string{"cookie", "access_token=" + w.tokens["bob"]})
	if x := a.Explain(t.Context(), two); stepNames(x) != "request tenant !credential" {
		t.Errorf("steps %s", stepNames(x))
	}
}

func stepNames(x *extauthz.Explanation) string {
	var names []string
	for _, s := range x.Steps {
		name := s.Name
		if !s.OK {
			name = "!" + name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}
