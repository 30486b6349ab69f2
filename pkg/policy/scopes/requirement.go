package scopes

import "strings"

// Requirement is an access that a request needs. The zero value is granted by
// no scope. It is immutable and safe for concurrent use.
type Requirement struct {
	level   int
	path    []string
	filters Filters
	strict  bool
}

// NewRequirement asks for an action on a resource, as Access does.
func NewRequirement(action, resource string, filters Filters, strict bool) Requirement {
	if filters == nil {
		filters = Filters{nil}
	}
	return Requirement{level(action), strings.Split(resource, "/"), filters, strict}
}

// ParseRequirement reads an access that is written as a scope, such as
// "update:media/files": without an action it is read, and an empty segment is
// "*". "read:files?owner=me" names the request's filters. Each is tried alone,
// so that a scope with two filters is never enough. A "?" that no filter
// follows, as in "files?owner=", is granted by nothing: a filter was meant.
func ParseRequirement(required string) Requirement {
	p := parse(required)
	r := Requirement{level: level(p.action), path: p.path, filters: Filters{nil}}
	if p.hasQuery {
		r.filters = Filters{}
		for _, f := range p.query {
			r.filters = append(r.filters, map[string]string{f.key: f.value})
		}
	}
	return r
}

// GrantedBy tells whether one of the scopes grants the access.
func (r Requirement) GrantedBy(scopes []string) bool {
	for _, scope := range scopes {
		if r.Granted(Parse(scope)) {
			return true
		}
	}
	return false
}

// Granted tells whether a parsed scope grants the access.
func (r Requirement) Granted(s Scope) bool {
	if s.level < r.level || !r.pathMatches(s.path) {
		return false
	}
	for _, given := range r.filters {
		if s.filtersMatch(given) {
			return true
		}
	}
	return false
}

// pathMatches compares from the right, over the length of the shorter path.
func (r Requirement) pathMatches(held []Pattern) bool {
	h, w := len(held), len(r.path)
	if h == 0 || w == 0 || r.strict && h != w {
		return false
	}
	wildcard := false
	for i := 1; i <= min(h, w); i++ {
		pattern, segment := held[h-i], r.path[w-i]
		// A request that leaves a segment open asks for any, but its last
		// segment names the resource and can't be left open.
		open := i > 1 && (segment == "" || segment == "*")
		if !open && !pattern.Match(segment) {
			return false
		}
		wildcard = wildcard || pattern.star
	}
	// What the request's path doesn't reach must be "*" throughout, but only
	// where a wildcard was met before.
	if wildcard {
		for i := range h - w {
			if held[i].text != "*" {
				return false
			}
		}
	}
	return true
}

func (s Scope) filtersMatch(given map[string]string) bool {
	for _, f := range s.filters {
		value, ok := given[f.key]
		if !ok || !f.value.Match(value) {
			return false
		}
	}
	return true
}
