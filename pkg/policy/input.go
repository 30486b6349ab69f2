package policy

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
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

	// Attributes returns the CheckRequest's attributes as protojson writes
	// them. It is called only for a policy that can read input.attributes, and
	// may be nil.
	Attributes func() (any, error)
}

// Route is a route as a policy sees it. Make one with NewRoute when the
// configuration is loaded: its terms are built once.
type Route struct {
	fields [][2]*ast.Term
}

// RouteFields are the members of input.route beside params.
type RouteFields struct {
	Match                             string
	Public                            bool
	Scopes, AnyScope, Roles, AllRoles []string
	Workspace, Access                 string
}

// NewRoute builds the terms of a route.
func NewRoute(f RouteFields) *Route {
	return &Route{fields: [][2]*ast.Term{
		item("match", ast.StringTerm(f.Match)),
		item("public", ast.InternedTerm(f.Public)),
		item("scopes", list(f.Scopes)),
		item("any_scope", list(f.AnyScope)),
		item("roles", list(f.Roles)),
		item("all_roles", list(f.AllRoles)),
		item("workspace", ast.StringTerm(f.Workspace)),
		item("access", ast.StringTerm(f.Access)),
	}}
}

func (r *Route) term(params []Header) *ast.Term {
	if r == nil {
		return ast.NullTerm()
	}
	o := ast.NewObject(r.fields...)
	p := ast.NewObject()
	for _, param := range params {
		p.Insert(ast.StringTerm(param.Name), ast.StringTerm(param.Value))
	}
	o.Insert(ast.StringTerm("params"), ast.NewTerm(p))
	return ast.NewTerm(o)
}

// version is what opa-envoy-plugin says of the same input.
var version = object(
	item("ext_authz", ast.StringTerm("v3")),
	item("encoding", ast.StringTerm("protojson")),
)

// value builds the input document. reads says which of the costly parts the
// policy can look at; the others are left out.
func (in *Input) value(reads reads) (ast.Value, error) {
	segments := list(in.Segments)
	query := queryTerm(in.RawQuery)
	doc := ast.NewObject(
		item("tenant", object(item("id", ast.StringTerm(in.TenantID)), item("issuer", ast.StringTerm(in.Issuer)))),
		item("request", object(
			item("method", ast.StringTerm(in.Method)),
			item("host", ast.StringTerm(in.Host)),
			item("path", ast.StringTerm("/"+strings.Join(in.Segments, "/"))),
			item("segments", segments),
			item("query", query),
			item("headers", headersTerm(in.Headers)),
		)),
		item("route", in.Route.term(in.Params)),
		item("parsed_path", segments),
		item("parsed_query", query),
		item("version", version),
	)
	identity, err := identityTerm(in.Identity)
	if err != nil {
		return nil, err
	}
	doc.Insert(ast.StringTerm("identity"), identity)
	if reads.body {
		body, truncated, err := in.Body.term()
		if err != nil {
			return nil, err
		}
		doc.Insert(ast.StringTerm("parsed_body"), body)
		doc.Insert(ast.StringTerm("truncated_body"), ast.InternedTerm(truncated))
	}
	if reads.attributes && in.Attributes != nil {
		native, err := in.Attributes()
		if err != nil {
			return nil, err
		}
		attributes, err := ast.InterfaceToValue(native)
		if err != nil {
			return nil, err
		}
		doc.Insert(ast.StringTerm("attributes"), ast.NewTerm(attributes))
	}
	return doc, nil
}

func identityTerm(id *jwtverify.Identity) (*ast.Term, error) {
	if id == nil {
		return ast.NullTerm(), nil
	}
	claims, err := ast.InterfaceToValue(id.Claims)
	if err != nil {
		return nil, err
	}
	exp := ast.NullTerm()
	if !id.Expiry.IsZero() {
		exp = ast.IntNumberTerm(int(id.Expiry.Unix()))
	}
	return object(
		item("sub", ast.StringTerm(id.Subject)),
		item("user_id", ast.StringTerm(id.UserID)),
		item("tenant_id", ast.StringTerm(id.TenantID)),
		item("workspace_id", ast.StringTerm(id.WorkspaceID)),
		item("roles", list(id.Roles)),
		item("scopes", list(id.Scopes)),
		item("token_type", ast.StringTerm(id.TokenType)),
		item("session_id", ast.StringTerm(id.SessionID)),
		item("exp", exp),
		item("claims", ast.NewTerm(claims)),
	), nil
}

// headersTerm joins lines of one name as Envoy does: with "; " for cookies,
// with "," for all others. Bytes that are no UTF-8 can't be in a Rego string
// and become U+FFFD.
func headersTerm(headers []Header) *ast.Term {
	lines := newGroups(len(headers))
	for _, h := range headers {
		lines.add(h.Name, strings.ToValidUTF8(h.Value, "\uFFFD"))
	}
	return lines.term(func(name string, values []string) *ast.Term {
		if len(values) == 1 {
			return ast.StringTerm(values[0])
		}
		separator := ","
		if name == "cookie" {
			separator = "; "
		}
		return ast.StringTerm(strings.Join(values, separator))
	})
}

// queryTerm reads a query into lists of values. A query is never refused: what
// doesn't decode to UTF-8 is kept as it was sent, and ";" is part of a value.
func queryTerm(raw string) *ast.Term {
	pairs := newGroups(0)
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pairs.add(unescapeQuery(name), unescapeQuery(value))
	}
	return pairs.term(func(_ string, values []string) *ast.Term { return list(values) })
}

// groups collects values by name, in the time of their number: a name that
// comes ten thousand times must not copy its list ten thousand times.
type groups struct {
	names  []string
	values map[string][]string
}

func newGroups(size int) *groups { return &groups{values: make(map[string][]string, size)} }

func (g *groups) add(name, value string) {
	values, ok := g.values[name]
	if !ok {
		g.names = append(g.names, name)
	}
	g.values[name] = append(values, value)
}

func (g *groups) term(join func(name string, values []string) *ast.Term) *ast.Term {
	o := ast.NewObjectWithCapacity(len(g.names))
	for _, name := range g.names {
		o.Insert(ast.StringTerm(name), join(name, g.values[name]))
	}
	return ast.NewTerm(o)
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

func list(values []string) *ast.Term {
	terms := make([]*ast.Term, len(values))
	for i, v := range values {
		terms[i] = ast.StringTerm(v)
	}
	return ast.ArrayTerm(terms...)
}
