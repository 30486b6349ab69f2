package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Explanation is an evaluation made slowly, to be read.
type Explanation struct {
	Decision Decision
	Input    string     // the input document, as JSON
	Fired    []Position // the rules that were true, in the order of their first evaluation
	Failed   []Position // the expressions that were not
	Notes    []string   // what the policy's trace() calls said
	Trace    string     // OPA's own trace, with every step
}

// Position is a rule or an expression, and where it stands.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"` // the rule's name, or the expression's first line
}

// Explain decides like Decide and tells how. It costs many times as much.
func (e *Engine) Explain(ctx context.Context, in *Input) Explanation {
	x := Explanation{Decision: e.Decide(ctx, in)}
	input, err := e.shown.document(&question{in: in, methods: e.methods})
	if err != nil {
		return x // the decision says why
	}
	x.Input = indentJSON(input)
	tracer := topdown.NewBufferTracer()
	limit := 20 * e.timeout // room for the tracer
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err = e.query.run(ctx, input, &deadline{at: time.Now().Add(limit)}, tracer)
	if err != nil {
		x.Notes = append(x.Notes, "the trace ends early: "+err.Error())
	}
	x.read(*tracer)
	var text bytes.Buffer
	topdown.PrettyTraceWithLocation(&text, *tracer)
	x.Trace = text.String()
	return x
}

// indentJSON writes a value as JSON, or why it has none.
func indentJSON(v ast.Value) string {
	native, err := ast.JSON(v)
	if err != nil {
		return err.Error()
	}
	text, err := json.MarshalIndent(native, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// read picks what an author looks for first.
func (x *Explanation) read(events []*topdown.Event) {
	seen := map[string]bool{}
	once := func(list *[]Position, kind string, p Position) {
		key := fmt.Sprint(kind, p)
		if p.File != "" && !seen[key] {
			seen[key] = true
			*list = append(*list, p)
		}
	}
	for _, event := range events {
		switch event.Op {
		case topdown.ExitOp:
			if rule, ok := event.Node.(*ast.Rule); ok {
				once(&x.Fired, "fired", position(rule.Location, rule.Head.Ref().String()))
			}
		case topdown.FailOp:
			if expression, ok := event.Node.(*ast.Expr); ok && expression.Location != nil {
				text, _, _ := strings.Cut(string(expression.Location.Text), "\n")
				once(&x.Failed, "failed", position(expression.Location, text))
			}
		case topdown.NoteOp:
			x.Notes = append(x.Notes, event.Message)
		}
	}
}

func position(l *ast.Location, text string) Position {
	if l == nil {
		return Position{}
	}
	return Position{File: l.File, Line: l.Row, Text: text}
}
