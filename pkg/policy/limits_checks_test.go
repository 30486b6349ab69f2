package policy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

const endless = `decision if { some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a + b == -1 }`

// An evaluation ends with its caller's time, and says that it was the time.
func TestTimeOfTheCaller(t *testing.T) {
	e := engine(t, endless, func(c *policy.Config) { c.Timeout = time.Minute })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	d := e.Decide(ctx, getPosts())
	if d.Reason != answers.PolicyError || d.Err == nil || !strings.HasPrefix(d.Err.Error(), "the evaluation took too long, more than ") {
		t.Errorf("%s: %v", d.Reason, d.Err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAbandonedBounds(t *testing.T) {
	most, _, _ := policy.Guarded(4, 0, 0)
	for _, tt := range []struct {
		name                    string
		processors, others, own int
		busy, fresh             bool // admitted
	}{
		{"nothing left behind", 4, 0, 0, true, true},
		{"one of a tenant", 4, 0, 1, true, true},
		{"one of a tenant, on two processors", 2, 0, 1, false, true},
		{"none of a tenant, on one processor", 1, 0, 0, true, true},
		{"all that a tenant may", 4, 0, 2, false, true},
		{"one less than the engine may", 4, most - 1, 0, true, true},
		{"all that the engine may", 4, most, 0, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, busy, fresh := policy.Guarded(tt.processors, tt.others, tt.own)
			if (busy == nil) != tt.busy || (fresh == nil) != tt.fresh {
				t.Errorf("the busy tenant: %v, the other: %v", busy, fresh)
			}
		})
	}
}

// Before the bundles are there nothing is explained, and nothing fails.
func TestExplainBeforeBundles(t *testing.T) {
	shelf := plainShelf(t)
	r := read(t, shelf.sections("main"))
	if x := r.Engine().Explain(t.Context(), getPosts()); x.Decider != nil || x.Input != "" || x.Trace != "" {
		t.Errorf("got %+v", x)
	}
}

// A rule that is evaluated several times fired once.
func TestExplainNamesRulesOnce(t *testing.T) {
	x := engine(t, "decision if {\n\teven(2)\n\teven(4)\n\tnot even(1)\n\tnot even(3)\n}\n\neven(n) if n % 2 == 0\n").Explain(t.Context(), getPosts())
	count := map[policy.Position]int{}
	for _, p := range append(x.Fired, x.Failed...) {
		if count[p]++; count[p] > 1 {
			t.Errorf("%+v is named %d times", p, count[p])
		}
	}
	if len(x.Fired) != 2 {
		t.Errorf("fired: %+v", x.Fired)
	}
}

func TestIndentJSONOfNoValue(t *testing.T) {
	if got := policy.IndentJSON(ast.Var("x")); !strings.Contains(got, "requires evaluation") {
		t.Errorf("got %q", got)
	}
	if got := policy.IndentJSON(ast.NewObject(ast.Item(ast.StringTerm("a"), ast.IntNumberTerm(1)))); got != "{\n  \"a\": 1\n}" {
		t.Errorf("got %q", got)
	}
}
