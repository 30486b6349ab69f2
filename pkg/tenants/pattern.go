package tenants

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pattern is a parsed pattern of the routes table.
type pattern struct {
	method   string // "": every method
	segments []segment
}

type segment struct {
	kind segmentKind
	text string // the decoded literal, or the wildcard's name
	verb string // of {name}:verb; "" for {name}
}

type segmentKind int

const (
	literalSegment segmentKind = iota
	wildSegment                // {name}, or {name}:verb
	restSegment                // {name...}, or a trailing slash where text is ""
	slashSegment               // {$}
)

// Bounds on a request's line: a longer one is refused.
const (
	MaxMethod = 32
	MaxPath   = 8 << 10
)

// parsePattern parses a pattern. A problem that is not "" says what is wrong
// with it, and what to do.
func parsePattern(text string) (p pattern, problem string) {
	method, path, problem := splitPattern(text)
	if problem == "" {
		problem = checkPath(path)
	}
	if problem != "" {
		return pattern{}, problem
	}
	segments := parseSegments(path)
	plain := text // ServeMux has no verbs
	if last := segments[len(segments)-1]; last.verb != "" {
		plain = strings.TrimSuffix(text, ":"+last.verb)
	}
	if refusal := register(http.NewServeMux(), plain); refusal != "" {
		refusal = strings.TrimPrefix(refusal, fmt.Sprintf("parsing %q: ", plain))
		return pattern{}, fmt.Sprintf("%q is no pattern: %s", text, refusal)
	}
	return pattern{method: method, segments: segments}, ""
}

// register returns why mux does not take the pattern, "" where it does.
func register(mux *http.ServeMux, text string) (refusal string) {
	defer func() {
		// ServeMux tells faults and conflicts by panicking only.
		if v := recover(); v != nil {
			refusal = fmt.Sprint(v)
		}
	}()
	mux.Handle(text, http.NotFoundHandler())
	return ""
}

// splitPattern cuts the method from the path.
func splitPattern(text string) (method, path, problem string) {
	path = text
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		method, path = text[:i], strings.TrimLeft(text[i+1:], " \t")
		if method == "" {
			return "", "", `starts with a blank; write "GET /path" or "/path"`
		}
	}
	switch {
	case text == "":
		return "", "", `is missing; write a pattern, for example "GET /posts/{id}"; "/" is every method and path`
	case method != "" && checkMethod(method) != "":
		return "", "", checkMethod(method)
	case len(method) > MaxMethod:
		return "", "", fmt.Sprintf("the method can't match: requests have at most %d letters in theirs", MaxMethod)
	case method == http.MethodConnect, method == http.MethodTrace, method == "TRACK":
		return "", "", method + " requests are always refused: no route can allow them"
	case path == "":
		return "", "", fmt.Sprintf(`%q has no path; write "%s /"`, text, method)
	case strings.Contains(path, "://"):
		return "", "", `a URL is no pattern: write the path alone`
	case path[0] != '/' && strings.Contains(path, "/"):
		return "", "", fmt.Sprintf("the path must start with '/': a host part can't be in a pattern, hosts select the tenant; write %q", path[strings.IndexByte(path, '/'):])
	case path[0] != '/':
		return "", "", fmt.Sprintf("the path must start with '/': write %q", "/"+path)
	}
	return method, path, ""
}

// checkPath refuses paths that no canonical request path can match: such a
// route would stand there and never guard anything.
func checkPath(path string) string {
	if strings.ContainsAny(path, "?#") {
		return "a pattern is a path: '?' and '#' can't be in it, a query is matched by nothing"
	}
	if strings.ContainsAny(path, " \t\r\n") {
		return "a blank can't be in a path: write %20"
	}
	parts := strings.Split(path[1:], "/")
	if len(path)-wildNames(parts) > MaxPath {
		return fmt.Sprintf("it can't match: paths of requests have at most %d bytes", MaxPath)
	}
	at := 1
	for i, part := range parts {
		before, after := path[:at], path[at+len(part):]
		at += len(part) + 1
		if part == "" && i < len(parts)-1 {
			return "an empty segment ('//') can't match: such paths are refused"
		}
		if problem := foreignWildcard(before, part, after); problem != "" {
			return problem
		}
		if after != "" && verbSegment.MatchString(part) {
			return fmt.Sprintf("`%s` can't match: a verb stands at the end of a path", part)
		}
		if strings.Contains(part, "{") {
			continue // a wildcard: ServeMux judges it
		}
		if problem := checkLiteral(part); problem != "" {
			return fmt.Sprintf("segment %q can't match: %s", part, problem)
		}
	}
	return ""
}

// wildNames is by how much the shortest path of a pattern is shorter than the
// pattern's own.
func wildNames(parts []string) (n int) {
	for _, part := range parts {
		if strings.HasPrefix(part, "{") {
			n += len(part) - 1
		}
	}
	return n
}

func checkLiteral(part string) string {
	text, err := url.PathUnescape(part)
	if err != nil {
		return "its percent-encoding is broken"
	}
	before, _, _ := strings.Cut(text, ";")
	switch {
	case before == "." || before == "..":
		return "paths with dot segments are refused"
	case strings.ContainsAny(text, `/\`):
		return "paths with an encoded slash or a backslash are refused"
	case hasEscape(text):
		return "paths that are encoded twice are refused"
	case !utf8.ValidString(text):
		return "it is not UTF-8"
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "paths with control bytes are refused"
	}
	return ""
}

// hasEscape tells whether another server could decode a decoded text again.
func hasEscape(text string) bool {
	for i := range len(text) {
		if text[i] != '%' {
			continue
		}
		if _, err := url.PathUnescape(text[i:min(i+3, len(text))]); err == nil {
			return true
		}
	}
	return false
}

// parseSegments parses a path that ServeMux accepts.
func parseSegments(path string) []segment {
	parts := strings.Split(path[1:], "/")
	segments := make([]segment, len(parts))
	for i, part := range parts {
		verb := ""
		if match := verbSegment.FindStringSubmatch(part); match != nil {
			part, verb = match[1], match[2]
		}
		name, wild := strings.CutPrefix(part, "{")
		name = strings.TrimSuffix(name, "}")
		rest, multi := strings.CutSuffix(name, "...")
		switch {
		case part == "": // the trailing slash
			segments[i] = segment{kind: restSegment}
		case part == "{$}":
			segments[i] = segment{kind: slashSegment}
		case wild && multi:
			segments[i] = segment{kind: restSegment, text: rest}
		case wild:
			segments[i] = segment{wildSegment, name, verb}
		default:
			text, err := url.PathUnescape(part)
			if err != nil { // refused by checkLiteral already
				text = part
			}
			segments[i] = segment{kind: literalSegment, text: text}
		}
	}
	return segments
}
