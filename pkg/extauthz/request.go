package extauthz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/net/http/httpguts"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Message is one HTTP request as it came in. Nothing in it is trusted.
type Message struct {
	Method     string
	Host       string
	Target     string            // path and query, as sent
	Headers    tenants.Headers   // as sent; names in any case
	Extensions []httpfield.Field // what the Envoy route pinned; from configuration, not from the client
	Body       []byte            // as much as Envoy sent; read-only
	BodyText   bool              // Envoy sent it as text, with bytes that are not UTF-8 replaced
	Partial    bool              // Envoy cut the body

	// Attributes returns the CheckRequest's attributes as protojson writes
	// them, for policies that read input.attributes. It may be nil.
	Attributes func() (any, error)
}

// request is a Message with only one reading: messages that two servers could read
// differently were refused.
type request struct {
	method   string
	host     string
	segments []string // decoded
	query    string   // as sent
	headers  tenants.Headers

	// Buffers that are large enough for most requests.
	segmentBuffer [8]string
	headerBuffer  [24]tenants.Header
}

// Bounds on a request. Envoy's own defaults, 60 KiB and 100 headers, are lower: these
// are for other callers.
const (
	maxMethod  = tenants.MaxMethod
	maxPath    = tenants.MaxPath
	maxHeaders = 1000
)

// parse reads a message. It returns an error if servers could read it differently.
func (r *request) parse(m *Message) (err error) {
	if err := checkMethod(m.Method); err != nil {
		return err
	}
	r.method = m.Method
	if r.host, err = tenants.ParseHost(m.Host); err != nil {
		return fmt.Errorf("host: %w", err)
	}
	path, query, _ := strings.Cut(m.Target, "?")
	r.query = query
	if r.segments, err = splitPath(r.segmentBuffer[:0], path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	r.headers, err = canonicalHeaders(r.headerBuffer[:0], m)
	return err
}

// checkMethod accepts an upper-case token (RFC 9110 section 9.1). Over HTTP/2
// Envoy lets "get" through, which many servers treat as GET and no route names.
// CONNECT has no path to decide about. The answer to TRACE (TRACK in IIS) repeats the
// request to the client: cookies that a script can't read, and the identity headers.
func checkMethod(method string) error {
	if !httpguts.ValidHeaderFieldName(method) || len(method) > maxMethod || strings.ToUpper(method) != method {
		return errors.New("the method is no upper-case token")
	}
	switch method {
	case "CONNECT", "TRACE", "TRACK":
		return errors.New("the method is " + method)
	}
	return nil
}

var (
	errNoSlash  = errors.New("does not start with a slash")
	errTooLong  = errors.New("is too long")
	errEmpty    = errors.New("has an empty segment")
	errDots     = errors.New("has a dot segment")
	errEscape   = errors.New("has a malformed or double escape")
	errByte     = errors.New("has a byte that no path has")
	errHidden   = errors.New("hides a slash, a backslash or a control in an escape")
	errEncoding = errors.New("does not decode to UTF-8")
)

// splitPath splits a path before it decodes the segments, so that an encoded slash
// never becomes a separator. It refuses every spelling that another server could read
// as another path. "/" is one empty segment; a trailing slash is an empty segment at
// the end. It appends to segments, an empty buffer.
func splitPath(segments []string, path string) ([]string, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, errNoSlash
	}
	if len(path) > maxPath {
		return nil, errTooLong
	}
	for rest, more := path[1:], true; more; {
		var raw string
		raw, rest, more = strings.Cut(rest, "/")
		if raw == "" && more {
			return nil, errEmpty
		}
		segment, err := decodeSegment(raw)
		if err != nil {
			return nil, err
		}
		segments = append(segments, segment)
	}
	return segments, nil
}

func decodeSegment(raw string) (string, error) {
	segment, err := unescape(raw)
	if err != nil {
		return "", err
	}
	// A server that strips path parameters sees ".." in "..;x".
	if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
		return "", errDots
	}
	if segment == raw { // no escapes, and ASCII, since unescape refuses the rest
		return segment, nil
	}
	if !utf8.ValidString(segment) {
		return "", errEncoding
	}
	for i, r := range segment {
		if r == '/' || r == '\\' || unicode.IsControl(r) {
			return "", errHidden
		}
		if r == '%' && isEscape(segment[i:]) { // %252F: the next server may decode again
			return "", errEscape
		}
	}
	return segment, nil
}

// unescape decodes percent escapes once.
func unescape(s string) (string, error) {
	plain := true
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f || c == '\\' || c == '#':
			return "", errByte
		case c == '%':
			plain = false
			if !isEscape(s[i:]) {
				return "", errEscape
			}
		}
	}
	if plain {
		return s, nil
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			decoded = append(decoded, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
			continue
		}
		decoded = append(decoded, s[i])
	}
	return string(decoded), nil
}

func isEscape(s string) bool { return len(s) >= 3 && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}

// canonicalHeaders lower-cases the names and drops the pseudo-headers. One that
// contradicts the request line is an attack: it names another path than the one that
// is decided about. It appends to headers, an empty buffer.
func canonicalHeaders(headers tenants.Headers, m *Message) (tenants.Headers, error) {
	if len(m.Headers) > maxHeaders {
		return nil, errManyHeaders
	}
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, ":") {
			if !matchesRequestLine(m, h) {
				return nil, fmt.Errorf("the pseudo-header %q contradicts the request", h.Name)
			}
			continue
		}
		if !httpguts.ValidHeaderFieldName(h.Name) {
			return nil, errors.New("a header's name is no token")
		}
		name := strings.ToLower(h.Name)
		if !carriesCredential(name) && !validValue(h.Value) {
			return nil, fmt.Errorf("the header %q has a control byte", name)
		}
		headers = append(headers, tenants.Header{Name: name, Value: h.Value})
	}
	return headers, nil
}

// carriesCredential names the headers in which a control byte makes the token invalid,
// which is a reason of its own.
func carriesCredential(name string) bool { return name == "authorization" || name == "cookie" }

// checkCredentialBytes refuses control bytes beside the token, which canonicalHeaders
// accepts. The rest of the cookie goes back to Envoy in our answer, and must not inject
// a header line.
func (r *request) checkCredentialBytes() error {
	for _, h := range r.headers {
		if carriesCredential(h.Name) && !validValue(h.Value) {
			return fmt.Errorf("the header %q has a control byte", h.Name)
		}
	}
	return nil
}

// validValue is httpguts.ValidHeaderFieldValue for eight bytes at a time, since most
// values are long and have no control byte. If any of the eight may be one, httpguts
// decides.
func validValue(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // #nosec G103 -- only read
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ 0x7f*ones
		if ((x-' '*ones)&^x|(del-ones)&^del)&highs != 0 {
			break
		}
	}
	return httpguts.ValidHeaderFieldValue(s[len(s)-len(b):])
}

func matchesRequestLine(m *Message, h tenants.Header) bool {
	switch h.Name {
	case ":path":
		return h.Value == m.Target
	case ":method":
		return h.Value == m.Method
	case ":authority":
		return h.Value == m.Host
	}
	return true
}
