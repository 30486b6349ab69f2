package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func TestExplain(t *testing.T) {
	e := engine(t, `
default decision := false

decision if {
	fits
	input.request.method == "DELETE"
	trace("never said")
}

fits if {
	trace(sprintf("tenant %v", [input.tenant.id]))
	input.tenant.id == "acme"
}
`)
	x := e.Explain(t.Context(), getPosts())
	has := func(list []policy.Position, line int, text string) bool {
		return slices.ContainsFunc(list, func(p policy.Position) bool {
			return strings.HasSuffix(p.File, "test.rego") && p.Line == line && p.Text == text
		})
	}
	if !has(x.Fired, 11, "fits") || has(x.Fired, 5, "decision") {
		t.Errorf("fired: %v", x.Fired)
	}
	if !has(x.Failed, 7, `input.request.method == "DELETE"`) {
		t.Errorf("failed: %v", x.Failed)
	}
	if !slices.Equal(x.Notes, []string{"tenant acme"}) {
		t.Errorf("notes: %q", x.Notes)
	}
	if !strings.Contains(x.Input, `"host": "acme.example"`) || !strings.Contains(x.Trace, "test.rego:7") {
		t.Errorf("input:\n%s\ntrace:\n%s", x.Input, x.Trace)
	}
}

func TestExplainDecider(t *testing.T) {
	for _, tt := range []struct {
		name, source string
		line         int // of the deciding rule; 0: none
		rule         string
		byDefault    bool
	}{
		{"rule", "decision := true if input.request.method == \"GET\"", 2, "test.decision", false},
		{"default", "default decision := false\n\ndecision if input.request.method == \"PUT\"", 2, "test.decision", true},
		{"else", "decision := true if {\n\tinput.request.method == \"PUT\"\n} else := false if {\n\tinput.request.method == \"GET\"\n}", 4, "test.decision", false},
		{"object", "decision[\"reason\"] := \"x\"\n\ndecision[\"allowed\"] := false", 4, "test.decision.allowed", false},
		{"undefined", "decision if input.request.method == \"PUT\"", 0, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := engine(t, tt.source).Explain(t.Context(), getPosts())
			if tt.line == 0 {
				if x.Decider != nil {
					t.Errorf("decider %v", x.Decider)
				}
				return
			}
			if x.Decider == nil || x.Decider.Line != tt.line || x.Decider.Rule != tt.rule || x.Default != tt.byDefault {
				t.Errorf("decider %v, default %v", x.Decider, x.Default)
			}
		})
	}
}

// A rule that was true after some tries has no failed expression.
func TestExplainTries(t *testing.T) {
	x := engine(t, `
decision if {
	some method in ["PUT", "GET"]
	method == input.request.method
}
`).Explain(t.Context(), getPosts())
	if len(x.Failed) != 0 || len(x.Fired) != 1 {
		t.Errorf("fired %v, failed %v", x.Fired, x.Failed)
	}
}

func TestExplainWhatCanNotBeDecided(t *testing.T) {
	in := getPosts()
	in.Body = policy.Body{ContentType: "application/json", Bytes: []byte("{")}
	e := engine(t, `decision := input.parsed_body.a`)
	if d := e.Decide(t.Context(), in); d.Reason != answers.InvalidRequest || d.Err == nil {
		t.Errorf("decision: %+v", d)
	}
	if x := e.Explain(t.Context(), in); x.Decider != nil || x.Trace != "" {
		t.Errorf("explanation: %+v", x)
	}
}

// The trace is that of the decision where a rule of ours has another body, and
// shows no member that users don't have.
func TestExplainNamesTheWorkspace(t *testing.T) {
	e, err := policy.New(t.Context(), policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	in := getPosts()
	in.Route = policy.NewRoute(policy.RouteFields{Match: "/", Workspace: "header:x-ws"})
	in.Headers = []policy.Header{{Name: "x-ws", Value: alice.WorkspaceID}}
	x := e.Explain(t.Context(), in)
	if !e.Decide(t.Context(), in).Allowed || !strings.Contains(fmt.Sprint(x.Fired), "permitted") {
		t.Errorf("fired: %v", x.Fired)
	}
	// And the rules that Decide is spared are there to be read.
	if !strings.Contains(fmt.Sprint(x.Fired), "workspace_fits") || strings.Contains(fmt.Sprint(x.Failed), "input.route.permitted") || strings.Contains(x.Input, `"permitted"`) {
		t.Errorf("fired: %v, failed: %v", x.Fired, x.Failed)
	}
	if strings.Contains(x.Input, "named_workspace") || !strings.Contains(x.Input, `"x-ws": "ws_1"`) {
		t.Errorf("input: %s", x.Input)
	}
}
