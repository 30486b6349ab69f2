package policy

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy/scopes"
)

// Input is what a policy can read about one request. It is built for each
// request and read once.
type Input struct {
	TenantID string
	Issuer   string // the tenant's first issuer

	Identity *jwtverify.Identity // nil: no token was sent

	Method   string
	Host     string   // canonical: lower-case, without port and trailing dot
	Segments []string // the path's segments, each decoded
	RawQuery string   // as sent, without the "?"
	Headers  []Header // lower-case names; a name may stand there more than once
	Body     Body

	Route  *Route // nil: no route matched
	Params []Header
	// WorkspaceUnsure: what the route's workspace names, in the path or the query,
	// could have another value for the server behind. It names no workspace then.
	WorkspaceUnsure bool

	// Attributes returns the CheckRequest's attributes as protojson writes
	// them. It is called only for a policy that can read input.attributes, and
	// may be nil.
	Attributes func() (any, error)
}

// Route is a route as a policy sees it. Make one with NewRoute when the
// configuration is loaded: its terms, and its part of a cache's key, are built
// once.
type Route struct {
	asked     RouteFields
	access    scopes.Requirement
	workspace workspaceSource
	fields    [len(routeFields)]routeField
}

type routeField struct {
	term *ast.Term
	key  []byte
}

// routeFields are the members of input.route, but for params.
var routeFields = [...]string{"match", "public", "scopes", "any_scope", "roles", "all_roles", "workspace", "access"}

// RouteFields are the members of input.route beside params.
type RouteFields struct {
	Match                             string
	Public                            bool
	Scopes, AnyScope, Roles, AllRoles []string
	Workspace, Access                 string
}

// NewRoute builds the terms of a route.
func NewRoute(f RouteFields) *Route {
	text := func(s string) routeField { return routeField{ast.StringTerm(s), appendString(nil, s)} }
	texts := func(l []string) routeField { return routeField{listTerm(l), appendStrings(nil, l)} }
	return &Route{
		asked:  f,
		access: scopes.ParseRequirement(f.Access),
		fields: [...]routeField{
			text(f.Match), {ast.InternedTerm(f.Public), appendBool(nil, f.Public)},
			texts(f.Scopes), texts(f.AnyScope), texts(f.Roles), texts(f.AllRoles),
			text(f.Workspace), text(f.Access),
		},
		workspace: parseWorkspace(f.Workspace),
	}
}

// namedWorkspace is what the rule of this name in the embedded policy gives.
func (in *Input) namedWorkspace() (id string, ok bool) {
	source := &in.Route.workspace
	switch source.kind {
	case '{':
		if in.WorkspaceUnsure {
			return "", false
		}
		for _, p := range in.Params {
			if p.Name == source.name {
				id, ok = p.Value, true
			}
		}
	case 'h':
		return source.inHeaders(in.Headers)
	case 'q':
		if in.WorkspaceUnsure {
			return "", false
		}
		return source.inQuery(in.RawQuery)
	}
	return id, ok
}

// permitted is what the rule of this name in the embedded policy gives.
func (in *Input) permitted() bool {
	if in.Route == nil || in.Route.asked.Public || in.Identity == nil {
		return in.Route != nil && in.Route.asked.Public
	}
	id, asked := in.Identity, &in.Route.asked
	return holdsAll(id.Scopes, asked.Scopes) &&
		(len(asked.AnyScope) == 0 || holdsAny(id.Scopes, asked.AnyScope)) &&
		(len(asked.Roles) == 0 || holdsAny(id.Roles, asked.Roles)) &&
		holdsAll(id.Roles, asked.AllRoles) &&
		(asked.Workspace == "" || in.ofNamedWorkspace()) &&
		(asked.Access == "" || in.Route.access.GrantedBy(id.Scopes))
}

func (in *Input) ofNamedWorkspace() bool {
	id, ok := in.namedWorkspace()
	return ok && id != "" && id == in.Identity.WorkspaceID
}

func holdsAll(held, asked []string) bool {
	return !slices.ContainsFunc(asked, func(name string) bool { return !slices.Contains(held, name) })
}

func holdsAny(held, asked []string) bool {
	return slices.ContainsFunc(asked, func(name string) bool { return slices.Contains(held, name) })
}

// version is what opa-envoy-plugin says of the same input.
var version = object(
	item("ext_authz", ast.StringTerm("v3")),
	item("encoding", ast.StringTerm("protojson")),
)

// errInput is the client's fault, and no failure of the policy: the part of the
// request that the policy reads is none that it can be given.
type errInput struct {
	part string
	err  error
}

func (e *errInput) Error() string { return "reading the " + e.part + ": " + e.err.Error() }
func (e *errInput) Unwrap() error { return e.err }

func inputError(part string, err error) error {
	if err == nil {
		return nil
	}
	return &errInput{part, err}
}

// bounds are those of the configuration on what a client may name.
type bounds struct{ queryNames, objectNames int }

// What bounds are where the configuration says nothing.
const (
	DefaultQueryNames  = 1000
	DefaultObjectNames = 10_000
)

func errNames(most int) error {
	return fmt.Errorf("more than %d names (limits.max_query_names)", most)
}

// headersTerm joins lines of one name as Envoy does. Bytes that are no UTF-8
// can't be in a Rego string and become U+FFFD.
func headersTerm(headers []Header, picks []pick) (*ast.Term, error) {
	lines := newGroups[string](len(picks))
	for _, h := range headers {
		if picked(picks, h.Name) {
			lines.add(h.Name, strings.ToValidUTF8(h.Value, "\uFFFD"))
		}
	}
	texts := textsFor(2 * len(headers))
	var err error
	term, nameErr := lines.term(texts, func(name string, values []string) *ast.Term {
		value, valueErr := texts.of(strings.Join(values, lineSeparator(name)))
		err = cmp.Or(err, valueErr)
		return value
	})
	return term, inputError("headers", cmp.Or(err, nameErr))
}

func lineSeparator(name string) string {
	if name == "cookie" {
		return "; "
	}
	return ","
}

// joinHeader returns the header's value as headersTerm has it.
func joinHeader(headers []Header, name string) (string, bool) {
	var first string
	var more []string
	found := false
	for _, h := range headers {
		switch value := strings.ToValidUTF8(h.Value, "\uFFFD"); {
		case h.Name != name:
		case found:
			more = append(more, value)
		default:
			first, found = value, true
		}
	}
	if more != nil {
		first += lineSeparator(name) + strings.Join(more, lineSeparator(name))
	}
	return first, found
}

// queryTerm reads a query into lists of values. A query is never refused for its
// form: what doesn't decode to UTF-8 is kept as it was sent.
func queryTerm(raw string, picks []pick, b *bounds) (*ast.Term, error) {
	if tooManyNames(raw, b.queryNames) {
		return nil, inputError("query", errNames(b.queryNames))
	}
	pairs := newGroups[*ast.Term](len(picks))
	texts := textsFor(2 + 2*strings.Count(raw, "&"))
	for name, value := range queryPairs(raw) {
		if name = unescapeQuery(name); picked(picks, name) {
			term, err := texts.of(unescapeQuery(value))
			if err != nil {
				return nil, inputError("query", err)
			}
			pairs.add(name, term)
		}
	}
	term, err := pairs.term(texts, listOf)
	return term, inputError("query", err)
}

// tooManyNames also counts the names that the policy does not read: servers pass
// over pairs behind a bound of their own, and would not see what the policy sees.
func tooManyNames(raw string, most int) bool {
	if strings.Count(raw, "&") < most {
		return false
	}
	names := make(map[string]struct{}, most)
	for name := range queryPairs(raw) {
		names[unescapeQuery(name)] = struct{}{}
		if len(names) > most {
			return true
		}
	}
	return false
}

// textsFor is a set for so many texts, nil where so few can do no harm.
func textsFor(n int) *textSet {
	if n <= fewTexts {
		return nil
	}
	return new(textSet)
}

func listOf(_ string, values []*ast.Term) *ast.Term { return ast.ArrayTerm(values...) }

func paramsTerm(q *question, picks []pick) (*ast.Term, error) {
	members := make([][2]*ast.Term, 0, len(q.in.Params))
	for _, p := range q.in.Params {
		if picked(picks, p.Name) {
			members = append(members, item(p.Name, ast.StringTerm(p.Value)))
		}
	}
	return object(members...), nil
}

// membersTerm builds what the picks lead to, in the objects that they lead
// through, or all of it.
func membersTerm(part string, v any, picks []pick) (*ast.Term, error) {
	if picks != nil {
		v = prune(v, picks)
	}
	if err := screen(v); err != nil {
		return nil, inputError(part, err)
	}
	value, err := ast.InterfaceToValue(v)
	if err != nil {
		return nil, err
	}
	return ast.NewTerm(value), nil
}

func prune(v any, picks []pick) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	below := map[string][]pick{}
	for _, p := range picks {
		if len(p) == 0 {
			return v
		}
		below[p[0]] = append(below[p[0]], p[1:])
	}
	pruned := make(map[string]any, len(below))
	for name, rest := range below {
		if member, ok := object[name]; ok {
			pruned[name] = prune(member, rest)
		}
	}
	return pruned
}

// groups collects values by name, in the time of their number: a name that
// comes ten thousand times must not copy its list ten thousand times.
type groups[T any] struct {
	names  []string
	values map[string][]T
}

func newGroups[T any](size int) groups[T] { return groups[T]{values: make(map[string][]T, size)} }

func (g *groups[T]) has(name string) bool { return g.values[name] != nil }

func (g *groups[T]) add(name string, value T) {
	values, ok := g.values[name]
	if !ok {
		g.names = append(g.names, name)
	}
	g.values[name] = append(values, value)
}

// term makes an object of names that texts has counted: Insert alone would take
// the square of those that collide.
func (g *groups[T]) term(texts *textSet, join func(name string, values []T) *ast.Term) (*ast.Term, error) {
	o := ast.NewObjectWithCapacity(len(g.names))
	for _, name := range g.names {
		key, err := texts.of(name)
		if err != nil {
			return nil, err
		}
		o.Insert(key, join(name, g.values[name]))
	}
	return ast.NewTerm(o), nil
}

// plain makes a map, whose hash nobody can foresee.
func (g *groups[T]) plain(join func(name string, values []T) any) map[string]any {
	m := make(map[string]any, len(g.names))
	for _, name := range g.names {
		m[name] = join(name, g.values[name])
	}
	return m
}

func unescapeQuery(s string) string {
	decoded, err := url.QueryUnescape(s)
	if err != nil || !utf8.ValidString(decoded) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return decoded
}

func item(key string, value *ast.Term) [2]*ast.Term {
	return ast.Item(ast.StringTerm(key), value)
}

func object(items ...[2]*ast.Term) *ast.Term { return ast.NewTerm(ast.NewObject(items...)) }

func listTerm(values []string) *ast.Term {
	terms := make([]*ast.Term, len(values))
	for i, v := range values {
		terms[i] = ast.StringTerm(v)
	}
	return ast.ArrayTerm(terms...)
}
