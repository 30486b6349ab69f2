package extauthz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Explanation is a decision with every step of the check, for people.
type Explanation struct {
	Answer *Answer
	Steps  []Step
	Advice string              // one sentence on what the request lacks; "" for an allow
	Policy *policy.Explanation // nil: the policy was not asked

	token string
}

// Redact removes the request's token from a text. The policy's input and trace and the
// headers of the answer can contain it: a caller that shows them MUST pass them through
// Redact.
func (x *Explanation) Redact(text string) string {
	if x.token == "" {
		return text
	}
	return strings.ReplaceAll(text, x.token, "[token]")
}

// Step is one step of the check, or a part of one, with its outcome.
type Step struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail"`
	Parts   []Step  `json:"parts,omitempty"`
}

// Outcome is the outcome of a step.
type Outcome string

// The outcomes. A step is skipped if it is switched off or has nothing to check.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Explain decides about a request as Authorize does, and records how. The result holds
// the claims of the token, though never the token itself: show it only to people who
// may see them.
func (a *Authorizer) Explain(ctx context.Context, m *Message) *Explanation {
	e := explainer{a: a, m: m, x: &Explanation{}}
	e.x.Answer = a.withIdentityHeaders(a.authorize(ctx, m, &e.state), &e.state)
	e.requestStep()
	if e.state.req != nil {
		e.tenantStep()
	}
	if e.state.tenant != nil {
		e.credentialStep()
	}
	if e.x.token = e.state.credential.Token; e.x.token != "" {
		e.tokenSteps(ctx)
	}
	if e.state.input != nil {
		e.routeStep()
		explained := a.policy.Explain(ctx, e.state.input)
		e.x.Policy = &explained
		e.policyStep()
	}
	if !e.x.Answer.Allowed {
		e.x.Advice = e.advice()
	}
	return e.x
}

// explainer describes the state of a check that has ended.
type explainer struct {
	a     *Authorizer
	m     *Message
	state checkState
	x     *Explanation
	token *jwtverify.Inspection // nil: none was sent
}

func (e *explainer) step(name string, o Outcome, format string, args ...any) *Step {
	e.x.Steps = append(e.x.Steps, Step{Name: name, Outcome: o, Detail: fmt.Sprintf(format, args...)})
	return &e.x.Steps[len(e.x.Steps)-1]
}

func (e *explainer) requestStep() {
	if e.state.req == nil {
		e.step("request", Failed, "%v", e.x.Answer.Err)
		return
	}
	e.step("request", OK, "%s %s, host %s", e.m.Method, e.m.Target, e.state.req.host)
}

func (e *explainer) tenantStep() {
	r := &e.state
	if r.tenant == nil {
		e.step("tenant", Failed, "%v", e.x.Answer.Err)
		return
	}
	e.step("tenant", OK, "%s, %s", r.tenant.ID, e.a.tenants.Why(e.m.Extensions, r.req.headers, r.req.host))
}

func (e *explainer) credentialStep() {
	c, source := e.state.credential, e.state.tenant.Token
	switch {
	case c.Header && c.Cookie:
		e.step("credential", OK, "the same token in the header %s and in the cookie %s", source.Header, source.Cookie)
	case c.Header:
		e.step("credential", OK, "in the header %s", source.Header)
	case c.Cookie:
		e.step("credential", OK, "in the cookie %s", source.Cookie)
	case e.state.input == nil: // it stopped the road
		e.step("credential", Failed, "%v", e.x.Answer.Err)
	case e.otherScheme():
		e.step("credential", OK, "none: the header %s is of another scheme", source.Header)
	default:
		e.step("credential", OK, "none was sent")
	}
}

// otherScheme reports whether the credential header is there without Bearer.
func (e *explainer) otherScheme() bool {
	value, _ := e.state.req.headers.Get(e.state.tenant.Token.Header)
	return value != ""
}

func (e *explainer) tokenSteps(ctx context.Context) {
	r := &e.state
	e.token = r.tenant.Verifier.Inspect(ctx, r.credential.Token)
	token := e.step("token", OK, "as sent")
	if !json.Valid(e.token.Header) || !json.Valid(e.token.Claims) {
		token.Outcome, token.Detail = Failed, "is not readable"
	} else {
		token.Parts = []Step{{"header", OK, string(e.token.Header), nil}, {"claims", OK, string(e.token.Claims), nil}}
	}
	verified := e.step("verification", OK, "for %s", r.tenant.ID)
	if r.identity == nil {
		verified.Outcome, verified.Detail = Failed, e.x.Answer.Err.Error()
	}
	for _, c := range e.token.Checks {
		verified.Parts = append(verified.Parts, e.check(c))
	}
	switch {
	case r.identity == nil:
	case !e.revocationStep():
	case r.input == nil: // a header can't carry it
		e.step("identity", Failed, "%v", e.x.Answer.Err)
	default:
		id := r.identity
		e.step("identity", OK, "user %q, workspace %q, roles %q, scopes %q", id.UserID, id.WorkspaceID, id.Roles, id.Scopes)
	}
}

// revocationStep reports whether the token is not revoked.
func (e *explainer) revocationStep() bool {
	if e.a.revocations == nil {
		return true
	}
	if _, err := e.a.revoked(&e.state); err != nil {
		e.step("revocation", Failed, "%s", e.revocationReason(err))
		return false
	}
	e.step("revocation", OK, "no entry is for this token")
	return true
}

// revocationReason returns err with the entry that revokes the token, if the list knows.
func (e *explainer) revocationReason(err error) string {
	if list, ok := e.a.revocations.(interface {
		Why(tenant string, id *jwtverify.Identity) string
	}); ok && errors.Is(err, errRevoked) {
		return fmt.Sprintf("%v: %s", err, list.Why(e.state.tenant.ID, e.state.identity))
	}
	return err.Error()
}

func (e *explainer) check(c jwtverify.Check) Step {
	part := Step{Name: c.Name, Outcome: OK, Detail: c.Detail}
	switch {
	case c.Skipped:
		part.Outcome = Skipped
	case c.Err != nil:
		part.Outcome, part.Detail = Failed, fmt.Sprintf("%v (%s)", c.Err, c.Detail)
	}
	if c.Name == "key" {
		part.Detail += ", from " + e.keySource()
		if e.token.Key != nil {
			part.Detail += fmt.Sprintf(", for %v, thumbprint %s", e.token.Key.Algorithms(), e.token.Key.Thumbprint())
		}
	}
	return part
}

// keySource names the source of the tenant's keys and their age.
func (e *explainer) keySource() string {
	t := e.state.tenant
	remote, ok := t.Keys.(interface{ Status() jwks.Status })
	if !ok {
		return t.KeySource
	}
	if fetched := remote.Status().Fetched; !fetched.IsZero() {
		return fmt.Sprintf("%s, fetched %v ago", t.KeySource, time.Since(fetched).Round(time.Millisecond))
	}
	return t.KeySource + ", never fetched"
}

func (e *explainer) routeStep() {
	r := &e.state
	switch {
	case r.ambiguous:
		e.step("route", Failed, "not one alone: %s", e.otherRoute())
	case !r.matched:
		e.step("route", Failed, "none of %d matches", r.tenant.Routes.Len())
	default:
		e.step("route", OK, "%s%s", r.match.Route.Match, requirements(r.match.Route, r.match.Params))
	}
}

// otherRoute names the server that would match another route for the request.
func (e *explainer) otherRoute() string {
	r := &e.state
	other, _ := r.tenant.Routes.Misreading(r.req.method, r.req.segments)
	match, _ := r.tenant.Routes.Match(r.req.method, r.req.segments)
	to := "no route"
	if other.Route != nil {
		to = other.Route.Match
	}
	return fmt.Sprintf("a server that %s would route /%s to %s, and not to %s, which needs something else",
		other.Readings, strings.Join(r.req.segments, "/"), to, match.Route.Match)
}

func requirements(route *tenants.Route, params []tenants.Param) string {
	var b strings.Builder
	for _, p := range params {
		fmt.Fprintf(&b, ", %s=%q", p.Name, p.Value)
	}
	if route.Public {
		b.WriteString(", public")
	}
	for _, need := range []struct {
		name   string
		values []string
	}{{"scopes", route.Scopes}, {"any_scope", route.AnyScope}, {"roles", route.Roles}, {"all_roles", route.AllRoles}} {
		if len(need.values) > 0 {
			fmt.Fprintf(&b, ", %s %q", need.name, need.values)
		}
	}
	for _, need := range [][2]string{{"workspace", route.Workspace}, {"access", route.Access}} {
		if need[1] != "" {
			fmt.Fprintf(&b, ", %s %s", need[0], need[1])
		}
	}
	return b.String()
}

func (e *explainer) policyStep() {
	d, by := &e.state.decision, ""
	if p := e.x.Policy.Decider; p != nil {
		by = fmt.Sprintf(", by %s", ruleAt(p))
	}
	var step *Step
	switch {
	case e.x.Answer.Allowed:
		step = e.step("policy", OK, "allowed%s", by)
	case e.x.Answer.Err != nil:
		step = e.step("policy", Failed, "%v", e.x.Answer.Err)
	case d.Detail != "":
		step = e.step("policy", Failed, "%s, %s%s", d.Reason, d.Detail, by)
	default:
		step = e.step("policy", Failed, "%s%s", d.Reason, by)
	}
	analysis := e.a.policy.Analysis()
	reads := "nothing of the input"
	if len(analysis.Reads) > 0 {
		reads = strings.Join(analysis.Reads, ", ")
	}
	step.Parts = append(step.Parts, Step{Name: "reads", Outcome: OK, Detail: reads})
	if analysis.Cacheable {
		step.Parts = append(step.Parts, Step{Name: "cache", Outcome: OK, Detail: "requests with the same of that may share a decision"})
		return
	}
	for _, why := range analysis.Reasons {
		step.Parts = append(step.Parts, Step{Name: "cache", Outcome: Skipped, Detail: fmt.Sprintf("%s:%d: %s", why.File, why.Line, why.Text)})
	}
}

// ruleAt names a rule and its position.
func ruleAt(p *policy.Position) string { return fmt.Sprintf("%s (%s:%d)", p.Rule, p.File, p.Line) }
