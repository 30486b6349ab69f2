package oracle

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Default is the embedded policy: a route's conditions, all of them, and the
// first that fails is the reason.
func Default(in Input) Decision {
	r, id := in.Route, in.Identity
	has := func(list []string) func(string) bool { return func(s string) bool { return slices.Contains(list, s) } }
	all := func(wanted, held []string) bool {
		return !slices.ContainsFunc(wanted, func(s string) bool { return !slices.Contains(held, s) })
	}
	switch {
	case r == nil:
		return Decision{Reason: "no_route"}
	case r.Public:
		return Decision{Allowed: true}
	case id == nil:
		return Decision{Reason: "token_not_found"}
	case !all(r.Scopes, id.Scopes), len(r.AnyScope) > 0 && !slices.ContainsFunc(r.AnyScope, has(id.Scopes)):
		return Decision{Reason: "insufficient_scope"}
	case len(r.Roles) > 0 && !slices.ContainsFunc(r.Roles, has(id.Roles)), !all(r.AllRoles, id.Roles):
		return Decision{Reason: "insufficient_role"}
	case r.Workspace != "" && !in.ofWorkspace(r.Workspace, id.WorkspaceID):
		return Decision{Reason: "workspace_mismatch"}
	case r.Access != "" && !access(id.Scopes, r.Access):
		return Decision{Reason: "insufficient_scope"}
	}
	return Decision{Allowed: true}
}

// ofWorkspace tells whether the request names the token's workspace, once and
// in no other spelling beside.
func (in Input) ofWorkspace(place, own string) bool {
	var named []string
	if name, found := strings.CutPrefix(place, "header:"); found {
		for _, h := range in.requested.headers {
			if sameToServers(h[0], strings.ToLower(name)) {
				named = append(named, h[1])
			}
		}
	} else if name, found := strings.CutPrefix(place, "query:"); found {
		named = in.requested.queryAs(name)
	} else if !in.unsure {
		named = []string{in.Params[strings.Trim(place, "{}")]}
	}
	return len(named) == 1 && own != "" && named[0] == own
}

// queryAs returns the values of all names that some common parser takes for one.
func (q *reading) queryAs(name string) (found []string) {
	for _, pair := range strings.FieldsFunc(q.query, func(r rune) bool { return r == '&' || r == ';' }) {
		key, value, _ := strings.Cut(pair, "=")
		if spelled(key) == spelled(url.QueryEscape(name)) {
			found = append(found, formText(value))
		}
	}
	return found
}

var unicodeEscape = regexp.MustCompile("%u[0-9A-Fa-f]{4}")

// spelled is what is left of a name when its ways to be written are undone.
func spelled(key string) string {
	key = unicodeEscape.ReplaceAllStringFunc(key, func(e string) string {
		n, _ := strconv.ParseUint(e[2:], 16, 32)
		return url.QueryEscape(string(rune(n)))
	})
	key = formText(key)
	key, _, _ = strings.Cut(key, "[")
	key, _, _ = strings.Cut(key, "\x00")
	return strings.Map(folded, strings.ReplaceAll(key, " ", ""))
}
