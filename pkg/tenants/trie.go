package tenants

import (
	"net/http"
	"strings"
)

// node is a place in the tree of patterns, one level for each path segment.
type node struct {
	literal map[string]*node
	wild    *node // {name}

	end   *leaf // the pattern that ends here
	slash *leaf // the pattern that ends here with {$}
	rest  *leaf // the pattern that ends here with {name...} or a slash
}

// leaf is a pattern's end: the route, and where its wildcards stand.
type leaf struct {
	index    int
	segments int
	shape    string // the pattern's path without its end, wildcards without their names
	multi    bool
	wilds    []wildcard
}

type wildcard struct {
	name string
	at   int  // the segment
	rest bool // all segments from there
}

func (r *Routes) insert(index int, p pattern) {
	root := &r.any
	if p.method != "" {
		root = r.methods[p.method]
		if root == nil {
			root = &node{}
			r.methods[p.method] = root
		}
	}
	l := &leaf{index: index, segments: len(p.segments), shape: shape(p.segments)}
	for i, s := range p.segments {
		switch s.kind {
		case wildSegment:
			l.wilds = append(l.wilds, wildcard{name: s.text, at: i})
			if root.wild == nil {
				root.wild = &node{}
			}
			root = root.wild
		case literalSegment:
			if root.literal == nil {
				root.literal = map[string]*node{}
			}
			if root.literal[s.text] == nil {
				root.literal[s.text] = &node{}
			}
			root = root.literal[s.text]
		case slashSegment:
			root.slash = l
			return
		case restSegment:
			l.multi = true
			if s.text != "" {
				l.wilds = append(l.wilds, wildcard{name: s.text, at: i, rest: true})
			}
			root.rest = l
			return
		}
	}
	root.end = l
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

func (r *Routes) lookup(method string, segments []string) *leaf {
	l, exact := r.find(method, segments, false)
	if l == nil || exact || segments[len(segments)-1] == "" {
		return l
	}
	if _, redirect := r.find(method, segments, true); redirect {
		return nil
	}
	return l
}

// shape is equal for /posts/{id} and /posts/{post}/.
func shape(segments []segment) string {
	var b strings.Builder
	for _, s := range segments {
		switch s.kind {
		case literalSegment:
			b.WriteString("/" + s.text)
		case wildSegment:
			b.WriteString("//") // no literal is empty
		}
	}
	return b.String()
}

// Ambiguous tells whether another server could serve the request as the path
// of another route than the one that Match finds: one that ignores a slash at
// the end (Express, older Spring), or one that drops path parameters (";v=1",
// servlet containers). A broad pattern must not open a path that a narrower
// one guards.
//
// Two patterns that differ by the slash alone were meant to differ, and a
// pattern with a ";" of its own is for a server that takes it as it stands.
func (r *Routes) Ambiguous(method string, segments []string) bool {
	if !hasReadings(segments) {
		return false
	}
	l := r.lookup(method, segments)
	if l == nil {
		return false
	}
	readings := [][]string{trimSlash(segments)}
	if plain, found := trimParameters(segments); found && !strings.Contains(r.list[l.index].Match, ";") {
		readings = append(readings, plain, trimSlash(plain))
	}
	for i, reading := range readings {
		other := r.lookup(method, reading)
		if other != l && (other != nil && other.shape != l.shape || other == nil && i > 0) {
			return true
		}
	}
	return false
}

// hasReadings tells whether a path can be read in more than one way: hardly any
// can.
func hasReadings(segments []string) bool {
	for i, s := range segments {
		if s == "" && i > 0 || strings.IndexByte(s, ';') >= 0 {
			return true
		}
	}
	return false
}

// trimSlash returns the segments of the path without a slash at its end.
func trimSlash(segments []string) []string {
	if n := len(segments); n > 1 && segments[n-1] == "" {
		return segments[:n-1]
	}
	return segments
}

// trimParameters returns the segments without their parameters, and without
// those that are nothing but parameters: "/;x/admin" is "/admin" to some.
func trimParameters(segments []string) (plain []string, found bool) {
	for i, s := range segments {
		name, _, cut := strings.Cut(s, ";")
		found = found || cut
		if name != "" || i == len(segments)-1 {
			plain = append(plain, name)
		}
	}
	return plain, found
}

// find looks for the method's own patterns first, and then for those of every
// method. slash asks for the path with a slash at its end. exact tells that
// the pattern describes the whole path, and not all that lies below another.
func (r *Routes) find(method string, segments []string, slash bool) (l *leaf, exact bool) {
	l = r.methods[method].find(segments, 0, slash)
	if l == nil && method == http.MethodHead {
		l = r.methods[http.MethodGet].find(segments, 0, slash)
	}
	if l == nil {
		l = r.any.find(segments, 0, slash)
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
	return l, l.segments == depth && (slash || segments[len(segments)-1] == "")
}

// find goes down from segment i. More specific comes first: a literal, then
// {name}, then {name...}; a branch that leads nowhere is left again.
func (n *node) find(segments []string, i int, slash bool) *leaf {
	if n == nil || len(segments) == 0 {
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
		if i < len(segments)-1 || slash {
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
		value := segments[w.at]
		if w.rest {
			value = strings.Join(segments[w.at:], "/")
		}
		params[i] = Param{Name: w.name, Value: value}
	}
	return params
}
