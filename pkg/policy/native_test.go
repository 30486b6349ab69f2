package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// The embedded policy, with the rules that have another body here, answers as
// the same files do where they are the user's own, and plain Rego throughout.
func TestNativeRulesAreTheRegoOnes(t *testing.T) {
	native, err := policy.New(t.Context(), policy.Config{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := policy.New(t.Context(), policy.Config{Timeout: time.Minute, DecisionCache: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := policy.New(t.Context(), policy.Config{Timeout: time.Minute, Paths: []string{"../../policies/usso", "../../policies/authz"}})
	if err != nil {
		t.Fatal(err)
	}
	if reads := fmt.Sprint(plain.Analysis().Reads); !strings.Contains(reads, "input.request.headers") || strings.Contains(reads, "named_workspace") {
		t.Fatalf("the user's own package was not left as it is: reads %s", reads)
	}
	const seed = 20260101
	w := &walker{rand.New(rand.NewPCG(seed, 0))}
	var routes []*policy.Route
	for _, workspace := range []string{"{id}", "{missing}", "{}", "{", "header:X-A", "header:cookie", "header:", "query:a", "query:b", "query:", "elsewhere"} {
		routes = append(routes, policy.NewRoute(policy.RouteFields{Match: "w", Workspace: workspace}))
	}
	for _, access := range []string{"read:posts", "update:media/files", "posts?owner=me", "posts?", "x/", ":", "*", "[a-"} {
		routes = append(routes, policy.NewRoute(policy.RouteFields{Match: "a", Access: access}))
	}
	for _, f := range []policy.RouteFields{
		{Public: true}, {Scopes: []string{"a"}}, {Scopes: []string{"a", "read:*"}}, {AnyScope: []string{"read:posts", "x"}}, {Roles: []string{"editor", "x"}},
		{AllRoles: []string{"a", "editor"}}, {Scopes: []string{"a"}, Roles: []string{"a"}, AllRoles: []string{"editor"}, Workspace: "query:a", Access: "read:posts"}, {},
	} {
		f.Match = "r"
		routes = append(routes, nil, policy.NewRoute(f), policy.NewRoute(f))
	}
	in := w.request()
	reasons := map[answers.Reason]int{}
	for i := range 6000 {
		w.step(in)
		in.Route = routes[w.IntN(len(routes))]
		if in.Identity != nil {
			in.Identity.Scopes = append(in.Identity.Scopes, w.of("*:*", "read:posts", "manage:media/*", "read:posts?owner=m?", "read:*/x", "[", "none:posts", ""))
		}
		got, fromCache, want := native.Decide(t.Context(), in), kept.Decide(t.Context(), in), plain.Decide(t.Context(), in)
		if !same(got, want) || !same(fromCache, want) {
			t.Fatalf("seed %d, request %d: %+v, kept %+v, in Rego %+v\n%+v", seed, i, got, fromCache, want, in)
		}
		if fromCache.Allowed && fromCache.Lookup != jwtverify.Hit {
			t.Fatalf("request %d: a yes was not kept", i)
		}
		reasons[got.Reason]++
	}
	if reasons["allowed"] < 300 || reasons["workspace_mismatch"] < 300 || reasons["insufficient_scope"] < 100 || reasons["insufficient_role"] < 100 || reasons["no_route"] < 100 || reasons["token_not_found"] < 100 {
		t.Errorf("the requests are too much alike: %v", reasons)
	}
}

// A package usso of the user's own wins over ours.
func TestOwnLibraryWins(t *testing.T) {
	e, err := policy.New(t.Context(), policy.Config{Entrypoint: "test/decision", Paths: []string{
		write(t, "usso.rego", "package usso\n\naccess(_) := \"mine\"\n"),
		write(t, "authz.rego", "package usso.authz\n\ndecision := true\n"),
		write(t, "test.rego", "package test\n\ndecision if data.usso.access(\"read:nothing\") == \"mine\"\n"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Decide(t.Context(), getPosts()); !d.Allowed {
		t.Errorf("%+v", d)
	}
}

// The embedded policy asks the library that there is: the user's own, or what
// the user's policy puts in the place of its functions.
func TestNativeRulesAskTheUsersLibrary(t *testing.T) {
	library := write(t, "usso.rego", `package usso

is_authenticated := true
has_scope(_) := false
has_any_scope(_) := true
has_role(_) := true
has_any_role(_) := true
same_workspace(_) := true
access(_) := true
`)
	replaced := write(t, "test.rego", `package test

nobody(_) := false
decision := answer if answer := data.usso.authz.decision with data.usso.has_scope as nobody
`)
	for _, tt := range []struct {
		name string
		cfg  policy.Config
		want answers.Reason
	}{
		{"a package of the user's own", policy.Config{Paths: []string{library}}, answers.InsufficientScope},
		{"a policy of the user's own", policy.Config{Paths: []string{write(t, "own.rego", "package usso.authz\n\ndecision := false\n")}}, answers.PolicyDenied},
		{"a function replaced", policy.Config{Paths: []string{replaced}, Entrypoint: "test/decision"}, answers.InsufficientScope},
		{"ours", policy.Config{}, answers.Allowed},
	} {
		for _, tt.cfg.DecisionCache = range []int64{0, 1 << 20} {
			e, err := policy.New(t.Context(), tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if d := e.Decide(t.Context(), getPosts()); d.Reason != tt.want {
				t.Errorf("%s, with a cache of %d: %+v, want %s", tt.name, tt.cfg.DecisionCache, d, tt.want)
			}
		}
	}
}

// What spares the rules is nothing that a recorded document could say.
func TestReplayAsksTheRules(t *testing.T) {
	e, err := policy.New(t.Context(), policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := e.Replay(t.Context(), []byte(`{"identity": {"scopes": [], "roles": []}, "route": {"permitted": true, "match": "/", "public": false,
		"scopes": ["read:posts"], "any_scope": [], "roles": [], "all_roles": [], "workspace": "", "access": ""}}`))
	if err != nil || d.Reason != answers.InsufficientScope {
		t.Errorf("%+v, %v", d, err)
	}
}

// A policy that asks the embedded one about another input has the embedded one
// look at that input.
func TestNativeRulesUnderAnotherInput(t *testing.T) {
	e := engine(t, `decision if {
	changed := {"identity": {"workspace_id": "w", "scopes": [], "roles": []}, "request": {"headers": {"x-ws": "w"}, "query": {}},
		"route": {"match": "/", "public": false, "scopes": [], "any_scope": [], "roles": [], "all_roles": [], "workspace": "header:x-ws", "access": "", "params": {}}}
	data.usso.authz.decision.allowed with input as changed
}`)
	if d := e.Decide(t.Context(), getPosts()); !d.Allowed {
		t.Errorf("%+v", d)
	}
}

// A rule of ours has what it reads where the user's own rules read all that is
// around it.
func TestNativeRulesBesideWholeReads(t *testing.T) {
	for _, read := range []string{"input.route", "is_object(input)", `some name; input[name]`, `object.get(input, "route", null) != null`} {
		e := engine(t, "default decision := false\ndecision if {\n\t"+read+"\n\tdata.usso.authz.decision.allowed\n}", func(cfg *policy.Config) { cfg.DecisionCache = 1 << 20 })
		in := getPosts()
		in.Route = policy.NewRoute(policy.RouteFields{Match: "GET /posts/{id}", Workspace: "{id}"})
		for _, workspace := range []string{alice.WorkspaceID, "ws_2"} {
			in.Params = []policy.Header{{Name: "id", Value: workspace}}
			if d := e.Decide(t.Context(), in); d.Allowed != (workspace == alice.WorkspaceID) {
				t.Errorf("%s: workspace %s: %+v", read, workspace, d)
			}
		}
	}
}
