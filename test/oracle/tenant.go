package oracle

import (
	"regexp"
	"slices"
	"strings"
)

// tenant returns the one that everything present agrees on, nil where there is
// none: the route's context extension, the header, the host, and last the
// default of those that name none.
func (o *Oracle) tenant(q *reading) *tenant {
	sel := o.file.TenantSelection
	var named []*tenant
	if id, pinned := q.extensions[sel.ContextExtension]; pinned && sel.ContextExtension != "" {
		named = append(named, o.tenants[id])
	}
	for _, h := range q.headers { // another spelling of the header: refused
		if h[0] != strings.ToLower(sel.Header) && sel.Header != "" && sameToServers(h[0], sel.Header) {
			return nil
		}
	}
	if lines := q.lines(sel.Header); sel.Header != "" && len(lines) > 0 {
		if len(lines) > 1 {
			return nil
		}
		named = append(named, o.tenants[lines[0]])
	}
	if owner := o.ownerOf(q.host); owner != nil {
		named = append(named, owner)
	}
	if len(named) == 0 {
		return o.tenants[sel.Default]
	}
	for _, t := range named {
		if t != named[0] {
			return nil
		}
	}
	return named[0]
}

// ownerOf: exact before wildcard, one label for a "*", and none of an address.
func (o *Oracle) ownerOf(host string) *tenant {
	first, rest, _ := strings.Cut(host, ".")
	for _, pattern := range []string{host, "*." + rest} {
		if pattern[0] == '*' && (rest == "" || first == "" || host[0] == '[') {
			continue
		}
		for _, t := range o.tenants {
			for _, own := range t.Hosts {
				star, name := "", own
				if after, wild := strings.CutPrefix(own, "*."); wild {
					star, name = "*.", after
				}
				if canonical, _ := canonicalHost(name); star+canonical == pattern {
					return t
				}
			}
		}
	}
	return nil
}

// credential is a request's token, and where it stood.
type credential struct {
	token            string
	inHeader, cookie bool
}

var (
	token68 = regexp.MustCompile("^[A-Za-z0-9._~+/=-]+$")
	tchar   = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]")
)

func isToken(s string) bool { return len(s) <= 16384 && token68.MatchString(s) }

// credential returns exactly one token or none: two that differ are
// invalid_request, what is not one token token_invalid.
func (t *tenant) credential(q *reading) (c credential, refusal string) {
	lines := []string{}
	if t.Header.Type != "" {
		lines = q.lines(t.Header.Type)
	}
	if len(lines) > 1 {
		return c, "invalid_request"
	}
	if len(lines) == 1 && lines[0] != "" {
		var foreign bool
		if c.token, foreign = afterScheme(lines[0], t.scheme()); foreign {
			return c, "" // another scheme, and no cookie is looked at
		}
		if !isToken(c.token) {
			return credential{}, "token_invalid"
		}
		c.inHeader = true
	}
	cookies := slices.Compact(slices.Sorted(slices.Values(t.cookies(q))))
	switch {
	case len(cookies) == 0:
		return c, ""
	case len(cookies) > 1 || c.inHeader && c.token != cookies[0]:
		return credential{}, "invalid_request"
	case !isToken(cookies[0]):
		return credential{}, "token_invalid"
	}
	c.token, c.cookie = cookies[0], true
	return c, ""
}

func (t *tenant) scheme() string {
	if t.Header.Prefix != nil {
		return *t.Header.Prefix
	}
	if strings.EqualFold(t.Header.Type, "Authorization") {
		return "Bearer"
	}
	return ""
}

// afterScheme returns what follows the scheme in any case and at least one
// space, "" where no space does.
func afterScheme(value, scheme string) (rest string, foreign bool) {
	if scheme == "" {
		return value, false
	}
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) || tchar.MatchString(value[len(scheme):]) {
		return "", true
	}
	rest = value[len(scheme):]
	if !strings.HasPrefix(rest, " ") {
		return "", false
	}
	return strings.TrimLeft(rest, " "), false
}

// cookies returns the values of all cookies of the tenant's name. All lines are
// one list.
func (t *tenant) cookies(q *reading) (found []string) {
	for _, line := range q.lines("cookie") {
		for _, pair := range strings.Split(line, ";") {
			if value, ours := t.cookie(pair); ours && value != "" {
				found = append(found, value)
			}
		}
	}
	return found
}

// cookie reads one pair. One with blanks around "=" is ours, and no token.
func (t *tenant) cookie(pair string) (value string, ours bool) {
	pair = strings.Trim(pair, " \t")
	name, value, found := strings.Cut(pair, "=")
	if t.Header.Cookie == "" || !found || strings.TrimRight(name, " \t") != t.Header.Cookie {
		return "", false
	}
	if strings.TrimRight(name, " \t") != name || strings.TrimLeft(value, " \t") != value {
		return pair, true
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value, true
}

// strip removes the credential that was used, and it alone, unless the policy
// sends something else in its place.
func (t *tenant) strip(q *reading, c credential, d Decision, set map[string]string, removed *[]string) {
	remove := func(name string) {
		if _, replaced := d.Set[name]; !replaced {
			*removed = append(*removed, name)
		}
	}
	if c.inHeader {
		remove(strings.ToLower(t.Header.Type))
	}
	if !c.cookie {
		return
	}
	var others []string
	for _, line := range q.lines("cookie") {
		for _, pair := range strings.Split(line, ";") {
			if _, ours := t.cookie(pair); !ours && strings.Trim(pair, " \t") != "" {
				others = append(others, strings.Trim(pair, " \t"))
			}
		}
	}
	if len(others) == 0 {
		remove("cookie")
	} else if !slices.Contains(d.Removed, "cookie") {
		set["cookie"] = strings.ToValidUTF8(strings.Join(others, "; "), "!")
	}
}
