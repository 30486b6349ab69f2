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

// advice is the sentence that an author needs after a denial: what the request
// lacks, or which rule denied it.
func (e *explainer) advice() string {
	if e.road.input == nil {
		return e.adviseBefore()
	}
	r, err := &e.road, e.x.Answer.Err
	switch reason := e.x.Answer.Reason; {
	case reason == answers.InvalidRequest && err != nil:
		return fmt.Sprintf("the policy reads the body, which is not what its type says: %v", err)
	case reason == answers.Overloaded && r.decision.Reason == "":
		return fmt.Sprintf("there was no time left to ask the policy: %v", err)
	case reason == answers.TokenNotFound && r.identity == nil:
		return e.adviseToken()
	case reason == answers.NoRoute && r.ambiguous:
		return e.misreading() + ": ask for the path as that route has it, or remove from path_readings what no server behind does"
	case reason == answers.NoRoute && !r.matched:
		return fmt.Sprintf("no route of the tenant %s matches %s /%s: add one to routes", r.tenant.ID, r.req.method, strings.Join(r.req.segments, "/"))
	}
	if lack := e.lack(); lack != "" {
		return "route " + r.match.Route.Match + " " + lack
	}
	return e.advisePolicy()
}

// adviseBefore is about requests that the policy was not asked about.
func (e *explainer) adviseBefore() string {
	err := e.x.Answer.Err
	if errors.Is(err, errRevoked) {
		return e.whyRevoked(err) + ": remove it to take that back, or let the client ask for a new token"
	}
	switch e.x.Answer.Reason {
	case answers.InvalidTenant:
		return fmt.Sprintf("%v: %s", err, e.a.tenants.HowTo())
	case answers.TokenExpired, answers.TokenInvalid, answers.KeysUnavailable:
		return e.adviseVerification()
	case answers.InvalidRequest:
		if e.road.req == nil {
			return fmt.Sprintf("two servers could read this request in two ways, so every policy refuses it: %v", err)
		}
		return fmt.Sprintf("send one token in one place: %v", err)
	}
	return fmt.Sprint(err)
}

func (e *explainer) adviseToken() string {
	what, source := "the policy", e.road.tenant.Token
	if e.road.matched {
		what = "route " + e.road.match.Route.Match
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

// adviseVerification words the first check that failed.
func (e *explainer) adviseVerification() string {
	err, id := e.x.Answer.Err, e.road.tenant.ID
	if e.road.credential.Token == "" {
		return fmt.Sprintf("the credential is not one token: %v", err)
	}
	if e.road.identity != nil {
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
		return fmt.Sprintf("the token's key, %s, is none of those from %s; it may be a new one, and the source could not be asked for it yet", detail, e.keySource())
	case errors.Is(err, jwtverify.ErrKeysUnavailable):
		return fmt.Sprintf("the keys of tenant %s can't be had from %s: %v", id, e.road.tenant.KeySource, err)
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

// lack tells what the route needs and the identity does not have, "" where it
// is not the route that denied.
func (e *explainer) lack() string {
	r := &e.road
	if !r.matched || r.identity == nil {
		return ""
	}
	route, id := r.match.Route, r.identity
	scopes, roles := "; "+holds("scope", id.Scopes), "; "+holds("role", id.Roles)
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
		return e.lackWorkspace(route)
	}
	return ""
}

func (e *explainer) lackWorkspace(route *tenants.Route) string {
	r := &e.road
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
		query, _ := url.ParseQuery(r.req.query) // what it can read
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

func holds(kind string, held []string) string {
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

// advisePolicy names the rule that denied, and what kept the others of its
// name from being true.
func (e *explainer) advisePolicy() string {
	p, d := e.x.Policy, &e.road.decision
	if e.x.Answer.Reason == answers.PolicyError {
		return fmt.Sprintf("the policy failed: %v%s", e.x.Answer.Err, notTrue(p))
	}
	if p.Decider == nil { // it changed since
		return e.x.Answer.Reason.Row().Detail
	}
	if p.Default {
		return fmt.Sprintf("the default of %s denies: no other rule of it held%s", at(p.Decider), notTrue(p))
	}
	said := string(d.Reason)
	if d.Detail != "" {
		said += ", " + d.Detail
	}
	return fmt.Sprintf("the rule %s denies: %s", at(p.Decider), said)
}

// notTrue lists what failed in the rules of the entrypoint themselves.
func notTrue(p *policy.Explanation) string {
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
