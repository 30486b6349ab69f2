package policy_test

import (
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// The library and the embedded policy are there beside a policy of one's own,
// as imports, as values, and with another input.
func TestLibraryBesideOwnPolicy(t *testing.T) {
	open := policy.RouteFields{Match: "/", Public: true}
	for _, tt := range []struct {
		name, rego string
		route      policy.RouteFields
		want       answers.Reason
	}{
		{"an import", "import data.usso\ndecision if usso.has_scope(\"read:posts\")", open, answers.Allowed},
		{"an import by another name", "import data.usso as u\ndecision if u.has_role(\"editor\")", open, answers.Allowed},
		{"a match", "import data.usso\ndecision if usso.match(\"GET /posts/{id}\").id == \"4 2\"", open, answers.Allowed},
		{"no match", "import data.usso\ndefault decision := false\ndecision if usso.match(\"POST /posts/{id}\")", open, answers.PolicyDenied},
		{"the routes' answer", "decision := data.usso.authz.decision", policy.RouteFields{Match: "/", Scopes: []string{"write:posts"}}, answers.InsufficientScope},
		{"the routes' answer, changed", `decision := object.union(data.usso.authz.decision, {"reason": "mine"})`, policy.RouteFields{Match: "/", Roles: []string{"admin"}}, "mine"},
		{"as if nobody had asked", `decision := d if d := data.usso.authz.decision with input.identity as null`, policy.RouteFields{Match: "/"}, answers.TokenNotFound},
		{"as if another had asked", `decision := d if d := data.usso.authz.decision with input.identity.roles as ["admin"]`, policy.RouteFields{Match: "/", Roles: []string{"admin"}}, answers.Allowed},
		{"as if there were another route", `decision := d if d := data.usso.authz.decision with input.route.scopes as ["read:posts"]`, policy.RouteFields{Match: "/", Scopes: []string{"write:posts"}}, answers.Allowed},
		{"with another rule for one of ours", "mine(scope) if scope == \"write:posts\"\ndecision := d if d := data.usso.authz.decision with data.usso.has_scope as mine", policy.RouteFields{Match: "/", Scopes: []string{"write:posts"}}, answers.Allowed},
		{"access with another input", `decision if data.usso.access("update:media/files") with input as {"identity": {"scopes": ["update:media/*"]}}`, open, answers.Allowed},
		{"access without a token", "default decision := false\ndecision if data.usso.access(\"\") with input.identity as null", open, answers.PolicyDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := getPosts()
			in.Route = policy.NewRoute(tt.route)
			if d := engine(t, tt.rego).Decide(t.Context(), in); d.Reason != tt.want {
				t.Errorf("%s, want %s (%v)", d.Reason, tt.want, d.Err)
			}
		})
	}
}
