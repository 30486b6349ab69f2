// Package explain writes explanations of decisions: as aligned text for people,
// and as JSON for machines. It never writes the token.
package explain

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Text writes explanations for people.
type Text struct {
	Out   io.Writer
	Color bool
	Trace bool // OPA's own trace as well
}

// Write writes the steps of the check, and its outcome.
func (t Text) Write(x *extauthz.Explanation) error {
	var b strings.Builder
	out := t.Out
	t.Out = &b
	t.steps(x)
	b.WriteByte('\n')
	t.answer(x)
	_, err := io.WriteString(out, x.Redact(b.String()))
	return err
}

// steps writes one line for each step and part.
func (t Text) steps(x *extauthz.Explanation) {
	for _, step := range x.Steps {
		fmt.Fprintf(t.Out, "%s%-14s%s\n", t.mark(step.Outcome), step.Name, terminal.Printable(step.Detail))
		for _, part := range step.Parts {
			fmt.Fprintf(t.Out, "      %s%-12s%s\n", t.mark(part.Outcome), part.Name, terminal.Printable(part.Detail))
		}
	}
	if x.Policy == nil {
		return
	}
	t.positions("fired", x.Policy.Fired)
	t.positions("not true", x.Policy.Failed)
	for _, note := range x.Policy.Notes {
		fmt.Fprintf(t.Out, "      %-12s%s\n", "note", terminal.Printable(note))
	}
	if t.Trace {
		fmt.Fprintln(t.Out)
		for line := range strings.SplitSeq(x.Policy.Trace, "\n") {
			fmt.Fprintln(t.Out, terminal.Printable(line))
		}
	}
}

// answer writes the answer, and the advice after a denial.
func (t Text) answer(x *extauthz.Explanation) {
	a := x.Answer
	if !a.Allowed {
		fmt.Fprintln(t.Out, t.red(fmt.Sprintf("denied: %d %s", a.Status, a.Reason)), terminal.Printable(string(a.Body)))
		for _, h := range a.Headers {
			fmt.Fprintf(t.Out, "  send   %s: %s\n", h.Name, terminal.Printable(h.Value))
		}
		fmt.Fprintln(t.Out, terminal.Bold.Paint(t.Color, terminal.Printable(x.Advice)))
		return
	}
	fmt.Fprintln(t.Out, terminal.Green.Paint(t.Color, "allowed"))
	for _, h := range a.Headers {
		fmt.Fprintf(t.Out, "  set    %s: %s\n", h.Name, terminal.Printable(h.Value))
	}
	for _, name := range a.RemoveHeaders {
		fmt.Fprintf(t.Out, "  remove %s\n", name)
	}
	for _, h := range a.ResponseHeaders {
		fmt.Fprintf(t.Out, "  send   %s: %s\n", h.Name, terminal.Printable(h.Value))
	}
}

func (t Text) positions(what string, list []policy.Position) {
	for _, p := range list {
		fmt.Fprintf(t.Out, "      %s%s:%d: %s\n", terminal.Dim.Paint(t.Color, fmt.Sprintf("%-12s", what)), terminal.Printable(p.File), p.Line, terminal.Printable(p.Text))
	}
}

func (t Text) mark(o extauthz.Outcome) string {
	switch o {
	case extauthz.Failed:
		return t.red("FAIL") + "  "
	case extauthz.Skipped:
		return terminal.Dim.Paint(t.Color, "skip") + "  "
	}
	return terminal.Green.Paint(t.Color, "ok") + "    "
}

func (t Text) red(text string) string { return terminal.Red.Paint(t.Color, text) }

// JSON writes an explanation as one JSON object.
func JSON(w io.Writer, x *extauthz.Explanation) error {
	a := x.Answer
	out := map[string]any{
		"allowed": a.Allowed, "reason": a.Reason, "status": a.Status, "tenant": a.Tenant, "sub": a.Subject,
		"route": a.Route, "advice": x.Advice, "steps": x.Steps, "policy_revision": a.PolicyRevision,
		"headers_to_remove": a.RemoveHeaders, "headers": headers(a.Headers), "response_headers": headers(a.ResponseHeaders),
	}
	if !a.Allowed {
		out["body"] = jsonOrString(a.Body)
	}
	if p := x.Policy; p != nil {
		out["fired"], out["failed"], out["notes"], out["decided_by"] = p.Fired, p.Failed, p.Notes, p.Decider
		out["input"] = jsonOrString([]byte(p.Input))
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, x.Redact(b.String()))
	return err
}

func headers(list []policy.Header) map[string][]string {
	all := map[string][]string{}
	for _, h := range list {
		all[h.Name] = append(all[h.Name], h.Value)
	}
	return all
}

// jsonOrString is JSON as it is, and anything else as a string.
func jsonOrString(text []byte) any {
	if json.Valid(text) {
		return json.RawMessage(text)
	}
	return string(text)
}
