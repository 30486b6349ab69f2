package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// The decision log shows the attributes that a policy reads, or nothing at all:
// a record without them would look whole.
func TestAppendInputOfAttributes(t *testing.T) {
	e := engine(t, `decision if input.attributes.source.address`)
	in := getPosts()
	in.Attributes = func() (any, error) { return nil, errors.New("can't be read") }
	if text, err := e.AppendInput([]byte("x"), in, noSecrets); err == nil || !strings.Contains(err.Error(), "can't be read") || string(text) != "x" {
		t.Errorf("an error: %s, %v", text, err)
	}
	in.Attributes = nil
	text, err := e.AppendInput(nil, in, noSecrets)
	if err != nil || strings.Contains(string(text), `"attributes"`) || !strings.Contains(string(text), `"request"`) {
		t.Errorf("without attributes: %s, %v", text, err)
	}
	in.Attributes = func() (any, error) { return map[string]any{"source": map[string]any{"address": "a"}}, nil }
	if text, err := e.AppendInput(nil, in, noSecrets); err != nil || !strings.Contains(string(text), `"address":"a"`) {
		t.Errorf("with attributes: %s, %v", text, err)
	}
}

// A request that names no workspace is not one that names an empty one.
func TestEmptyWorkspaceInKeys(t *testing.T) {
	identity := *alice
	identity.WorkspaceID = ""
	ask := func(headers ...policy.Header) *policy.Input {
		in := getPosts()
		in.Identity, in.Headers = &identity, headers
		in.Route = policy.NewRoute(policy.RouteFields{Match: "GET /posts/{id}", Workspace: "header:x-workspace"})
		return in
	}
	none, empty := ask(), ask(policy.Header{Name: "x-workspace"})
	for _, order := range [][]*policy.Input{{none, empty}, {empty, none}} {
		plain, err := policy.New(t.Context(), policy.Config{})
		if err != nil {
			t.Fatal(err)
		}
		kept, err := policy.New(t.Context(), policy.Config{DecisionCache: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range order {
			want, got := plain.Decide(t.Context(), in), kept.Decide(t.Context(), in)
			if got.Reason != want.Reason || want.Reason == answers.PolicyError {
				t.Errorf("%v: %s, and without a cache %s", in.Headers, got.Reason, want.Reason)
			}
		}
	}
}

// What no key can tell apart is evaluated each time, wherever it stands.
func TestValuesWithoutAKey(t *testing.T) {
	for name, of := range map[string]func(n int) any{
		"alone":        func(n int) any { return n },
		"in a list":    func(n int) any { return []any{n} },
		"in an object": func(n int) any { return map[string]any{"n": n} },
		"deeper":       func(n int) any { return []any{map[string]any{"n": []any{"x", n}}} },
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, "default decision := false\ndecision if {\n\twalk(input.attributes.source, [_, 5])\n}", cached)
			for _, n := range []int{5, 6, 5, 7} {
				in := getPosts()
				in.Attributes = func() (any, error) { return map[string]any{"source": of(n)}, nil }
				if d := e.Decide(t.Context(), in); d.Allowed != (n == 5) || d.Err != nil {
					t.Errorf("%d: %v, %v", n, d.Allowed, d.Err)
				}
			}
		})
	}
}
