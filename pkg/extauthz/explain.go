package extauthz

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Explanation is a decision with every step of its road, for people.
type Explanation struct {
	Answer *Answer
	Steps  []Step
	Advice string              // one sentence on what the request lacks; "" for an allow
	Policy *policy.Explanation // nil: the policy was not asked
}

// Step is one step of the road: what was looked at, and what came of it.
type Step struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Explain decides about a request as Authorize does, and tells how. It shows
// the claims of the token, though never the token itself: its reader must be
// one who may see them.
func (a *Authorizer) Explain(ctx context.Context, m *Message) *Explanation {
	x := &Explanation{Answer: a.Authorize(ctx, m)}
	var r road
	a.decide(ctx, m, &r, &Answer{})
	x.requestStep(&r, m)
	if r.req != nil {
		x.tenantStep(&r, m)
	}
	if r.tenant != nil {
		x.credentialSteps(&r)
	}
	if r.input != nil {
		x.routeStep(&r)
		explained := a.policy.Explain(ctx, r.input)
		x.Policy = &explained
		x.policyStep()
	}
	if !x.Answer.Allowed {
		x.Advice = x.advice(&r)
	}
	return x
}

func (x *Explanation) step(name string, ok bool, format string, args ...any) {
	x.Steps = append(x.Steps, Step{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)})
}

func (x *Explanation) requestStep(r *road, m *Message) {
	if r.req == nil {
		x.step("request", false, "%v", x.Answer.Err)
		return
	}
	x.step("request", true, "%s %s, host %s, segments %q", m.Method, m.Target, r.req.host, r.req.segments)
}

func (x *Explanation) tenantStep(r *road, m *Message) {
	if r.tenant == nil {
		x.step("tenant", false, "%v", x.Answer.Err)
		return
	}
	var by []string
	for _, e := range m.Extensions {
		by = append(by, fmt.Sprintf("extension %s=%s", e.Name, e.Value))
	}
	x.step("tenant", true, "%s, by %s", r.tenant.ID, strings.Join(append(by, "the headers and the host "+r.req.host), ", "))
}

func (x *Explanation) credentialSteps(r *road) {
	where := "none was sent"
	switch {
	case r.credential.Header && r.credential.Cookie:
		where = fmt.Sprintf("the same token in %s and in the cookie %s", r.tenant.Token.Header, r.tenant.Token.Cookie)
	case r.credential.Header:
		where = "in " + r.tenant.Token.Header
	case r.credential.Cookie:
		where = "in the cookie " + r.tenant.Token.Cookie
	case x.Answer.Reason == answers.InvalidRequest || x.Answer.Reason == answers.TokenInvalid:
		x.step("credential", false, "%v", x.Answer.Err)
		return
	}
	x.step("credential", true, "%s", where)
	if r.credential.Token == "" {
		return
	}
	x.step("token", true, "%s", inspect(r.credential.Token))
	if r.input == nil { // verification, or the identity's headers, refused it
		x.step("verification", false, "%v", x.Answer.Err)
		return
	}
	x.step("verification", true, "%s, workspace %q, roles %q, scopes %q", r.identity.UserID, r.identity.WorkspaceID, r.identity.Roles, r.identity.Scopes)
}

// inspect shows a token's header and claims, which anybody who has the token
// can read, and leaves the signature out.
func inspect(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "no compact JWS: it does not have three parts"
	}
	var shown [2]string
	for i, part := range parts[:2] {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || !utf8.Valid(text) || !json.Valid(text) {
			return "no compact JWS: a part is not base64url of JSON"
		}
		shown[i] = string(text)
	}
	return "header " + shown[0] + ", claims " + shown[1] + " (as sent, before verification)"
}

func (x *Explanation) routeStep(r *road) {
	if r.ambiguous {
		x.step("route", false, "not one alone: a server that ignores a slash at the end, or path parameters, would take the path for that of another route")
		return
	}
	if !r.matched {
		x.step("route", false, "none of %d matches", r.tenant.Routes.Len())
		return
	}
	x.step("route", true, "%s%s", r.match.Route.Match, needs(r.match.Route, r.match.Params))
}

func needs(route *tenants.Route, params []tenants.Param) string {
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

func (x *Explanation) policyStep() {
	d := x.Policy.Decision
	switch {
	case d.Err != nil:
		x.step("policy", false, "%v", d.Err)
	case d.Allowed && !x.Answer.Allowed: // it changes what it must not
		x.step("policy", false, "%v", x.Answer.Err)
	case d.Allowed:
		x.step("policy", true, "allowed")
	default:
		x.step("policy", false, "%s %s", d.Reason, d.Detail)
	}
}

// advice is the sentence that an author needs after a denial.
func (x *Explanation) advice(r *road) string {
	route := "no route"
	if r.matched {
		route = "route " + r.match.Route.Match
	}
	switch x.Answer.Reason {
	case answers.InsufficientScope:
		return fmt.Sprintf("%s needs%s; the token has scopes %q", route, strings.TrimPrefix(needs(r.match.Route, nil), ","), r.identity.Scopes)
	case answers.InsufficientRole:
		return fmt.Sprintf("%s needs%s; the token has roles %q", route, strings.TrimPrefix(needs(r.match.Route, nil), ","), r.identity.Roles)
	case answers.WorkspaceMismatch:
		return fmt.Sprintf("%s is for the workspace in %s; the token's is %q", route, r.match.Route.Workspace, r.identity.WorkspaceID)
	case answers.NoRoute:
		if r.ambiguous {
			return "the path fits a broad route, and without its last slash or its path parameters a narrower one: ask for it as that route has it, or add a route for it as it is"
		}
		return fmt.Sprintf("no route of the tenant %s matches %s /%s: add one to routes", r.tenant.ID, r.req.method, strings.Join(r.req.segments, "/"))
	case answers.TokenNotFound:
		return fmt.Sprintf("%s needs a token, in the header %s or the cookie %s", route, r.tenant.Token.Header, r.tenant.Token.Cookie)
	}
	if x.Answer.Err != nil {
		return x.Answer.Err.Error()
	}
	return x.Answer.Reason.Row().Detail
}
