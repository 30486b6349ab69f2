package extauthz

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// advice explains a denial in one sentence: what the request lacks, or which rule
// denied it.
func (e *explainer) advice() string {
	if e.state.input == nil {
		return e.adviseBeforePolicy()
	}
	r, err := &e.state, e.x.Answer.Err
	switch reason := e.x.Answer.Reason; {
	case reason == answers.InvalidRequest && err != nil:
		return fmt.Sprintf("the policy reads the body, which is not what its type says: %v", err)
	case reason == answers.Overloaded && r.decision.Reason == "":
		return fmt.Sprintf("there was no time left to evaluate the policy: %v", err)
	case reason == answers.TokenNotFound && r.identity == nil:
		return e.adviseToken()
	case reason == answers.NoRoute && r.ambiguous:
		return e.otherRoute() + ": ask for the path as that route has it, or remove from path_readings what no server behind does"
	case reason == answers.NoRoute && !r.matched:
		return fmt.Sprintf("no route of the tenant %s matches %s /%s: add one to routes", r.tenant.ID, r.req.method, strings.Join(r.req.segments, "/"))
	}
	if lack := e.missingRequirement(); lack != "" {
		return "route " + r.match.Route.Match + " " + lack
	}
	return e.advisePolicy()
}

// adviseBeforePolicy explains denials of requests that never reached the policy.
func (e *explainer) adviseBeforePolicy() string {
	err := e.x.Answer.Err
	if errors.Is(err, errRevoked) {
		return e.revocationReason(err) + ": remove it to take that back, or let the client ask for a new token"
	}
	switch e.x.Answer.Reason {
	case answers.InvalidTenant:
		return fmt.Sprintf("%v: %s", err, e.a.tenants.HowTo())
	case answers.TokenExpired, answers.TokenInvalid, answers.KeysUnavailable:
		return e.adviseVerification()
	case answers.InvalidRequest:
		if e.state.req == nil {
			return fmt.Sprintf("two servers could read this request in two ways, so every policy refuses it: %v", err)
		}
		return fmt.Sprintf("send one token in one place: %v", err)
	}
	return fmt.Sprint(err)
}

func (e *explainer) adviseToken() string {
	what, source := "the policy", e.state.tenant.Token
	if e.state.matched {
		what = "route " + e.state.match.Route.Match
	}
	var places []string
	if source.Header != "" {
		places = append(places, "the header "+source.Header)
	}
	if source.Cookie != "" {
		places = append(places, "the cookie "+source.Cookie)
	}
	sent := "the request has none"
	if e.otherScheme() {
		sent = "the request's header " + source.Header + " is of another scheme"
	}
	return fmt.Sprintf("%s needs a token, in %s; %s", what, strings.Join(places, " or "), sent)
}

// adviseVerification explains the first check of the token that failed.
func (e *explainer) adviseVerification() string {
	err, id := e.x.Answer.Err, e.state.tenant.ID
	if e.state.credential.Token == "" {
		return fmt.Sprintf("the credential is not one token: %v", err)
	}
	if e.state.identity != nil {
		return fmt.Sprintf("the token is good, but no header could carry its identity: %v", err)
	}
	var detail, accepted string
	for _, c := range e.token.Checks {
		if c.Err != nil {
			detail, accepted, _ = strings.Cut(c.Detail, "; accepted: ")
			break
		}
	}
	switch {
	case jwtverify.RetryAfter(err) > 0:
		return fmt.Sprintf("the token's key, %s, is none of those from %s; it may be a new one, and the key URL is not fetched again yet", detail, e.keySource())
	case errors.Is(err, jwtverify.ErrKeysUnavailable):
		return fmt.Sprintf("the keys of tenant %s can't be fetched from %s: %v", id, e.state.tenant.KeySource, err)
	case errors.Is(err, jwtverify.ErrExpired):
		return fmt.Sprintf("the token has expired: %s", detail)
	case errors.Is(err, jwtverify.ErrNotYetValid):
		return fmt.Sprintf("the token is not valid yet: %s; is a clock wrong?", detail)
	case errors.Is(err, jwtverify.ErrAlgorithm) && accepted != "":
		return fmt.Sprintf("the token is signed with %s, and tenant %s accepts %s", detail, id, accepted)
	case errors.Is(err, jwtverify.ErrUnknownKey):
		return fmt.Sprintf("the token's key, %s, is none of those from %s", detail, e.keySource())
	case errors.Is(err, jwtverify.ErrSignature):
		return "the signature is not that of the key which the token names: the token was changed, or somebody else signed it"
	case errors.Is(err, jwtverify.ErrIssuer):
		return fmt.Sprintf("the token is from the issuer %s, and tenant %s accepts %s", detail, id, accepted)
	case errors.Is(err, jwtverify.ErrAudience):
		return fmt.Sprintf("the token is for the audience %s, and tenant %s accepts %s", detail, id, accepted)
	case errors.Is(err, jwtverify.ErrTokenType):
		return fmt.Sprintf("the token is of the type %s, and tenant %s accepts %s", detail, id, accepted)
	case errors.Is(err, jwtverify.ErrTenant):
		return fmt.Sprintf("the token's tenant_id is %s, and tenant %s accepts %s", detail, id, accepted)
	}
	return fmt.Sprint(err)
}

// missingRequirement returns what the route requires and the identity does not have,
// "" if the route did not deny.
func (e *explainer) missingRequirement() string {
	r := &e.state
	if !r.matched || r.identity == nil {
		return ""
	}
	route, id := r.match.Route, r.identity
	scopes, roles := "; "+listHeld("scope", id.Scopes), "; "+listHeld("role", id.Roles)
	switch e.x.Answer.Reason {
	case answers.InsufficientScope:
		if missing := without(route.Scopes, id.Scopes); len(missing) > 0 {
			return "needs " + all("scope", missing) + scopes
		}
		if len(route.AnyScope) > 0 && !overlap(route.AnyScope, id.Scopes) {
			return "needs " + oneOf("scope", route.AnyScope) + scopes
		}
		if route.Access != "" {
			return "needs access " + route.Access + ", which no scope of the token grants" + scopes
		}
	case answers.InsufficientRole:
		if len(route.Roles) > 0 && !overlap(route.Roles, id.Roles) {
			return "needs " + oneOf("role", route.Roles) + roles
		}
		if missing := without(route.AllRoles, id.Roles); len(missing) > 0 {
			return "needs " + all("role", missing) + roles
		}
	case answers.WorkspaceMismatch:
		return e.missingWorkspace(route)
	}
	return ""
}

func (e *explainer) missingWorkspace(route *tenants.Route) string {
	r := &e.state
	place, name := route.WorkspaceAt()
	var values []string
	switch place {
	case tenants.PathPlace:
		for _, p := range r.match.Params {
			if p.Name == name {
				values = append(values, p.Value)
			}
		}
	case tenants.HeaderPlace:
		if value, lines := r.req.headers.Get(name); lines > 0 {
			values = append(values, value)
		}
	case tenants.QueryPlace:
		query, _ := url.ParseQuery(r.req.query) // the pairs that can be parsed
		values = query[name]
	default:
		return ""
	}
	asked := "the request names none"
	switch {
	case r.match.WorkspaceUnsure:
		asked = fmt.Sprintf("a server behind could read another one in the request than %q", strings.Join(values, ", "))
	case len(values) == 1 && values[0] == r.identity.WorkspaceID && values[0] != "":
		asked = fmt.Sprintf("the request names %q, and another one in a spelling that some servers read as the same name", values[0])
	case len(values) > 0:
		asked = fmt.Sprintf("the request names %q", strings.Join(values, ", "))
	}
	own := fmt.Sprintf("the token's is %q", r.identity.WorkspaceID)
	if r.identity.WorkspaceID == "" {
		own = "the token has none"
	}
	return fmt.Sprintf("is for the workspace in %s; %s, %s", route.Workspace, asked, own)
}

func listHeld(kind string, held []string) string {
	if len(held) == 0 {
		return "the token has no " + kind + "s"
	}
	return "the token has " + strings.Join(held, ", ")
}

func all(kind string, names []string) string {
	if len(names) == 1 {
		return kind + " " + names[0]
	}
	return kind + "s " + strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func oneOf(kind string, names []string) string {
	if len(names) == 1 {
		return kind + " " + names[0]
	}
	return "one of the " + kind + "s " + strings.Join(names, ", ")
}

func without(names, held []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(held, name) })
}

func overlap(names, held []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(held, name) })
}

// advisePolicy names the rule that denied, and the expressions that failed in the other
// rules of its name.
func (e *explainer) advisePolicy() string {
	p, d := e.x.Policy, &e.state.decision
	if e.x.Answer.Reason == answers.PolicyError {
		return fmt.Sprintf("the policy failed: %v%s", e.x.Answer.Err, failedExpressions(p))
	}
	if p.Decider == nil { // the policy changed since
		return e.x.Answer.Reason.Row().Detail
	}
	if p.Default {
		return fmt.Sprintf("the default of %s denies: no other rule of it held%s", ruleAt(p.Decider), failedExpressions(p))
	}
	said := string(d.Reason)
	if d.Detail != "" {
		said += ", " + d.Detail
	}
	return fmt.Sprintf("the rule %s denies: %s", ruleAt(p.Decider), said)
}

// failedExpressions lists the expressions that failed in the entrypoint's rules.
func failedExpressions(p *policy.Explanation) string {
	var list []string
	for _, f := range p.Failed {
		if f.Rule == p.Entrypoint || strings.HasPrefix(f.Rule, p.Entrypoint+".") {
			list = append(list, fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text))
		}
	}
	const most = 5
	if more := len(list) - most; more > 0 {
		list = append(list[:most], fmt.Sprintf("%d more", more))
	}
	if len(list) == 0 {
		return ""
	}
	return "; not true: " + strings.Join(list, ", ")
}
