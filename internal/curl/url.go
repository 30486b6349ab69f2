package curl

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// location reads the URL into r, and returns its user part. The path stays as
// it was written: what it decodes to is the service's affair.
func (p *parser) location(r *Request) (user string, err error) {
	raw, err := p.unglob(p.url)
	if err != nil {
		return "", err
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] == 0x7f {
			return "", errors.New("the URL holds a blank or a control character: write it as an escape, like %20")
		}
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		scheme, rest = "http", raw // as curl guesses
	}
	r.Scheme = strings.ToLower(scheme)
	if r.Scheme != "http" && r.Scheme != "https" {
		return "", fmt.Errorf("the URL's scheme %s is neither http nor https", shorten(scheme))
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	r.Host, r.Target = rest[:end], rest[end:]
	if i := strings.LastIndexByte(r.Host, '@'); i >= 0 {
		user, r.Host = r.Host[:i], r.Host[i+1:]
		if user, err = url.PathUnescape(user); err != nil {
			return "", errors.New("the URL's user part has a broken escape")
		}
	}
	if r.Host == "" {
		return "", errors.New("the URL has no host")
	}
	path, query, asked := strings.Cut(r.Target, "?")
	if path == "" {
		path = "/"
	}
	if !p.asIs {
		path = withoutDots(path)
	}
	if r.Target = path; asked {
		r.Target += "?" + query
	}
	return user, nil
}

// unglob refuses what curl would make several URLs of; \[ and the like are the
// characters themselves, as browsers write them.
func (p *parser) unglob(raw string) (string, error) {
	if p.glob {
		return raw, nil
	}
	var b strings.Builder
	_, afterScheme, _ := strings.Cut(raw, "://")
	authority := len(raw) - len(afterScheme) // brackets there are an IPv6 address
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '\\' && i+1 < len(raw) && strings.IndexByte("[]{}", raw[i+1]) >= 0:
			i++
			c = raw[i]
		case c == '{' || c == '}' || (c == '[' || c == ']') && i > authority && strings.ContainsAny(raw[authority:i], "/?"):
			return "", fmt.Errorf("curl makes several URLs of %q: add -g, or escape it with a backslash", c)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// withoutDots removes dot segments, as curl does before it asks
// (RFC 3986, 5.2.4).
func withoutDots(path string) string {
	segments := strings.Split(path, "/")
	kept := segments[:0:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(kept) > 1 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, "/")
}
