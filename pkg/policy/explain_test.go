package policy_test

import (
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
	if x.Decision.Allowed || x.Decision.Reason != answers.PolicyDenied {
		t.Errorf("decision: %+v", x.Decision)
	}
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

func TestExplainWhatCanNotBeDecided(t *testing.T) {
	in := getPosts()
	in.Body = policy.Body{ContentType: "application/json", Bytes: []byte("{")}
	x := engine(t, `decision := input.parsed_body.a`).Explain(t.Context(), in)
	if x.Decision.Reason != answers.InvalidRequest || x.Decision.Err == nil {
		t.Errorf("decision: %+v", x.Decision)
	}
}
