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
// matches none.
func (t *tenant) route(q *reading) (*Route, map[string]string) {
	found := t.match(q.method, q.segments, false)
	if found == nil {
		return nil, nil
	}
	for _, ignoreCase := range []bool{false, slices.Contains(*t.PathReadings, "case")} {
		for _, path := range t.spellings(q.segments) {
			if other := t.match(q.method, path, ignoreCase); other != nil && !sameNeeds(found, other) {
				return nil, nil
			}
		}
	}
	return found, params(found.Match, q.segments)
}

// sameNeeds compares all of two routes but their patterns.
func sameNeeds(a, b *Route) bool {
	x, y := *a, *b
	x.Match, y.Match = "", ""
	return reflect.DeepEqual(x, y)
}

// spellings are all paths that the readings in force make of one, alone and one
// after the other.
func (t *tenant) spellings(path []string) [][]string {
	all := [][]string{path}
	for i := 0; i < len(all); i++ {
		for _, name := range *t.PathReadings {
			for _, other := range rewrites[name](all[i]) {
				if !slices.ContainsFunc(all, func(p []string) bool { return slices.Equal(p, other) }) {
					all = append(all, other)
				}
			}
		}
	}
	return all
}

// rewrites say what each reading makes of a path.
var rewrites = map[string]func(path []string) [][]string{
	"case": func([]string) [][]string { return nil }, // it changes how names compare
	"slash": func(path []string) [][]string {
		if n := len(path); n > 1 && path[n-1] == "" {
			return [][]string{path[:n-1]}
		}
		return nil
	},
	"parameters": func(path []string) [][]string {
		return [][]string{each(path, func(s string) string { name, _, _ := strings.Cut(s, ";"); return name })}
	},
	"trailing": func(path []string) [][]string {
		return [][]string{each(path, func(s string) string { return strings.TrimRight(s, ". ") })}
	},
	"extension": func(path []string) [][]string { return [][]string{withoutExtension(path)} },
}

// each rewrites all segments. Of those that nothing is left of, the last one
// alone stays: "/;x/admin" is "/admin" to some.
func each(path []string, rewrite func(string) string) []string {
	var out []string
	for _, s := range path {
		out = append(out, rewrite(s))
	}
	return withoutEmpty(out)
}

func withoutEmpty(path []string) (out []string) {
	for i, s := range path {
		if s != "" || i == len(path)-1 {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return []string{""}
	}
	return out
}

func withoutExtension(path []string) []string {
	out := slices.Clone(path)
	last := &out[len(out)-1]
	if i := strings.LastIndexByte(*last, '.'); i > 0 {
		*last = (*last)[:i]
	}
	return out
}

// plain is what a path looks like when everything was done to it.
func plain(path []string) []string {
	out := slices.Clone(path)
	for {
		before := slices.Clone(out)
		out = rewrites["parameters"](out)[0]
		out = rewrites["trailing"](out)[0]
		out = withoutExtension(out)
		for i := range out {
			out[i] = strings.Map(folded, out[i])
		}
		if slices.Equal(before, out) {
			return out
		}
	}
}

// folded is the lower-case one of the letters that simple folding takes as equal.
func folded(r rune) rune {
	least, lower := r, unicode.ToLower(unicode.ToUpper(r))
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		least = min(least, other)
	}
	if lower == r || strings.EqualFold(string(lower), string(r)) {
		return lower
	}
	return least
}

// match returns the most specific route that the path fits, as http.ServeMux
// has it, but without redirects: where "/tree/" is a pattern that "/tree" would
// be led to, "/tree" fits none that is broader.
func (t *tenant) match(method string, path []string, ignoreCase bool) *Route {
	best := t.best(method, path, ignoreCase)
	if last := path[len(path)-1]; best == nil || last == "" || !isSubtree(best.Match) {
		return best
	}
	redirect := t.best(method, append(slices.Clone(path), ""), ignoreCase)
	if redirect != nil && describes(redirect.Match, len(path)+1) {
		return nil
	}
	return best
}

func (t *tenant) best(method string, path []string, ignoreCase bool) (best *Route) {
	var least []int
	for _, r := range t.Routes {
		if rank, fits := fit(r.Match, method, path, ignoreCase); fits && (best == nil || slices.Compare(rank, least) < 0) {
			best, least = r, rank
		}
	}
	return best
}

// pattern splits "GET /a/{b}" into its method and its segments.
func pattern(match string) (method string, segments []string) {
	if i := strings.IndexAny(match, " \t"); i >= 0 {
		method, match = match[:i], strings.TrimLeft(match[i:], " \t")
	}
	return method, strings.Split(match[1:], "/")
}

func isRest(segment string) bool { return segment == "" || strings.HasSuffix(segment, "...}") }

func isSubtree(match string) bool {
	_, segments := pattern(match)
	return isRest(segments[len(segments)-1])
}

// describes tells whether a pattern stands for a path of so many segments, the
// last one empty, and not for all that is below another.
func describes(match string, length int) bool {
	_, segments := pattern(match)
	return len(segments) == length
}

// fit tells whether a pattern matches, and how specific it is: the less the
// more. Of two patterns that match one request, one is always more specific
// than the other in a configuration without conflicts.
func fit(match, method string, path []string, ignoreCase bool) (rank []int, fits bool) {
	const literal, wildcard, rest = 0, 1, 2
	want, segments := pattern(match)
	for i, s := range segments {
		switch last := i == len(segments)-1; {
		case i >= len(path):
			return nil, false
		case last && isRest(s):
			rank = append(rank, rest)
		case last && i < len(path)-1:
			return nil, false
		case s == "{$}":
			rank, fits = append(rank, literal), path[i] == ""
			if !fits {
				return nil, false
			}
		case path[i] == "":
			return nil, false
		case strings.HasPrefix(s, "{"):
			rank = append(rank, wildcard)
		default:
			text, _ := url.PathUnescape(s)
			if text != path[i] && !(ignoreCase && strings.EqualFold(text, path[i])) {
				return nil, false
			}
			rank = append(rank, literal)
		}
	}
	switch {
	case want == method:
		return append(rank, 0), true
	case want == "GET" && method == "HEAD":
		return append(rank, 1), true
	}
	return append(rank, 2), want == ""
}

// params are what the wildcards of a pattern stand for.
func params(match string, path []string) map[string]string {
	all := map[string]string{}
	_, segments := pattern(match)
	for i, s := range segments {
		name := strings.Trim(s, "{}")
		if rest, multi := strings.CutSuffix(name, "..."); multi {
			all[rest] = strings.Join(path[i:], "/")
		} else if s != name && s != "{$}" {
			all[name] = path[i]
		}
	}
	return all
}
