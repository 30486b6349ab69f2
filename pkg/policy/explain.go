package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Explanation is an evaluation made slowly, to be read.
type Explanation struct {
	Input      string     // the input document, as JSON
	Decider    *Position  // the rule that gave the entrypoint's value; nil: it is undefined, or unknown
	Entrypoint string     // its rule's name
	Default    bool       // Decider is the default: no other rule of the entrypoint held
	Fired      []Position // the rules that were true, in the order of their first evaluation
	Failed     []Position // the expressions that kept a rule from being true
	Notes      []string   // what the policy's trace() calls said
	Trace      string     // OPA's own trace, with every step
}

// Position is a rule or an expression, and where it stands.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Rule string `json:"rule,omitempty"` // the rule that it is, or stands in: "shop.gate.decision"
	Text string `json:"text"`           // the rule's own name, or the expression's first line
}

// Explain evaluates the entrypoint as Decide does and tells how its value comes
// about. It costs many times as much, and its own evaluation is another one:
// what a policy reads of the time or the network may have changed.
func (e *Engine) Explain(ctx context.Context, in *Input) Explanation {
	x := Explanation{Entrypoint: ruleName(e.entrypoint)}
	if e.unloaded {
		return x
	}
	q := &question{in: in, methods: e.methods, bounds: &e.bounds, plainly: true}
	shown, err := e.shown.document(q)
	if err != nil {
		return x // the decision says why
	}
	x.Input = indentJSON(shown)
	input, err := e.reads.document(q)
	if err != nil {
		return x
	}
	e.trace(ctx, input, &x)
	return x
}

// trace evaluates the entrypoint slowly, and tells x how it went.
func (e *Engine) trace(ctx context.Context, input ast.Value, x *Explanation) {
	tracer := topdown.NewBufferTracer()
	limit := 20 * e.timeout // room for the tracer
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := topdown.NewCancel()
	defer time.AfterFunc(limit, stop.Cancel).Stop()
	if _, err := e.query.run(ctx, input, stop, tracer); err != nil {
		x.Notes = append(x.Notes, "the trace ends early: "+err.Error())
	}
	t := trace{x: x, entrypoint: e.entrypoint, rules: map[uint64]*ast.Rule{}, failed: map[uint64][]Position{}}
	t.read(*tracer)
	var text bytes.Buffer
	topdown.PrettyTraceWithLocation(&text, *tracer)
	x.Trace = text.String()
}

// indentJSON writes a value as JSON, or why it has none.
func indentJSON(v ast.Value) string {
	native, err := ast.JSON(v)
	text, unwritten := json.MarshalIndent(native, "", "  ")
	if err := errors.Join(err, unwritten); err != nil {
		return err.Error()
	}
	return string(text)
}

// trace picks what an author looks for first out of OPA's events.
type trace struct {
	x          *Explanation
	entrypoint ast.Ref
	rules      map[uint64]*ast.Rule  // of each query: the rule that it is the body of, or a part of
	failed     map[uint64][]Position // of each query that was not true yet
}

func (t *trace) read(events []*topdown.Event) {
	var order []uint64
	for _, event := range events {
		switch event.Op {
		case topdown.EnterOp:
			rule, ok := event.Node.(*ast.Rule)
			if !ok {
				rule = t.rules[event.ParentID] // a comprehension, or what is after not
			}
			t.rules[event.QueryID] = rule
			order = append(order, event.QueryID)
		case topdown.ExitOp:
			if rule, ok := event.Node.(*ast.Rule); ok {
				t.fired(rule)
				delete(t.failed, event.QueryID) // only some of several tries
			}
		case topdown.FailOp:
			if expression, ok := event.Node.(*ast.Expr); ok && expression.Location != nil {
				text, _, _ := strings.Cut(string(expression.Location.Text), "\n")
				t.failed[event.QueryID] = append(t.failed[event.QueryID], position(expression.Location, text).of(t.rules[event.QueryID]))
			}
		case topdown.NoteOp:
			t.x.Notes = append(t.x.Notes, event.Message)
		}
	}
	for _, query := range order {
		for _, p := range t.failed[query] {
			t.x.Failed = once(t.x.Failed, p)
		}
		delete(t.failed, query)
	}
}

func (t *trace) fired(rule *ast.Rule) {
	p := position(rule.Location, rule.Head.Ref().String()).of(rule)
	t.x.Fired = once(t.x.Fired, p)
	// The entrypoint is one rule, or an object of several, of which
	// result["allowed"] decides.
	ref := rule.Ref()
	if ref.Equal(t.entrypoint) || len(ref) == len(t.entrypoint)+1 && ref.HasPrefix(t.entrypoint) && ref[len(ref)-1].Equal(ast.StringTerm("allowed")) {
		t.x.Decider, t.x.Default = &p, rule.Default
	}
}

func once(list []Position, p Position) []Position {
	if p.File == "" || slices.Contains(list, p) {
		return list
	}
	return append(list, p)
}

func position(l *ast.Location, text string) Position {
	if l == nil {
		return Position{}
	}
	return Position{File: l.File, Line: l.Row, Text: text}
}

// of is the position in a rule; nil: in none that is known.
func (p Position) of(rule *ast.Rule) Position {
	if rule != nil {
		p.Rule = ruleName(rule.Ref())
	}
	return p
}

func ruleName(ref ast.Ref) string { return strings.TrimPrefix(ref.String(), "data.") }
