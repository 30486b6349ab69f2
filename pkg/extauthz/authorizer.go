package extauthz

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Config is what an Authorizer decides by.
type Config struct {
	Tenants *tenants.Directory // required
	Policy  *policy.Engine     // required
	Headers IdentityHeaders    // the zero value sets and removes none

	// StripToken removes the credential before the upstream.
	StripToken bool
}

// Authorizer is the whole decision about a request, free of protobuf. It is
// immutable and safe for concurrent use: a reload makes a new one.
type Authorizer struct {
	tenants    *tenants.Directory
	policy     *policy.Engine
	headers    *identityHeaders
	stripToken bool
	routes     map[*tenants.Routes][]*policy.Route
}

// NewAuthorizer checks the configuration and prepares what requests share.
func NewAuthorizer(cfg Config) (*Authorizer, error) {
	if cfg.Tenants == nil || cfg.Policy == nil {
		return nil, errors.New("an authorizer needs tenants and a policy")
	}
	a := &Authorizer{
		tenants:    cfg.Tenants,
		policy:     cfg.Policy,
		headers:    newIdentityHeaders(cfg.Headers),
		stripToken: cfg.StripToken,
		routes:     map[*tenants.Routes][]*policy.Route{},
	}
	for _, t := range cfg.Tenants.Tenants() {
		if t.Routes != nil && a.routes[t.Routes] == nil {
			a.routes[t.Routes] = policyRoutes(t.Routes)
		}
	}
	return a, nil
}

func policyRoutes(routes *tenants.Routes) []*policy.Route {
	list := make([]*policy.Route, routes.Len())
	for i := range list {
		r := routes.Route(i)
		list[i] = policy.NewRoute(policy.RouteFields{
			Match: r.Match, Public: r.Public,
			Scopes: r.Scopes, AnyScope: r.AnyScope, Roles: r.Roles, AllRoles: r.AllRoles,
			Workspace: r.Workspace, Access: r.Access,
		})
	}
	return list
}

// Authorize decides about one request. It always returns an answer, whatever
// the message holds: what it can't decide is a denial with a reason.
func (a *Authorizer) Authorize(ctx context.Context, m *Message) (answer *Answer) {
	answer = &Answer{DecisionID: newDecisionID(), PolicyRevision: a.policy.Revision()}
	grpc := false
	// A fault of ours must not become a gRPC error, which Envoy may be told to
	// treat as an allow.
	defer func() {
		if r := recover(); r != nil {
			answer.deny(answers.Internal, fmt.Errorf("panic: %v", r)).finish(policy.Decision{}, nil, grpc)
		}
	}()
	grpc = isGRPC(m.Headers)
	decision, scopes := a.decide(ctx, m, answer)
	if !answer.Allowed {
		answer.finish(decision, scopes, grpc)
	}
	return answer
}

// decide walks the road of a request. It returns the policy's decision and the
// scopes that the route wants, for the denial's body and challenge.
func (a *Authorizer) decide(ctx context.Context, m *Message, answer *Answer) (policy.Decision, []string) {
	var none policy.Decision
	// 1. One reading of the request, or none.
	req, err := parseMessage(m)
	if err != nil {
		answer.deny(answers.InvalidRequest, err)
		return none, nil
	}
	// 2. The tenant, before any token is read.
	tenant, err := a.tenants.Select(m.Extensions, req.headers, req.host)
	if err != nil {
		answer.deny(answers.InvalidTenant, err)
		return none, nil
	}
	answer.Tenant = tenant.ID
	// 3. The tenant's credential, and who it speaks for.
	credential, identity, reason, err := authenticate(ctx, tenant, req)
	if err != nil {
		answer.deny(reason, err)
		return none, nil
	}
	if identity != nil {
		answer.Subject, answer.WorkspaceID = subject(identity), identity.WorkspaceID
	}
	if err := a.headers.apply(identity, tenant.ID, answer); err != nil {
		answer.deny(answers.TokenInvalid, err)
		return none, nil
	}
	// 4. The route.
	match, matched := tenant.Routes.Match(req.method, req.segments)
	input := a.input(m, req, tenant, identity)
	var scopes []string
	if matched {
		answer.Route = match.Route.Match
		scopes = append(match.Route.Scopes[:len(match.Route.Scopes):len(match.Route.Scopes)], match.Route.AnyScope...)
		input.Route = a.routes[tenant.Routes][match.Index]
		input.Params = pairs(match.Params)
	}
	// 5. The policy, if there is still time: nobody waits for an answer that
	// comes after the deadline, and it is not the policy's fault.
	if err := ctx.Err(); err != nil {
		answer.deny(answers.Overloaded, err)
		return none, nil
	}
	decision := a.policy.Decide(ctx, input)
	answer.Metadata = decision.Metadata
	if !decision.Allowed {
		answer.deny(decision.Reason, decision.Err)
		return decision, scopes
	}
	if err := a.mutate(decision, credential, tenant, req, answer); err != nil {
		answer.deny(answers.PolicyError, err)
		return none, nil
	}
	// 6. The one place that allows.
	answer.Allowed, answer.Reason = true, answers.Allowed
	return decision, scopes
}

// authenticate reads the tenant's credential and verifies it. Without one the
// identity is nil, and the policy decides whether that is enough.
func authenticate(ctx context.Context, tenant *tenants.Tenant, req *request) (tenants.Credential, *jwtverify.Identity, answers.Reason, error) {
	credential, err := tenant.Token.Credential(req.headers)
	if err != nil {
		if errors.Is(err, tenants.ErrAmbiguous) {
			return credential, nil, answers.InvalidRequest, err
		}
		return credential, nil, answers.TokenInvalid, err
	}
	if credential.Token == "" {
		return credential, nil, "", nil
	}
	identity, err := tenant.Verifier.Verify(ctx, credential.Token)
	switch {
	case err == nil:
		return credential, identity, "", nil
	case errors.Is(err, jwtverify.ErrKeysUnavailable):
		return credential, nil, answers.KeysUnavailable, err
	case errors.Is(err, jwtverify.ErrExpired):
		return credential, nil, answers.TokenExpired, err
	default:
		return credential, nil, answers.TokenInvalid, err
	}
}

func (a *Authorizer) input(m *Message, req *request, tenant *tenants.Tenant, identity *jwtverify.Identity) *policy.Input {
	contentType, _ := req.headers.Get("content-type")
	contentLength, _ := req.headers.Get("content-length")
	return &policy.Input{
		TenantID:   tenant.ID,
		Issuer:     tenant.Issuer,
		Identity:   identity,
		Method:     req.method,
		Host:       req.host,
		Segments:   req.segments,
		RawQuery:   req.query,
		Headers:    pairs(req.headers),
		Body:       policy.Body{ContentType: contentType, ContentLength: contentLength, Partial: m.Partial, Bytes: m.Body},
		Attributes: m.Attributes,
	}
}

// pairs converts name and value pairs between the packages that must not know
// each other.
func pairs[S ~[]T, T ~struct{ Name, Value string }](list S) []policy.Header {
	converted := make([]policy.Header, len(list))
	for i, pair := range list {
		converted[i] = policy.Header(pair)
	}
	return converted
}

// mutate adds to an allow what the policy and the configuration change in the
// request. The identity headers are already in the answer, and nobody else may
// name one of them.
func (a *Authorizer) mutate(d policy.Decision, c tenants.Credential, t *tenants.Tenant, req *request, answer *Answer) error {
	for _, h := range d.Headers {
		if a.headers.owns(h.Name) {
			return fmt.Errorf("the policy sets the identity header %q", h.Name)
		}
	}
	for _, name := range d.RemoveHeaders {
		if a.headers.owns(name) {
			return fmt.Errorf("the policy removes the identity header %q", name)
		}
	}
	a.headers.removeSpoofs(req.headers, answer)
	if a.stripToken {
		strip(c, t.Token, req.headers, answer)
	}
	answer.Headers = append(answer.Headers, d.Headers...)
	answer.RemoveHeaders = append(answer.RemoveHeaders, d.RemoveHeaders...)
	answer.ResponseHeaders = d.ResponseHeaders
	answer.SetQuery, answer.RemoveQuery = d.SetQuery, d.RemoveQuery
	return nil
}

// strip removes the credential that was used, and it alone, from the request.
func strip(c tenants.Credential, source tenants.TokenSource, headers tenants.Headers, answer *Answer) {
	if c.Header {
		answer.RemoveHeaders = append(answer.RemoveHeaders, strings.ToLower(source.Header))
	}
	if !c.Cookie {
		return
	}
	if rest, keep := source.Strip(headers); keep {
		rest = strings.ToValidUTF8(rest, "!") // as Envoy shows such bytes; protobuf can't carry them
		answer.Headers = append(answer.Headers, policy.Header{Name: "cookie", Value: rest})
	} else {
		answer.RemoveHeaders = append(answer.RemoveHeaders, "cookie")
	}
}

func subject(id *jwtverify.Identity) string {
	if id.Subject != "" {
		return id.Subject
	}
	return id.UserID
}
