package tenants

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

// Routes finds the route of a request. It is immutable and safe for concurrent
// use; the cost of a Match depends on the path, not on the number of routes.
type Routes struct {
	*table
	readings Readings
}

// table is what a Routes shares with those of other readings.
type table struct {
	list []Route
	tree
	folded  *tree // the patterns in the one case that is compared with; tree itself where they are so
	uniform bool  // no reading can matter: all routes have equal requirements

	mu    sync.Mutex
	other map[Readings]*Routes
}

// Match is a route that was found, with what its wildcards stand for.
type Match struct {
	Route  *Route
	Index  int // in the list that made the Routes
	Params []Param

	// WorkspaceUnsure: another server could read another value for what the
	// route's Workspace names. No token fits both.
	WorkspaceUnsure bool
}

// Param is the value of one wildcard, decoded.
type Param = httpfield.Field

// NewRoutes returns the table of the routes in list. Where there are faults it
// returns all of them and no table; their fields start with the route's index:
// "[2].match".
//
// The pattern language is that of http.ServeMux, and it is ServeMux itself
// that judges every pattern and every conflict. A host part is refused, and so
// is a pattern that no canonical path can match. At the end of a path there is
// {name}:verb too, which is more specific than {name}.
//
// All readings are in force; see WithReadings.
func NewRoutes(list []Route) (*Routes, []Fault) {
	r := &table{list: slices.Clone(list), tree: tree{methods: map[string]*node{}}}
	var faults []Fault
	leaves := make([]*leaf, 0, len(list))
	for i := range r.list {
		route := &r.list[i]
		add := func(field, problem string) {
			faults = append(faults, Fault{fmt.Sprintf("[%d].%s", i, field), problem})
		}
		p, problem := parsePattern(route.Match)
		if problem == "" {
			problem = r.conflict(route.Match, p)
		}
		if problem != "" {
			add("match", problem)
		} else {
			l := newLeaf(i, route, p)
			r.insert(l)
			leaves = append(leaves, l)
		}
		checkNeeds(route, p, add)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	r.prepare(leaves)
	return r.with(AllReadings), nil
}

// Unreached is a route that no request reaches.
type Unreached struct {
	Index int
	// By is how another server could route what the route matches. nil: other
	// routes, which are more specific, match all of it.
	By *Misreading
}

// Unreachable returns the routes that no request reaches. Other routes that
// can't match are faults of NewRoutes.
func (r *Routes) Unreachable() (list []Unreached) {
	deepest := 0
	parsed := make([]pattern, len(r.list))
	for i := range r.list {
		method, path, _ := splitPattern(r.list[i].Match)
		parsed[i] = pattern{method: method, segments: parseSegments(path)}
		deepest = max(deepest, len(parsed[i].segments))
	}
	for i, p := range parsed {
		if by, reached := r.reaches(i, p, deepest); !reached {
			list = append(list, Unreached{i, by})
		}
	}
	return list
}

// reaches tries the paths that nobody else names: whatever takes them takes
// every other path of the pattern too. Below the deepest pattern nothing new
// begins.
func (r *Routes) reaches(index int, p pattern, deepest int) (by *Misreading, reached bool) {
	const nobodys = "\x00" // in no pattern, and in no request
	method := cmp.Or(p.method, nobodys)
	hits := func(path []string) bool {
		if l := r.lookup(method, path); l == nil || l.index != index {
			return false
		}
		misreading, found := r.Misreading(method, path)
		if found {
			by = &misreading
		}
		return !found
	}
	var path []string
	for _, s := range p.segments {
		switch s.kind {
		case literalSegment:
			path = append(path, s.text)
		case wildSegment:
			path = append(path, nobodys)
			if s.verb != "" {
				path[len(path)-1] += ":" + s.verb
			}
		case slashSegment:
			path = append(path, "")
		case restSegment:
			for below := path; len(below) <= deepest; {
				if hits(append(slices.Clip(below), "")) {
					return nil, true
				}
				below = append(below, nobodys)
				if hits(below) {
					return nil, true
				}
			}
			return by, false
		}
	}
	return by, hits(path)
}

// Len returns how many routes there are.
func (r *Routes) Len() int { return len(r.list) }

// Route returns the route with index i.
func (r *Routes) Route(i int) *Route { return &r.list[i] }

// Place is where a request names its workspace.
type Place int

// The places. NoPlace: the route asks for no workspace.
const (
	NoPlace Place = iota
	PathPlace
	HeaderPlace
	QueryPlace
)

// WorkspaceAt splits Workspace into a place and the name to look up there: of
// a path parameter, of a header (lower-case), of a query parameter.
func (r *Route) WorkspaceAt() (Place, string) {
	if name, ok := strings.CutPrefix(r.Workspace, "header:"); ok {
		return HeaderPlace, strings.ToLower(name)
	}
	if name, ok := strings.CutPrefix(r.Workspace, "query:"); ok {
		return QueryPlace, name
	}
	if len(r.Workspace) > 2 && r.Workspace[0] == '{' && r.Workspace[len(r.Workspace)-1] == '}' {
		return PathPlace, r.Workspace[1 : len(r.Workspace)-1]
	}
	return NoPlace, ""
}

// checkNeeds checks everything of a route but its pattern; p is the zero value
// where the pattern has a fault of its own.
func checkNeeds(route *Route, p pattern, add func(field, problem string)) {
	names := func(field string, list []string, forbidden, why string) {
		for i, name := range list {
			if problem := checkNeed(name, forbidden, why); problem != "" {
				add(fmt.Sprintf("%s[%d]", field, i), problem)
			}
		}
	}
	const scopeRule = "a blank separates scopes: write one scope an entry"
	const roleRule = "a comma separates roles: write one role an entry"
	names("scopes", route.Scopes, " ", scopeRule)
	names("any_scope", route.AnyScope, " ", scopeRule)
	names("roles", route.Roles, ",", roleRule)
	names("all_roles", route.AllRoles, ",", roleRule)
	if route.Access != "" && !isVisible(route.Access) {
		add("access", `is not visible ASCII without blanks: write "action:path", for example "update:media/files"`)
	}
	if problem := checkWorkspace(route, p); problem != "" {
		add("workspace", problem)
	}
	if route.Public && (len(route.Scopes)+len(route.AnyScope)+len(route.Roles)+len(route.AllRoles) > 0 ||
		route.Access != "" || route.Workspace != "") {
		add("public", "a public route needs no token, so it can't need anything of one: remove public or the requirements")
	}
}

func checkNeed(name, forbidden, why string) string {
	switch {
	case name == "":
		return "is empty: no token can hold it; write a name or remove the entry"
	case strings.Contains(name, forbidden):
		return why
	case !isVisible(name):
		return "is not visible ASCII: no identity header could carry it, so no token with it is accepted"
	}
	return ""
}

func checkWorkspace(route *Route, p pattern) string {
	if route.Workspace == "" {
		return ""
	}
	place, name := route.WorkspaceAt()
	switch place {
	case HeaderPlace:
		if !isHTTPToken(name) {
			return fmt.Sprintf("%q is no header name", name)
		}
	case QueryPlace:
		if name == "" {
			return `names no query parameter: write "query:workspace"`
		}
	case PathPlace:
		return checkWorkspaceParam(name, p)
	default:
		return `is none of "{param}", "header:Name" and "query:name"`
	}
	return ""
}

func checkWorkspaceParam(name string, p pattern) string {
	if p.segments == nil {
		return "" // the pattern's own fault is said already
	}
	for _, s := range p.segments {
		if s.text != name || s.kind != wildSegment && s.kind != restSegment {
			continue
		}
		if s.kind == restSegment {
			return fmt.Sprintf("{%s...} is the rest of the path, which is no workspace: use a {%s} of one segment", name, name)
		}
		return ""
	}
	return fmt.Sprintf("match has no {%s}", name)
}
