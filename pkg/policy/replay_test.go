package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func noSecrets(string) bool { return false }

// A recorded input has the answer that its request had, from the embedded
// policy with its rules in Go as well.
func TestReplayDecides(t *testing.T) {
	embedded, err := policy.New(t.Context(), policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	extending := engine(t, "import data.usso.authz\ndecision := authz.decision if count(input.route) > 0")
	seen := map[answers.Reason]bool{}
	for _, fields := range []policy.RouteFields{
		{Match: "/", Public: true},
		{Match: "/", Scopes: []string{"read:posts"}},
		{Match: "/", Scopes: []string{"write:posts"}},
		{Match: "/", Roles: []string{"nobody"}},
		{Match: "/", Access: "read:posts"},
		{Match: "/", Access: "delete:vault"},
		{Match: "/", Workspace: "{ws}"},
		{Match: "/", Workspace: "header:X-Ws"},
		{Match: "/", Workspace: "query:ws"},
		{Match: "/", Workspace: "query:twice"},
		{Match: "/", Workspace: "query:other"},
		{Match: "/", Workspace: "{none}"},
	} {
		in := getPosts()
		in.Route = policy.NewRoute(fields)
		in.Params = []policy.Header{{Name: "ws", Value: in.Identity.WorkspaceID}}
		in.Headers = append(in.Headers, policy.Header{Name: "x-ws", Value: in.Identity.WorkspaceID})
		in.RawQuery = "other=w&ws=" + in.Identity.WorkspaceID + "&twice=" + in.Identity.WorkspaceID + "&twice=x"
		for name, e := range map[string]*policy.Engine{"embedded": embedded, "extending": extending} {
			recorded, err := e.AppendInput(nil, in, noSecrets)
			if err != nil {
				t.Fatal(err)
			}
			want := e.Decide(t.Context(), in)
			got, x, err := e.Replay(t.Context(), recorded)
			if err != nil || want.Err != nil {
				t.Fatalf("%s %+v: %v, %v", name, fields, err, want.Err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(policy.Decision{}, "Lookup")); diff != "" {
				t.Errorf("%s %+v:\n%s", name, fields, diff)
			}
			if x.Decider == nil || len(x.Fired) == 0 || strings.Contains(x.Input, "named_workspace") {
				t.Errorf("%s %+v: %+v", name, fields, x)
			}
			seen[want.Reason] = true
		}
	}
	for _, reason := range []answers.Reason{answers.Allowed, answers.InsufficientScope, answers.InsufficientRole, answers.WorkspaceMismatch} {
		if !seen[reason] {
			t.Errorf("no case gives %s", reason)
		}
	}
}

func TestReplayFaults(t *testing.T) {
	e := engine(t, "decision := input.request.method == \"GET\"")
	for _, document := range []string{"", "null", "[]", `{"request":`, `"text"`} {
		if d, _, err := e.Replay(t.Context(), []byte(document)); err == nil || d.Allowed {
			t.Errorf("%s: %v %v", document, d, err)
		}
	}
	d, x, err := e.Replay(t.Context(), []byte(`{"request": {}}`)) // a mask took the method
	if err != nil || d.Reason != answers.PolicyError || x.Decider != nil {
		t.Errorf("%+v %+v %v", d, x, err)
	}
}
