package tenants

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// conflict returns how a pattern conflicts with one that is in the tree
// already, "" where it does not. ServeMux judges each pair; which pairs there
// are to judge, the tree knows. (A ServeMux of all patterns compares every one
// that ends in a slash or {name...} with every other: seconds for thousands.)
func (r *table) conflict(text string, p pattern) string {
	var meets []int
	collect := func(l *leaf) {
		if l != nil {
			meets = append(meets, l.index)
		}
	}
	r.any.meeting(p.segments, collect)
	for method, root := range r.methods {
		if p.method == "" || method == p.method || isGet(method) && isGet(p.method) {
			root.meeting(p.segments, collect)
		}
	}
	slices.Sort(meets)
	for _, i := range meets {
		mux := http.NewServeMux()
		first, second, same := judged(r.list[i].Match, text)
		mux.Handle(first, http.NotFoundHandler())
		said := register(mux, second)
		if said == "" {
			continue
		}
		detail := "" // ServeMux's first line names lines of our source
		if _, after, found := strings.Cut(said, "\n"); found && same {
			detail = " (" + strings.Join(strings.Fields(after), " ") + ")"
		}
		return fmt.Sprintf("%q conflicts with %q of routes[%d]: some requests match both, and neither is more specific%s; remove one or narrow it",
			text, r.list[i].Match, i, detail)
	}
	return ""
}

// judged returns two patterns that ServeMux, which has no verbs, judges as those
// with verbs are to each other. A segment {name}:verb is a wildcard where the
// other pattern has a literal with that verb, and a literal otherwise: narrower
// than {name}, and apart from every other one. same: they are what they were.
func judged(a, b string) (first, second string, same bool) {
	methodA, pathA, _ := splitPattern(a)
	methodB, pathB, _ := splitPattern(b)
	x, y := parseSegments(pathA), parseSegments(pathB)
	if x[len(x)-1].verb == "" && y[len(y)-1].verb == "" {
		return a, b, true
	}
	return strings.TrimSpace(methodA + " " + withoutVerb(pathA, x, y)), strings.TrimSpace(methodB + " " + withoutVerb(pathB, y, x)), false
}

func withoutVerb(path string, segments, other []segment) string {
	last := len(segments) - 1
	s := segments[last]
	if s.verb == "" {
		return path
	}
	before := path[:strings.LastIndexByte(path, '/')+1]
	if last < len(other) && other[last].kind == literalSegment && hasVerb(other[last].text, s.verb) {
		return before + "{" + s.text + "}"
	}
	return before + "-:" + s.verb
}

// isGet: a pattern for GET matches HEAD too.
func isGet(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// meeting calls collect for every pattern below n, nil for some, that a path of
// the given segments may match too.
func (n *node) meeting(segments []segment, collect func(*leaf)) {
	if n == nil {
		return
	}
	collect(n.rest)
	if len(segments) == 0 {
		collect(n.end)
		return
	}
	s, rest := segments[0], segments[1:]
	switch s.kind {
	case slashSegment:
		collect(n.slash)
	case restSegment:
		n.all(collect)
	case literalSegment:
		n.literal[s.text].meeting(rest, collect)
		if _, verb, ok := cutVerb(s.text); ok {
			n.verbs[verb].meeting(rest, collect)
		}
		n.wild.meeting(rest, collect)
	case wildSegment:
		for text, child := range n.literal {
			if s.verb == "" || hasVerb(text, s.verb) {
				child.meeting(rest, collect)
			}
		}
		for verb, child := range n.verbs {
			if s.verb == "" || s.verb == verb {
				child.meeting(rest, collect)
			}
		}
		n.wild.meeting(rest, collect)
	}
}

// all calls collect for every pattern below n.
func (n *node) all(collect func(*leaf)) {
	if n == nil {
		return
	}
	collect(n.end)
	collect(n.slash)
	collect(n.rest)
	for _, child := range n.literal {
		child.all(collect)
	}
	for _, child := range n.verbs {
		child.all(collect)
	}
	n.wild.all(collect)
}
