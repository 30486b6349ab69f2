package oracle

import (
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

// ofWorkspace tells whether the request names the token's workspace once, and
// nothing beside it that some server reads as the same name.
func (in Input) ofWorkspace(place, own string) bool {
	var named, spelled []string
	if name, found := strings.CutPrefix(place, "header:"); found {
		for _, h := range in.requested.headers {
			if h[0] == strings.ToLower(name) {
				named = append(named, h[1])
			}
			if sameToServers(h[0], name) {
				spelled = append(spelled, strings.Split(strings.ReplaceAll(h[1], ";", ","), ",")...)
			}
		}
	} else if in.unsure {
		return false
	} else if name, found := strings.CutPrefix(place, "query:"); found {
		named, spelled = in.Query[name], in.spellings(name)
	} else {
		named = []string{in.Params[strings.Trim(place, "{}")]}
		spelled = named
	}
	return len(named) == 1 && len(spelled) == 1 && own != "" && named[0] == own
}

// spellings are all names in the query that some common parser takes for one. To
// some a ";" ends a pair, escaped or not.
func (in Input) spellings(name string) (found []string) {
	for key, values := range in.Query {
		for _, value := range values {
			for _, pair := range strings.Split(key+"="+value, ";") {
				if other, _, _ := strings.Cut(pair, "="); sameToParsers(other, name) {
					found = append(found, other)
				}
			}
		}
	}
	return found
}

var (
	unicodeEscape = regexp.MustCompile("%[uU][0-9A-Fa-f]{4}")
	ignored       = regexp.MustCompile(`[\x00-\x20._+?\[\]-]`)
	beforeBracket = regexp.MustCompile(`^\[*([^\[\]]*)`)
)

// sameToParsers compares names without what parsers decode once more, cut at a
// NUL, or pass over: case, spaces and signs, and brackets with what they hold or
// without it.
func sameToParsers(key, name string) bool {
	decoded := func(s string) string {
		return unicodeEscape.ReplaceAllStringFunc(s, func(e string) string {
			n, _ := strconv.ParseUint(e[2:], 16, 32)
			return string(rune(n))
		})
	}
	plainly := func(s string) string {
		s, _, _ = strings.Cut(decoded(s), "\x00")
		return strings.ToLower(strings.ToUpper(s))
	}
	a, b := plainly(key), plainly(name)
	letters := func(s string) string { return ignored.ReplaceAllString(s, "") }
	outside := func(s string) string { return letters(beforeBracket.FindStringSubmatch(s)[1]) }
	mixed := unicodeEscape.MatchString(key) && strings.Contains(decoded(key), "%") // nobody knows
	return mixed || letters(a) == letters(b) || outside(a) == outside(b)
}
