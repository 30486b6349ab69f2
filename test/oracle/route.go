package oracle

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// readings are what the servers behind may do to a path before they route it.
type readings []string

var allReadings = readings{"slash", "parameters", "case", "extension", "trailing"}

// route returns the route of a request, nil where none matches: a path that a
// server could read as one of another route, which asks for other things,
// matches none. unsure tells that the workspace in the path is read differently.
func (t *tenant) route(q *reading) (found *fitting, unsure bool) {
	found = t.match(q.method, q.segments)
	if found == nil {
		return nil, false
	}
	for _, path := range t.spellings(q.segments) {
		others := t.servedBy(q.method, path.segments, false)
		if t.reads("case") {
			others = append(others, t.servedBy(q.method, path.segments, true)...)
		}
		// To nothing that we know of: but a ";" in the pattern is for a server that leaves it alone.
		own, _ := url.PathUnescape(found.route.Match)
		if len(others) == 0 && path.parameters && !strings.Contains(own, ";") {
			return nil, false
		}
		for _, other := range others {
			if !sameNeeds(found.route, other.route) {
				return nil, false
			}
			name := strings.Trim(found.route.Workspace, "{}")
			unsure = unsure || found.params()[name] != other.params()[name]
		}
	}
	// To some servers the query begins at a ";" in the path.
	if strings.HasPrefix(found.route.Workspace, "query:") && t.reads("parameters") && strings.Contains(strings.Join(q.segments, ""), ";") {
		return found, true
	}
	return found, unsure
}

func (t *tenant) reads(name string) bool { return slices.Contains(*t.PathReadings, name) }

// sameNeeds compares all of two routes but their patterns.
func sameNeeds(a, b *Route) bool {
	needs := func(r *Route) Route {
		c := *r
		c.Match = ""
		for _, set := range []*[]string{&c.Scopes, &c.AnyScope, &c.Roles, &c.AllRoles} {
			*set = slices.Compact(slices.Sorted(slices.Values(*set)))
		}
		if strings.HasPrefix(c.Workspace, "header:") {
			c.Workspace = strings.ToLower(c.Workspace)
		}
		return c
	}
	return reflect.DeepEqual(needs(a), needs(b))
}

// spelling is what a server could make of a path.
type spelling struct {
	segments   []string
	parameters bool // were dropped
}

// spellings are all that the readings in force make of a path, alone and one
// after the other.
func (t *tenant) spellings(path []string) []spelling {
	all := []spelling{{segments: path}}
	for i := 0; i < len(all); i++ {
		for name, rewrite := range rewrites {
			from := all[i]
			to := spelling{rewrite(from.segments), from.parameters || name == "parameters"}
			same := func(s spelling) bool { return reflect.DeepEqual(s, to) }
			if t.reads(name) && !slices.Equal(to.segments, from.segments) && !slices.ContainsFunc(all, same) {
				all = append(all, to)
			}
		}
	}
	return all
}

// rewrites say what each reading makes of a path; that of case is how names
// compare.
var rewrites = map[string]func(path []string) []string{
	"slash": func(path []string) []string {
		if n := len(path); n > 1 && path[n-1] == "" {
			return path[:n-1]
		}
		return path
	},
	"parameters": func(path []string) []string {
		return each(path, func(s string) string { name, _, _ := strings.Cut(s, ";"); return name })
	},
	"trailing": func(path []string) []string {
		return each(path, func(s string) string { return strings.TrimRight(s, ". ") })
	},
	"extension": withoutExtension,
}

// each rewrites all segments. Of those that nothing is left of, the last one
// alone stays: "/;x/admin" is "/admin" to some.
func each(path []string, rewrite func(string) string) (out []string) {
	for i, s := range path {
		if s = rewrite(s); s != "" || i == len(path)-1 {
			out = append(out, s)
		}
	}
	return out
}

func withoutExtension(path []string) []string {
	out := slices.Clone(path)
	last := &out[len(out)-1]
	if i := strings.LastIndexByte(*last, '.'); i >= 0 {
		*last = (*last)[:i]
	}
	return out
}

// plain is what is left of a path when all of it was done to it, and case folded:
// extensions are those of the last segment with a name.
func plain(path []string) []string {
	for {
		out := rewrites["trailing"](rewrites["parameters"](path))
		last := len(out) - 1
		if last > 0 && out[last] == "" {
			last--
		}
		copy(out, withoutExtension(out[:last+1]))
		for i := range out {
			out[i] = strings.Map(folded, out[i])
		}
		if slices.Equal(path, out) {
			return out
		}
		path = out
	}
}

// folded is the lower-case one of the letters that simple folding takes as equal.
func folded(r rune) rune {
	if strings.ContainsRune("İı", r) { // "i" to those who map letter by letter
		return 'i'
	}
	least, lower := r, unicode.ToLower(unicode.ToUpper(r))
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		least = min(least, other)
	}
	if lower == r || strings.EqualFold(string(lower), string(r)) {
		return lower
	}
	return least
}

// sameLetters tells whether two texts are one where case is ignored.
func sameLetters(a, b string) bool {
	return strings.EqualFold(strings.Map(folded, a), strings.Map(folded, b))
}

// fitting is a route whose pattern fits a path.
type fitting struct {
	route *Route
	path  []string
	kinds []int // of the pattern's segments, the less the more specific
	how   int   // the same of its method
}

// match returns the most specific route that the path fits, as http.ServeMux
// has it, but without redirects: "/tree" fits no broader pattern where there is
// one for "/tree/".
func (t *tenant) match(method string, path []string) *fitting {
	fits := t.narrowest(method, path, false)
	if len(fits) == 0 || fits[0].isSubtree() && len(t.slashed(method, path, false)) > 0 {
		return nil
	}
	return fits[0]
}

// servedBy are the routes that a server could take for a path. Without a slash
// at its end, "/tree" is "/tree/" to one that redirects, and to one that ignores
// slashes, but where both patterns are there to differ.
func (t *tenant) servedBy(method string, path []string, ignoreCase bool) []*fitting {
	fits := t.narrowest(method, path, ignoreCase)
	slashed := t.slashed(method, path, ignoreCase)
	exact := slices.ContainsFunc(fits, func(f *fitting) bool { return !f.isSubtree() })
	switch {
	case !exact && len(slashed) > 0:
		return slashed
	case !exact || !t.reads("slash"):
		return fits
	}
	all := fits
	for _, s := range slashed {
		if !slices.ContainsFunc(fits, s.isPairOf) {
			all = append(all, s)
		}
	}
	return all
}

// slashed are those for the path with a slash at its end, and for no path above it.
func (t *tenant) slashed(method string, path []string, ignoreCase bool) []*fitting {
	if path[len(path)-1] == "" {
		return nil
	}
	fits := t.narrowest(method, append(slices.Clone(path), ""), ignoreCase)
	return slices.DeleteFunc(fits, func(f *fitting) bool { return len(f.kinds) != len(path)+1 })
}

// narrowest are those that fit, without what is broader than another one. In a
// configuration without conflicts and with case it is one at most.
func (t *tenant) narrowest(method string, path []string, ignoreCase bool) []*fitting {
	var fits []*fitting
	for _, r := range t.Routes {
		if f := fit(r, method, path, ignoreCase); f != nil {
			fits = append(fits, f)
		}
	}
	all := slices.Clone(fits)
	return slices.DeleteFunc(fits, func(f *fitting) bool {
		return slices.ContainsFunc(all, func(g *fitting) bool { return f.covers(g) && !g.covers(f) })
	})
}

// covers tells whether f fits all requests that g does; both fit one.
func (f *fitting) covers(g *fitting) bool {
	for i, kind := range f.kinds {
		switch {
		case kind == rest:
			return f.how >= g.how
		case g.kinds[i] > kind:
			return false
		}
	}
	return f.how >= g.how
}

// isPairOf tells whether the pattern, which ends in a slash, without it covers g.
func (f *fitting) isPairOf(g *fitting) bool {
	for i, kind := range g.kinds {
		if i >= len(f.kinds)-1 || kind > f.kinds[i] {
			return false
		}
	}
	return true
}

func (f *fitting) isSubtree() bool { return f.kinds[len(f.kinds)-1] == rest }

// pattern splits "GET /a/{b}" into its method and its segments.
func pattern(match string) (method string, segments []string) {
	if i := strings.IndexAny(match, " \t"); i >= 0 {
		method, match = match[:i], strings.TrimLeft(match[i:], " \t")
	}
	return method, strings.Split(match[1:], "/")
}

func isRest(segment string) bool { return segment == "" || strings.HasSuffix(segment, "...}") }

const literal, verb, wildcard, rest = 0, 1, 2, 3

// fit returns nil where the route's pattern does not match. {name}:verb fits what
// ends in ":verb", and names what is before it.
func fit(r *Route, method string, path []string, ignoreCase bool) *fitting {
	f := &fitting{route: r, path: path}
	want, segments := pattern(r.Match)
	switch {
	case want == method:
	case want == "GET" && method == "HEAD":
		f.how = 1
	case want == "":
		f.how = 2
	default:
		return nil
	}
	for i, s := range segments {
		last := i == len(segments)-1
		text, _ := url.PathUnescape(s)
		switch {
		case i >= len(path):
			return nil
		case last && isRest(s):
			f.kinds = append(f.kinds, rest)
			return f
		case s == "{$}" && path[i] == "":
			f.kinds = append(f.kinds, literal)
		case s == "{$}" || path[i] == "":
			return nil
		case strings.HasSuffix(s, "}"):
			f.kinds = append(f.kinds, wildcard)
		case strings.HasPrefix(s, "{"):
			_, want, _ := strings.Cut(s, "}")
			at := strings.LastIndexByte(path[i], ':')
			if at < 1 || path[i][at:] != want && !(ignoreCase && sameLetters(path[i][at:], want)) {
				return nil
			}
			f.kinds = append(f.kinds, verb)
		case text == path[i] || ignoreCase && sameLetters(text, path[i]):
			f.kinds = append(f.kinds, literal)
		default:
			return nil
		}
	}
	if len(path) > len(segments) {
		return nil
	}
	return f
}

// params are what the wildcards of the pattern stand for.
func (f *fitting) params() map[string]string {
	all := map[string]string{}
	_, segments := pattern(f.route.Match)
	for i, s := range segments {
		inside, isWild := strings.CutPrefix(s, "{")
		name, end, _ := strings.Cut(inside, "}")
		if above, multi := strings.CutSuffix(name, "..."); multi {
			all[above] = strings.Join(f.path[i:], "/")
		} else if isWild && name != "$" {
			all[name] = f.path[i][:len(f.path[i])-len(end)]
		}
	}
	return all
}
