package extauthz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Config is what an Authorizer decides by. Header names are used in any case.
type Config struct {
	Tenants *tenants.Directory // required
	Policy  *policy.Engine     // required
	Headers IdentityHeaders    // the zero value sets and removes none

	// StripToken removes the credential before the upstream.
	StripToken bool

	Revocations Revocations // nil: no token is ever revoked
}

// Revocations knows which verified tokens are refused all the same. Every request
// with a token calls it, so it must be fast, and safe for concurrent use.
type Revocations interface {
	// Revoked reports whether a verified token of tenant was revoked. An error
	// means that this can't be known now: the answer is KeysUnavailable.
	Revoked(tenant string, id *jwtverify.Identity) (bool, error)
}

// Authorizer is the whole decision about a request, free of protobuf. It is
// immutable and safe for concurrent use: a reload makes a new one.
type Authorizer struct {
	tenants     *tenants.Directory
	policy      *policy.Engine
	headers     *identityHeaders
	owned       ownedNames
	stripToken  bool
	routes      map[*tenants.Routes][]*policy.Route
	revocations Revocations
}

// NewAuthorizer checks the configuration and precomputes what all requests share.
func NewAuthorizer(cfg Config) (*Authorizer, error) {
	if cfg.Tenants == nil || cfg.Policy == nil {
		return nil, errors.New("an authorizer needs tenants and a policy")
	}
	a := &Authorizer{
		tenants:     cfg.Tenants,
		policy:      cfg.Policy,
		headers:     newIdentityHeaders(cfg.Headers),
		stripToken:  cfg.StripToken,
		routes:      map[*tenants.Routes][]*policy.Route{},
		revocations: cfg.Revocations,
	}
	for _, t := range cfg.Tenants.Tenants() {
		if t.Routes != nil && a.routes[t.Routes] == nil {
			a.routes[t.Routes] = policyRoutes(t.Routes)
		}
	}
	a.ownNames()
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

// Authorize decides about one request. It always returns an answer, whatever the
// message holds: a request that it can't decide about is denied with a reason.
func (a *Authorizer) Authorize(ctx context.Context, m *Message) *Answer {
	r := &checkState{}
	return a.withIdentityHeaders(a.authorize(ctx, m, r), r)
}

// withIdentityHeaders lists the identity headers of an allow. Over gRPC they are
// written from precomputed bytes instead, without such a list.
func (a *Authorizer) withIdentityHeaders(answer *Answer, r *checkState) *Answer {
	if answer.prepared == nil {
		return answer
	}
	f, err := a.headers.fields(r.identity, r.tenant.ID)
	if err != nil { // prepare found no error before
		return answer.deny(answers.TokenInvalid, err)
	}
	answer.Headers, answer.RemoveHeaders = append(f.set, answer.Headers...), append(f.remove, answer.RemoveHeaders...)
	answer.prepared = nil
	return answer
}

// authorize is Authorize with a given, zero state. The lists of an allow lack what is
// in answer.prepared.
func (a *Authorizer) authorize(ctx context.Context, m *Message, r *checkState) (answer *Answer) {
	answer = &r.answer
	// A bug of ours must not become a gRPC error, which failure_mode_allow turns
	// into an allow.
	defer func() {
		if p := recover(); p != nil {
			answer.deny(answers.Internal, fmt.Errorf("panic: %v", p)).finish(policy.Decision{}, nil, isGRPC(m))
		}
	}()
	defer r.record.complete(a, m, r) // after a panic too
	a.decide(ctx, m, r)
	if !answer.Allowed {
		answer.finish(r.decision, r.scopes(), isGRPC(m))
	}
	return answer
}

// checkState is the state of one check: what the stages so far have found, in one
// allocation. The fields of stages that were not reached are zero.
type checkState struct {
	answer     Answer
	req        *request
	tenant     *tenants.Tenant
	credential tenants.Credential
	identity   *jwtverify.Identity
	match      tenants.Match
	matched    bool
	ambiguous  bool // another server could match another route: none applies
	input      *policy.Input
	decision   policy.Decision
	lookup     jwtverify.Lookup // of the token, in the cache of verified ones
	record     *Record          // nil: there is no observer

	// Memory that answer.DecisionID, req and input point to.
	idBuffer      [36]byte
	requestBuffer request
	inputBuffer   policy.Input
}

// scopes returns the scopes that the route requires, for the denial's challenge.
func (r *checkState) scopes() []string {
	if !r.matched {
		return nil
	}
	return slices.Concat(r.match.Route.Scopes, r.match.Route.AnyScope)
}

// decide is the pipeline: each stage fills in the state, or denies and ends it.
func (a *Authorizer) decide(ctx context.Context, m *Message, r *checkState) {
	answer := &r.answer
	answer.DecisionID, answer.PolicyRevision = newDecisionID(&r.idBuffer), a.policy.Revision()
	// 1. Parse: a request that two servers could read differently is refused.
	if err := r.requestBuffer.parse(m); err != nil {
		answer.deny(answers.InvalidRequest, err)
		return
	}
	if err := a.owned.checkNominated(r.requestBuffer.headers); err != nil {
		answer.deny(answers.InvalidRequest, err)
		return
	}
	r.req = &r.requestBuffer
	r.record.endStage(StageParse)
	// 2. The tenant, before any token is read.
	var err error
	if r.tenant, err = a.tenants.Select(m.Extensions, r.req.headers, r.req.host); err != nil {
		answer.deny(answers.InvalidTenant, err)
		return
	}
	answer.Tenant = r.tenant.ID
	r.record.endStage(StageSelect)
	// 3. The tenant's credential, verified and not revoked.
	if reason, err := r.authenticate(ctx); err != nil {
		answer.deny(reason, err)
		return
	}
	if r.identity != nil {
		answer.Subject, answer.WorkspaceID = subject(r.identity), r.identity.WorkspaceID
	}
	if reason, err := a.revoked(r); err != nil {
		answer.deny(reason, err)
		return
	}
	if answer.prepared, err = a.headers.prepare(r.identity, r.tenant.ID); err != nil {
		answer.deny(answers.TokenInvalid, err)
		return
	}
	r.record.endStage(StageVerify)
	// 4. The route.
	r.buildInput(m)
	if r.findRoute(); r.matched {
		answer.Route = r.match.Route.Match
		r.input.Route = a.routes[r.tenant.Routes][r.match.Index]
		r.input.Params = r.match.Params
		r.input.WorkspaceUnsure = r.match.WorkspaceUnsure
	}
	r.record.endStage(StageMatch)
	// 5. The policy. After the deadline nobody waits for its answer, and the
	// denial must not be counted as an error of the policy.
	if err := ctx.Err(); err != nil {
		answer.deny(answers.Overloaded, err)
		return
	}
	r.decision = a.policy.Decide(ctx, r.input)
	r.record.endStage(StagePolicy)
	answer.Metadata = r.decision.Metadata
	if !r.decision.Allowed {
		answer.deny(r.decision.Reason, r.decision.Err)
		return
	}
	if err := a.mutate(r, answer); err != nil {
		r.decision = policy.Decision{}
		answer.deny(answers.PolicyError, err)
		return
	}
	// 6. The only place that allows.
	answer.Allowed, answer.Reason = true, answers.Allowed
}

// authenticate reads the tenant's credential and verifies it. Without one the
// identity is nil, and the policy decides whether that is enough.
func (r *checkState) authenticate(ctx context.Context) (reason answers.Reason, err error) {
	r.credential, err = r.tenant.Token.Credential(r.req.headers)
	if err != nil {
		if errors.Is(err, tenants.ErrAmbiguous) {
			return answers.InvalidRequest, err
		}
		return answers.TokenInvalid, err
	}
	if err := r.req.checkCredentialBytes(); err != nil {
		return answers.InvalidRequest, err
	}
	if r.credential.Token == "" {
		return "", nil
	}
	r.identity, r.lookup, err = r.tenant.Verifier.VerifyLookup(ctx, r.credential.Token)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, jwtverify.ErrKeysUnavailable):
		return answers.KeysUnavailable, err
	case errors.Is(err, jwtverify.ErrExpired):
		return answers.TokenExpired, err
	default:
		return answers.TokenInvalid, err
	}
}

var errRevoked = errors.New("the token was revoked")

// revoked checks every request: a cached token was verified before it was revoked.
func (a *Authorizer) revoked(r *checkState) (answers.Reason, error) {
	if a.revocations == nil || r.identity == nil {
		return "", nil
	}
	revoked, err := a.revocations.Revoked(r.tenant.ID, r.identity)
	switch {
	case err != nil:
		return answers.KeysUnavailable, err
	case revoked:
		return answers.TokenRevoked, errRevoked
	}
	return "", nil
}

// findRoute finds the route, unless a server behind could see another one: a trailing
// slash, a ";x" or a capital letter must not lead past the route /admin to /.
func (r *checkState) findRoute() {
	r.match, r.matched, r.ambiguous = r.tenant.Routes.Find(r.req.method, r.req.segments)
}

// buildInput fills in the policy's input.
func (r *checkState) buildInput(m *Message) {
	r.input = &r.inputBuffer
	*r.input = policy.Input{
		TenantID:   r.tenant.ID,
		Issuer:     r.tenant.Issuer,
		Identity:   r.identity,
		Method:     r.req.method,
		Host:       r.req.host,
		Segments:   r.req.segments,
		RawQuery:   r.req.query,
		Headers:    r.req.headers,
		Body:       r.body(m),
		Attributes: m.Attributes,
	}
}

// body describes the request's body. Of several lines of one header the upstream may
// use any, so they are joined.
func (r *checkState) body(m *Message) policy.Body {
	b := policy.Body{Partial: m.Partial, ContentLength: joinedLines(r.req.headers, "content-length")}
	// Envoy does not buffer the body of an upgrade such as a WebSocket, and a server
	// that ignores the upgrade reads that body.
	upgrade := joinedLines(r.req.headers, "upgrade")
	if len(m.Body) == 0 {
		b.Upgrade = upgrade != ""
		return b
	}
	b.Upgrade = strings.Contains(strings.ToLower(upgrade), "websocket")
	b.ContentType = joinedLines(r.req.headers, "content-type")
	b.ContentEncoding = joinedLines(r.req.headers, "content-encoding")
	b.Text, b.Bytes = m.BodyText, m.Body
	return b
}

// mutate adds to an allow the changes that policy and configuration make to the
// request. It is an error if the policy names an identity header.
func (a *Authorizer) mutate(r *checkState, answer *Answer) error {
	d := &r.decision
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
	// Envoy removes headers after it sets them, so a name in both lists would be
	// lost. A policy that sends its own token upstream therefore cancels the
	// removal of the credential. What the policy both sets and removes is removed.
	sets := func(name string) bool {
		return slices.ContainsFunc(d.Headers, func(h policy.Header) bool { return h.Name == name })
	}
	a.owned.removeSpoofs(r.req.headers, answer)
	answer.RemoveHeaders = slices.DeleteFunc(answer.RemoveHeaders, sets)
	if a.stripToken {
		headers, remove := stripCredential(r.credential, r.tenant.Token, r.req.headers)
		answer.Headers = append(answer.Headers, slices.DeleteFunc(headers, func(h policy.Header) bool {
			return sets(h.Name) || slices.Contains(d.RemoveHeaders, h.Name)
		})...)
		answer.RemoveHeaders = append(answer.RemoveHeaders, slices.DeleteFunc(remove, sets)...)
	}
	for _, h := range joinValues(d.Headers) {
		if !slices.Contains(d.RemoveHeaders, h.Name) {
			answer.Headers = append(answer.Headers, h)
		}
	}
	answer.RemoveHeaders = append(answer.RemoveHeaders, d.RemoveHeaders...)
	answer.ResponseHeaders = d.ResponseHeaders
	answer.SetQuery, answer.RemoveQuery = d.SetQuery, d.RemoveQuery
	return nil
}

// stripCredential removes the credential that was verified from the request, and no
// other. It returns the headers to set and those to remove.
func stripCredential(c tenants.Credential, source tenants.TokenSource, request tenants.Headers) (headers []policy.Header, remove []string) {
	if c.Header {
		remove = append(remove, strings.ToLower(source.Header))
	}
	if !c.Cookie {
		return nil, remove
	}
	rest, keep := source.Strip(request)
	if !keep {
		return nil, append(remove, "cookie")
	}
	rest = strings.ToValidUTF8(rest, "!") // as Envoy reports such bytes: protobuf strings can't hold them
	return []policy.Header{{Name: "cookie", Value: rest}}, remove
}

func subject(id *jwtverify.Identity) string {
	if id.Subject != "" {
		return id.Subject
	}
	return id.UserID
}
