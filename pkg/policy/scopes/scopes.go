// Package scopes is the USSO scope language in Go:
//
//	[action:]segment/segment[?key=pattern&key=pattern]
//
// A scope grants what it names and what stands below it. An action grants every
// action of a lower level; a path is compared from its end; segments and filter
// values are shell patterns. The rules are those of USSO's Python SDK, quirks
// included: a scope has to mean the same here as in the service behind. The
// same language in Rego is policies/usso/scopes.rego, and a test holds both to
// the same answers.
//
// Three rules surprise most readers. An unknown action counts as read on both
// sides, so "write:posts" does not grant "create" and "read:posts" does grant
// "write". A scope that is empty is "read:*". And a path says nothing about
// what stands before its first segment: "read:files" grants "x/y/files", and
// "read:x/files" grants "files".
package scopes

import "strings"

// Scope is one scope of a token, parsed. The zero value grants nothing. It is
// immutable and safe for concurrent use.
type Scope struct {
	level   int
	path    []Pattern
	filters []filter
}

type filter struct {
	key   string
	value Pattern
}

// Parse reads a scope. Every string is one: there is nothing to refuse.
func Parse(scope string) Scope {
	p := parse(scope)
	s := Scope{level: level(p.action), path: make([]Pattern, len(p.path))}
	for i, segment := range p.path {
		s.path[i] = Compile(segment)
	}
	for _, f := range p.query {
		s.filters = append(s.filters, filter{f.key, Compile(f.value)})
	}
	return s
}

// Access tells whether one of the scopes grants the action on the resource.
// action "" is read. resource is a path and taken as it is: a "?" or ":" in it
// has no meaning. With strict, paths of different lengths do not match.
func Access(scopes []string, action, resource string, filters Filters, strict bool) bool {
	return NewRequirement(action, resource, filters, strict).GrantedBy(scopes)
}

// Required tells whether one of the scopes grants what required names; see
// ParseRequirement.
func Required(scopes []string, required string) bool {
	return ParseRequirement(required).GrantedBy(scopes)
}

// parsed is a scope taken apart, before its patterns are compiled.
type parsed struct {
	action   string
	path     []string // "*" where a segment is empty
	query    []pair
	hasQuery bool // there is a "?"
}

func parse(scope string) parsed {
	head, query, hasQuery := strings.Cut(scope, "?")
	action, path, ok := strings.Cut(head, ":")
	if !ok {
		action, path = "", head
	}
	p := parsed{action: action, path: strings.Split(path, "/"), query: parseQuery(query), hasQuery: hasQuery}
	for i, segment := range p.path {
		if segment == "" {
			p.path[i] = "*"
		}
	}
	return p
}

// level ranks an action. Letter case matters.
func level(action string) int {
	switch action {
	case "none":
		return 0
	case "create":
		return 20
	case "update":
		return 30
	case "delete":
		return 40
	case "manage":
		return 50
	case "admin":
		return 60
	case "owner", "*":
		return 90
	case "superadmin":
		return 100
	default: // read, no action, and any that nobody knows
		return 10
	}
}
