package oracle

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// reading is a request that has one reading alone.
type reading struct {
	method, host, query string
	segments            []string    // of the path, decoded; "/" is one empty segment
	headers             [][2]string // names in lower case, without pseudo-headers
	extensions          map[string]string
}

var (
	methodForm = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Z-]{1,32}$")
	tokenForm  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110, 5.6.2
	labelForm  = regexp.MustCompile("^[A-Za-z0-9_-]{1,63}$")
	portForm   = regexp.MustCompile("^:([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]|0[0-9]{4})$")
	escape     = regexp.MustCompile("%[0-9A-Fa-f]{2}")
)

// read refuses whatever two servers could understand in two ways.
func read(r Request) (q *reading, ok bool) {
	for _, s := range append(append(keys(r.Extensions), values(r.Extensions)...), r.Method, r.Host, r.Path) {
		if !utf8.ValidString(s) {
			return nil, false
		}
	}
	q = &reading{method: r.Method, extensions: r.Extensions}
	path, query, _ := strings.Cut(r.Path, "?")
	q.query = query
	var hostOK, pathOK bool
	q.host, hostOK = canonicalHost(r.Host)
	q.segments, pathOK = canonicalPath(path)
	refused := slices.Contains([]string{"CONNECT", "TRACE", "TRACK"}, r.Method)
	if !hostOK || !pathOK || !methodForm.MatchString(r.Method) || refused || len(r.Headers) > 1000 {
		return nil, false
	}
	repeated := map[string]string{":path": r.Path, ":method": r.Method, ":authority": r.Host}
	for _, h := range r.Headers {
		name, value := strings.ToLower(h[0]), h[1]
		if strings.HasPrefix(name, ":") {
			if want, known := repeated[h[0]]; known && value != want {
				return nil, false
			}
			continue
		}
		// In these two a control byte is first of all a bad token.
		credential := name == "authorization" || name == "cookie"
		if !tokenForm.MatchString(h[0]) || !credential && !headerValue(value) {
			return nil, false
		}
		q.headers = append(q.headers, [2]string{name, value})
	}
	return q, true
}

func headerValue(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

func (q *reading) hasControlBesideToken() bool {
	return slices.ContainsFunc(q.headers, func(h [2]string) bool { return !headerValue(h[1]) })
}

// canonicalHost is lower-case, without port and last dot.
func canonicalHost(s string) (string, bool) {
	host, port := s, ""
	if i := strings.LastIndex(s, "]"); i >= 0 {
		host, port = s[:i+1], s[i+1:]
	} else if i := strings.Index(s, ":"); i >= 0 {
		host, port = s[:i], s[i:]
	}
	if port != "" && !portForm.MatchString(port) {
		return "", false
	}
	if strings.HasPrefix(host, "[") {
		address, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		return "[" + address.String() + "]", err == nil && address.Is6() && address.Zone() == "" && strings.HasSuffix(host, "]")
	}
	host = strings.TrimSuffix(host, ".")
	for _, label := range strings.Split(host, ".") {
		if !labelForm.MatchString(label) {
			return "", false
		}
	}
	return strings.ToLower(host), len(host) <= 253
}

// canonicalPath splits first and decodes then. Every other spelling of a path
// than the plain one is refused.
func canonicalPath(path string) (segments []string, ok bool) {
	foreign := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' || c == '#' }
	if len(path) > 8192 || !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsFunc(path, foreign) {
		return nil, false
	}
	for _, raw := range strings.Split(path[1:], "/") {
		segment, err := url.PathUnescape(raw)
		name, _, _ := strings.Cut(segment, ";")
		hidden := func(c rune) bool { return c == '/' || c == '\\' || unicode.IsControl(c) }
		if err != nil || !utf8.ValidString(segment) || strings.ContainsFunc(segment, hidden) ||
			escape.MatchString(segment) || name == "." || name == ".." {
			return nil, false
		}
		segments = append(segments, segment)
	}
	return segments, true
}

// queryValues keeps what does not decode as it was sent.
func (q *reading) queryValues() map[string][]string {
	all := map[string][]string{}
	for _, pair := range strings.Split(q.query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		all[formText(name)] = append(all[formText(name)], formText(value))
	}
	return all
}

func formText(s string) string {
	decoded, err := url.QueryUnescape(s)
	if err != nil || !utf8.ValidString(decoded) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return decoded
}

// joinedHeaders joins lines of one name as Envoy does.
func (q *reading) joinedHeaders() map[string]string {
	all := map[string]string{}
	for _, h := range q.headers {
		value := strings.ToValidUTF8(h[1], "\uFFFD")
		if before, found := all[h[0]]; found && h[0] == "cookie" {
			value = before + "; " + value
		} else if found {
			value = before + "," + value
		}
		all[h[0]] = value
	}
	return all
}

func (q *reading) lines(name string) (lines []string) {
	for _, h := range q.headers {
		if h[0] == strings.ToLower(name) {
			lines = append(lines, h[1])
		}
	}
	return lines
}

func values(m map[string]string) (list []string) {
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

// connectionTakesAway: a proxy removes what Connection names, and with it what
// the decision rests on or brings.
func (o *Oracle) connectionTakesAway(q *reading) bool {
	for _, line := range slices.Concat(q.lines("connection"), q.lines("proxy-connection"), q.lines("trailer")) {
		for _, name := range strings.Split(line, ",") {
			if o.owns(strings.ToLower(strings.TrimSpace(name))) {
				return true
			}
		}
	}
	return false
}
