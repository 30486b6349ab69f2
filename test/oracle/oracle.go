// Package oracle says how a request is to be answered: the contract of the
// documents as a short, slow specification. It shares no code with the service,
// none of its parsers and none of its tables, so that a mistake in one is not a
// mistake in the other. It reads the same configuration file and trusts that it
// is valid; what it does not know of (remote keys, Redis, bundles) it refuses.
//
// Where both differ, the documents say who is right.
package oracle

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Request is one HTTP request as Envoy describes it. Its headers are lines: a
// name may come more than once.
type Request struct {
	Method, Host, Path string
	Headers            [][2]string
	Extensions         map[string]string
}

// Answer is what the service owes to a request.
type Answer struct {
	Allowed bool
	Status  int // 200 for an allow
	Reason  string
	Set     map[string]string // headers that the upstream gets, whatever the client sent
	Removed []string          // headers that the upstream does not get; sorted
}

// Identity is whom a verified token speaks for.
type Identity struct {
	Subject, UserID, WorkspaceID, SessionID, ID string
	Roles, Scopes                               []string
	Issued                                      int64 // 0: the token does not say
	Claims                                      map[string]any
}

// Input is what a policy sees.
type Input struct {
	Tenant   string
	Identity *Identity // nil: no token
	Method   string
	Host     string
	Segments []string
	Plain    []string // Segments under all readings at once
	Query    map[string][]string
	Headers  map[string]string // lines of one name joined
	Route    *Route            // nil: none matches
	Params   map[string]string

	requested *reading
	unsure    bool // a server may read another workspace
}

// Decision is a policy's. The zero value denies.
type Decision struct {
	Allowed bool
	Reason  string
	Status  int               // of a denial; 0: the reason's own
	Set     map[string]string // headers, on an allow
	Removed []string          // headers, on an allow
}

// Policy decides about a request whose token, if any, was verified.
type Policy func(Input) Decision

// status is the README's table. A policy's own reasons are 403.
func status(reason string) int {
	switch reason {
	case "allowed":
		return 200
	case "invalid_request", "invalid_tenant":
		return 400
	case "token_not_found", "token_expired", "token_invalid", "token_revoked":
		return 401
	case "keys_unavailable", "overloaded":
		return 503
	case "policy_error", "internal":
		return 500
	}
	return 403
}

func deny(reason string) Answer { return Answer{Reason: reason, Status: status(reason)} }

// Decide answers a request, step by step. The first step that refuses ends it.
func (o *Oracle) Decide(r Request, now time.Time) Answer {
	// 1. One reading of the request, or none.
	q, ok := read(r)
	if !ok || o.connectionTakesAway(q) {
		return deny("invalid_request")
	}
	// 2. The tenant, before any token is read.
	t := o.tenant(q)
	if t == nil {
		return deny("invalid_tenant")
	}
	// 3. Its one credential.
	cred, refusal := t.credential(q)
	if refusal == "" && q.hasControlBesideToken() {
		refusal = "invalid_request"
	}
	if refusal != "" {
		return deny(refusal)
	}
	// 4. Whom the token speaks for. One that is bad is refused on a public route too.
	var id *Identity
	if cred.token != "" {
		if id, refusal = t.verify(cred.token, now); refusal != "" {
			return deny(refusal)
		}
		if o.revoked(t, id) {
			return deny("token_revoked")
		}
	}
	// 5. What the upstream learns of it.
	set, removed, ok := o.identityHeaders(t.id, id)
	if !ok {
		return deny("token_invalid")
	}
	// 6. The route, and 7. the policy.
	in := Input{
		Tenant: t.id, Identity: id, Method: q.method, Host: q.host, Segments: q.segments, Plain: plain(q.segments),
		Query: q.queryValues(), Headers: q.joinedHeaders(), requested: q,
	}
	if found, unsure := t.route(q); found != nil {
		in.Route, in.Params, in.unsure = found.route, found.params(), unsure
	}
	d := o.policy(in)
	if !d.Allowed {
		if d.Reason == "" {
			d.Reason = "policy_denied"
		}
		answer := deny(d.Reason)
		if d.Status != 0 {
			answer.Status = d.Status
		}
		return answer
	}
	// 8. What changes in the request.
	for _, name := range append(keys(d.Set), d.Removed...) {
		if anyIs(o.owned(), name) { // the identity's alone
			return deny("policy_error")
		}
	}
	for _, name := range o.spoofs(q) {
		if _, sets := d.Set[name]; !sets { // the policy's own stands there
			removed = append(removed, name)
		}
	}
	if !o.file.ForwardToken {
		t.strip(q, cred, d, set, &removed)
	}
	for name, value := range d.Set {
		if !slices.Contains(d.Removed, name) {
			set[name] = value
		}
	}
	removed = append(removed, d.Removed...)
	sort.Strings(removed)
	return Answer{Allowed: true, Status: 200, Reason: "allowed", Set: set, Removed: slices.Compact(removed)}
}

// identityHeaders returns what is set and what is removed, so that a client's
// value never stands there. ok is false where the identity can't be headers.
func (o *Oracle) identityHeaders(tenant string, id *Identity) (set map[string]string, removed []string, ok bool) {
	names, set := o.file.IdentityHeaders, map[string]string{}
	put := func(name, value string) {
		switch name = strings.ToLower(name); {
		case name == "":
		case value == "":
			removed = append(removed, name)
		default:
			set[name] = value
		}
	}
	values := map[string]string{}
	if id != nil {
		roles, rolesFit := joined(id.Roles, ",")
		scopes, scopesFit := joined(id.Scopes, " ")
		if !rolesFit || !scopesFit || !visible(id.UserID) || !visible(id.WorkspaceID) || hasControl(id.Subject) || len(id.Subject) > 4096 {
			return nil, nil, false
		}
		values = map[string]string{"user": id.UserID, "tenant": tenant, "workspace": id.WorkspaceID, "roles": roles, "scopes": scopes}
	}
	put(names.UserID, values["user"])
	put(names.TenantID, values["tenant"])
	put(names.WorkspaceID, values["workspace"])
	put(names.Roles, values["roles"])
	put(names.Scopes, values["scopes"])
	for header, claim := range names.Claims {
		value := ""
		if id != nil {
			var fits bool
			if value, fits = claimText(id.Claims[claim]); !fits {
				return nil, nil, false
			}
		}
		put(header, value)
	}
	return set, removed, true
}

// joined refuses what would become another list than it was.
func joined(list []string, separator string) (string, bool) {
	size := 0
	for _, element := range list {
		if size += len(element) + 1; !visible(element) || strings.Contains(element, separator) || size > 8192 {
			return "", false
		}
	}
	return strings.Join(list, separator), true
}

// claimText is a scalar's, percent-encoded where it is not visible ASCII.
func claimText(claim any) (text string, ok bool) {
	switch claim := claim.(type) {
	case bool, number:
		text = fmt.Sprint(claim)
	case string:
		for _, c := range []byte(claim) {
			switch {
			case c < ' ' || c == 0x7f:
				return "", false
			case c == ' ' || c > 0x7f || c == '%':
				text += fmt.Sprintf("%%%02X", c)
			default:
				text += string(c)
			}
		}
	}
	return text, len(text) <= 4096
}

func visible(s string) bool {
	return len(s) <= 4096 && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// owned are the lower-case names of all identity headers.
func (o *Oracle) owned() (names []string) {
	h := o.file.IdentityHeaders
	for _, name := range append([]string{h.UserID, h.TenantID, h.WorkspaceID, h.Roles, h.Scopes}, keys(h.Claims)...) {
		if name != "" {
			names = append(names, strings.ToLower(name))
		}
	}
	return names
}

// meant are the lower-case names of all headers that the configuration gives a
// meaning: those of identities, and those that tenants, tokens and workspaces
// are read from.
func (o *Oracle) meant() []string {
	names := append(o.owned(), strings.ToLower(o.file.TenantSelection.Header))
	for _, t := range o.tenants {
		names = append(names, strings.ToLower(t.Header.Type))
		if t.Header.Cookie != "" {
			names = append(names, "cookie")
		}
		for _, r := range t.Routes {
			if name, found := strings.CutPrefix(r.Workspace, "header:"); found {
				names = append(names, strings.ToLower(name))
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// owns tells whether some server reads the name as one of those: each sign may
// be a dash or an underscore to it.
func (o *Oracle) owns(name string) bool {
	return anyIs(o.meant(), name)
}

func anyIs(names []string, name string) bool {
	return slices.ContainsFunc(names, func(own string) bool { return sameToServers(own, name) })
}

func sameToServers(a, b string) bool {
	signs := func(s string) string {
		return strings.Map(func(c rune) rune {
			if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
				return c
			}
			return '_'
		}, strings.ToLower(s))
	}
	return signs(a) == signs(b)
}

// spoofs are the headers of the request that somebody behind us could read as
// headers with a meaning, or as Envoy's word about us.
func (o *Oracle) spoofs(q *reading) (names []string) {
	for _, h := range q.headers {
		ours := h[0] == "x-envoy-auth-failure-mode-allowed" || h[0] == "x-envoy-auth-headers-to-remove"
		if ours || o.owns(h[0]) && !slices.Contains(o.meant(), h[0]) {
			names = append(names, h[0])
		}
	}
	return names
}

func keys[V any](m map[string]V) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}
