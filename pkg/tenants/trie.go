package tenants

import (
	"net/http"
	"strings"
)

// node is a place in the tree of patterns, one level for each path segment.
type node struct {
	literal map[string]*node
	verbs   map[string]*node // {name}:verb
	longest int              // of the literals and the verbs
	wild    *node            // {name}

	end   *leaf // the pattern that ends here
	slash *leaf // the pattern that ends here with {$}
	rest  *leaf // the pattern that ends here with {name...} or a slash
}

// leaf is a pattern's end: the route, and where its wildcards stand.
type leaf struct {
	pattern
	index     int
	class     int // routes of one class have equal requirements
	multi     bool
	semicolon bool // of its own: the server behind takes it as it stands
	rival     bool // a pattern that ends in a slash may be the narrower one
	wilds     []wildcard
	workspace int   // of wilds, the one that Workspace names, counted from 1; 0: none
	queried   bool  // the workspace is in the query
	next      *leaf // of a folded tree: the same pattern, in another case
}

type wildcard struct {
	name string
	at   int  // the segment
	rest bool // all segments from there
	verb bool // the segment without its verb
}

// tree holds patterns by their method and segments.
type tree struct {
	any     node             // patterns without a method
	methods map[string]*node // by method
}

func (t *tree) insert(l *leaf) {
	root := &t.any
	if l.method != "" {
		root = t.methods[l.method]
		if root == nil {
			root = &node{}
			t.methods[l.method] = root
		}
	}
	for _, s := range l.segments {
		switch s.kind {
		case wildSegment:
			root = root.wildcard(s.verb)
		case literalSegment:
			root = root.child(&root.literal, s.text)
		case slashSegment:
			l.next, root.slash = root.slash, l
			return
		case restSegment:
			l.next, root.rest = root.rest, l
			return
		}
	}
	l.next, root.end = root.end, l
}

// child returns the node that a map of n has for a text, which it makes where
// there is none.
func (n *node) child(of *map[string]*node, text string) *node {
	if *of == nil {
		*of = map[string]*node{}
	}
	if (*of)[text] == nil {
		(*of)[text] = &node{}
	}
	n.longest = max(n.longest, len(text))
	return (*of)[text]
}

func (n *node) wildcard(verb string) *node {
	if verb != "" {
		return n.child(&n.verbs, verb)
	}
	if n.wild == nil {
		n.wild = &node{}
	}
	return n.wild
}

func newLeaf(index int, route *Route, p pattern) *leaf {
	l := &leaf{pattern: p, index: index}
	place, name := route.WorkspaceAt()
	l.queried = place == QueryPlace
	for i, s := range p.segments {
		switch {
		case s.kind == literalSegment:
			l.semicolon = l.semicolon || strings.Contains(s.text, ";")
		case s.kind == restSegment:
			l.multi = true
			if s.text != "" {
				l.wilds = append(l.wilds, wildcard{name: s.text, at: i, rest: true})
			}
		case s.kind == wildSegment:
			l.wilds = append(l.wilds, wildcard{name: s.text, at: i, verb: s.verb != ""})
			if place == PathPlace && s.text == name {
				l.workspace = len(l.wilds)
			}
		}
	}
	return l
}

// Match returns the route of a request with the given method and decoded path
// segments: "/" is [""], "/posts/" is ["posts", ""]. The path must be
// canonical: no segment but the last may be empty.
//
// Where ServeMux would redirect /tree to /tree/ there is no match: upstreams
// that serve both alike must not be reached past the pattern for /tree/.
//
// It allocates the params, and one string more where {name...} stands for
// several segments.
func (r *Routes) Match(method string, segments []string) (Match, bool) {
	l := r.lookup(method, segments)
	if l == nil {
		return Match{}, false
	}
	return Match{Route: &r.list[l.index], Index: l.index, Params: l.params(segments)}, true
}

func (t *tree) lookup(method string, segments []string) *leaf {
	l, exact := t.find(method, segments, false)
	if exact {
		return l
	}
	if _, redirect := t.find(method, segments, true); redirect {
		return nil
	}
	return l
}

// find looks for the method's own patterns first, and then for those of every
// method. slash asks for the path with a slash at its end. exact tells that
// the pattern describes the whole path, and not all that lies below another.
func (t *tree) find(method string, segments []string, slash bool) (l *leaf, exact bool) {
	l = t.methods[method].find(segments, 0, slash)
	if l == nil && method == http.MethodHead {
		l = t.methods[http.MethodGet].find(segments, 0, slash)
	}
	if l == nil {
		l = t.any.find(segments, 0, slash)
	}
	if l == nil {
		return nil, false
	}
	if !l.multi {
		return l, true
	}
	depth := len(segments)
	if slash {
		depth++
	}
	return l, len(l.segments) == depth && (slash || segments[len(segments)-1] == "")
}

// find goes down from segment i. More specific comes first: a literal, then
// {name}:verb, {name} and {name...}; a branch that leads nowhere is left again.
func (n *node) find(segments []string, i int, slash bool) *leaf {
	if n == nil {
		return nil
	}
	if i == len(segments) {
		if !slash {
			return n.end
		}
		if n.slash != nil {
			return n.slash
		}
		return n.rest
	}
	segment := segments[i]
	if segment == "" {
		if i < len(segments)-1 {
			return nil // "//": not canonical
		}
		if n.slash != nil {
			return n.slash
		}
		return n.rest
	}
	if l := n.literal[segment].find(segments, i+1, slash); l != nil {
		return l
	}
	if n.verbs != nil {
		if _, verb, ok := cutVerb(segment); ok {
			if l := n.verbs[verb].find(segments, i+1, slash); l != nil {
				return l
			}
		}
	}
	if l := n.wild.find(segments, i+1, slash); l != nil {
		return l
	}
	return n.rest
}

func (l *leaf) params(segments []string) []Param {
	if len(l.wilds) == 0 {
		return nil
	}
	params := make([]Param, len(l.wilds))
	for i, w := range l.wilds {
		params[i] = Param{Name: w.name, Value: w.value(segments)}
	}
	return params
}

func (w wildcard) value(segments []string) string {
	switch value := segments[w.at]; {
	case w.rest:
		return strings.Join(segments[w.at:], "/")
	case w.verb:
		name, _, _ := cutVerb(value)
		return name
	default:
		return value
	}
}
