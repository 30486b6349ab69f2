package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Recorded is a decision of the decision log beside what the policy says of it
// today.
type Recorded struct {
	File     string
	Record   *decisionlog.Record
	Revision string   // of the policy today
	Today    *Today   // nil: Notes say why nothing can be told of today
	Notes    []string // what the comparison rests on, or what it lacks
}

// Today is the policy's answer to the recorded input.
type Today struct {
	Decision policy.Decision
	Policy   policy.Explanation
	Status   int  // that of an allow is 200
	Same     bool // as the recorded allowed, reason and status
}

// Replay asks the policy about a record again. carrier is the header that
// the record's tenant takes its token from.
func Replay(ctx context.Context, file string, r *decisionlog.Record, e *policy.Engine, carrier string) (*Recorded, error) {
	x := &Recorded{File: file, Record: r, Revision: e.Revision()}
	_, asked := r.StagesNS[extauthz.StagePolicy.String()]
	switch {
	case !asked:
		x.note("the policy was not asked: the answer came before it, and no change of the policy changes that")
		return x, nil
	case r.InputOmitted:
		x.note("the input was too large for the log, or could not be written: the policy can't be asked again")
		return x, nil
	case r.Input == nil:
		x.note("the input was not recorded: with \"decision_log: {input: true}\" the policy can be asked again about later decisions")
		return x, nil
	}
	decision, explanation, err := e.Replay(ctx, r.Input)
	if err != nil {
		return nil, fmt.Errorf("the record %s: %w", r.DecisionID, err)
	}
	today := &Today{Decision: decision, Policy: explanation, Status: http.StatusOK}
	if !decision.Allowed {
		if today.Status = decision.Status; today.Status == 0 {
			today.Status = decision.Reason.Row().Status
		}
	}
	today.Same = decision.Allowed == r.Allowed && string(decision.Reason) == r.Reason && today.Status == r.Status
	x.Today = today
	x.leftOut(e.Analysis(), carrier)
	return x, nil
}

func (x *Recorded) note(format string, args ...any) {
	x.Notes = append(x.Notes, fmt.Sprintf(format, args...))
}

// leftOut notes what the policy reads and the record does not hold, or not as
// it was.
func (x *Recorded) leftOut(analysis *policy.Analysis, carrier string) {
	var document map[string]json.RawMessage
	_ = json.Unmarshal(x.Record.Input, &document) // Replay has read it
	for _, path := range analysis.Reads {
		name, _, _ := strings.Cut(strings.TrimPrefix(path, "input."), ".")
		if _, recorded := document[name]; path != "input" && !recorded && x.Revision != x.Record.PolicyRevision {
			x.note("the policy reads %s, which the record does not hold: the request had none, or the policy of then did not read it", path)
		} else if credential(path, carrier) {
			x.note("the policy can read credentials (%s), which the log leaves out", path)
		}
	}
	for _, list := range [][]string{x.Record.Erased, x.Record.Masked} {
		for _, path := range list {
			if path == "/input" || strings.HasPrefix(path, "/input/") {
				x.note("a mask of the decision log changed %s", path)
			}
		}
	}
	if x.Today.Same || x.Revision != x.Record.PolicyRevision {
		return
	}
	for _, why := range analysis.Reasons {
		x.note("%s:%d: %s", why.File, why.Line, why.Text)
	}
}

// credential tells whether what stands at a path of the input holds a header
// that the log leaves out.
func credential(path, carrier string) bool {
	for _, headers := range []string{"input.request.headers", "input.attributes.request.http.headers"} {
		if strings.HasPrefix(headers+".", path+".") {
			return true
		}
		name, ok := strings.CutPrefix(path, headers+".")
		if ok && slices.Contains([]string{"authorization", "proxy-authorization", "cookie", strings.ToLower(carrier)}, name) {
			return true
		}
	}
	return false
}

// Steps returns the steps of the recorded check, as far as the log has them. The
// stage that has no time is the one that ended it.
func (x *Recorded) Steps() []extauthz.Step {
	r := x.Record
	identity := "none was sent, or it was not verified"
	if r.Subject != "" {
		identity = fmt.Sprintf("sub %q, workspace %q", r.Subject, r.WorkspaceID)
	}
	route := "none matched"
	if r.Route != "" {
		route = r.Route
	}
	var steps []extauthz.Step
	for _, s := range []struct {
		stage        extauthz.Stage
		name, detail string
		cache        string
	}{
		{extauthz.StageParse, "request", fmt.Sprintf("%s %s, host %s", r.Method, r.Path, r.Host), ""},
		{extauthz.StageSelect, "tenant", r.Tenant, ""},
		{extauthz.StageVerify, "identity", identity, r.TokenCache},
		{extauthz.StageMatch, "route", route, ""},
		{extauthz.StagePolicy, "policy", r.Reason, r.DecisionCache},
	} {
		took, reached := r.StagesNS[s.stage.String()]
		if !reached {
			return append(steps, extauthz.Step{Name: s.name, Outcome: extauthz.Failed, Detail: reasonText(r)})
		}
		step := extauthz.Step{Name: s.name, Outcome: extauthz.OK, Detail: s.detail}
		if s.stage == extauthz.StagePolicy && !r.Allowed {
			step.Outcome, step.Detail = extauthz.Failed, reasonText(r)
		}
		step.Parts = []extauthz.Step{{Name: "took", Outcome: extauthz.OK, Detail: time.Duration(took).String()}}
		if s.cache != "" {
			step.Parts = append(step.Parts, extauthz.Step{Name: "cache", Outcome: extauthz.OK, Detail: s.cache})
		}
		steps = append(steps, step)
	}
	return steps
}

func reasonText(r *decisionlog.Record) string {
	if r.Error == "" {
		return r.Reason
	}
	return r.Reason + ": " + r.Error
}

// Verdict is one sentence: whether the answer is the same today.
func (x *Recorded) Verdict() string {
	changed := fmt.Sprintf("the policy has changed: revision %s then, %s now", x.Record.PolicyRevision, x.Revision)
	if x.Revision == x.Record.PolicyRevision {
		changed = "the policy is the same: revision " + x.Revision
	}
	switch {
	case x.Today == nil:
		return changed
	case x.Today.Same:
		return "the answer is the same today; " + changed
	}
	then, now := outcome(x.Record.Allowed, x.Record.Status, x.Record.Reason), outcome(x.Today.Decision.Allowed, x.Today.Status, string(x.Today.Decision.Reason))
	return fmt.Sprintf("the answer is another one today: %s then, %s now; %s", then, now, changed)
}

func outcome(allowed bool, status int, reason string) string {
	if allowed {
		return "allowed"
	}
	return fmt.Sprintf("%d %s", status, reason)
}

// WriteRecorded writes a recorded decision for people.
func (t Text) WriteRecorded(x *Recorded) error {
	var b strings.Builder
	out := t.Out
	t.Out = &b
	r := x.Record
	fmt.Fprintf(&b, "recorded %s in %s, %v in all\n", r.Time.Format(time.RFC3339Nano), terminal.Printable(x.File), time.Duration(r.TookNS))
	t.steps(&extauthz.Explanation{Steps: x.Steps()})
	fmt.Fprintf(&b, "%s\n\n", t.outcome(r.Allowed, r.Status, r.Reason))
	if today := x.Today; today != nil {
		fmt.Fprintln(&b, "today")
		t.steps(&extauthz.Explanation{Steps: []extauthz.Step{today.step()}, Policy: &today.Policy})
		fmt.Fprintf(&b, "%s\n\n", t.outcome(today.Decision.Allowed, today.Status, string(today.Decision.Reason)))
	}
	for _, note := range x.Notes {
		fmt.Fprintln(&b, "note:", terminal.Printable(note))
	}
	fmt.Fprintln(&b, terminal.Bold.Paint(t.Color, terminal.Printable(x.Verdict())))
	_, err := io.WriteString(out, b.String())
	return err
}

func (d *Today) step() extauthz.Step {
	by := ""
	if p := d.Policy.Decider; p != nil {
		by = fmt.Sprintf(", by %s (%s:%d)", p.Rule, p.File, p.Line)
	}
	switch {
	case d.Decision.Allowed:
		return extauthz.Step{Name: "policy", Outcome: extauthz.OK, Detail: "allowed" + by}
	case d.Decision.Err != nil:
		return extauthz.Step{Name: "policy", Outcome: extauthz.Failed, Detail: d.Decision.Err.Error()}
	}
	return extauthz.Step{Name: "policy", Outcome: extauthz.Failed, Detail: string(d.Decision.Reason) + by}
}

func (t Text) outcome(allowed bool, status int, reason string) string {
	if allowed {
		return terminal.Green.Paint(t.Color, "allowed")
	}
	return t.red("denied: " + terminal.Printable(outcome(allowed, status, reason)))
}

// RecordedJSON writes a recorded decision as one JSON object.
func RecordedJSON(w io.Writer, x *Recorded) error {
	out := map[string]any{
		"file": x.File, "record": x.Record, "steps": x.Steps(), "notes": x.Notes,
		"policy_revision": x.Revision, "verdict": x.Verdict(), "today": nil,
	}
	if d := x.Today; d != nil {
		out["today"] = map[string]any{
			"same": d.Same, "allowed": d.Decision.Allowed, "reason": d.Decision.Reason, "status": d.Status,
			"detail": d.Decision.Detail, "decided_by": d.Policy.Decider, "fired": d.Policy.Fired, "failed": d.Policy.Failed, "notes": d.Policy.Notes,
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}
