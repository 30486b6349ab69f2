// Package tracecontext reads which trace a request belongs to from its headers:
// W3C's traceparent, or Zipkin's B3 in one header or in several.
package tracecontext

import (
	"encoding/hex"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Context names a span of a trace. The zero value is none.
type Context struct {
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool
	State   string // W3C's tracestate, as sent; it may alias the header
}

// Valid reports whether there is a trace.
func (c Context) Valid() bool { return c.TraceID != [16]byte{} }

// AppendTraceID appends the trace's id as 32 hex digits.
func (c Context) AppendTraceID(dst []byte) []byte { return hex.AppendEncode(dst, c.TraceID[:]) }

// maxState bounds tracestate as W3C's text wants it to be kept at least.
const maxState = 512

// Of returns the context in a header block; traceparent wins over B3. What is
// malformed is as if it was not there: it comes from the client. It allocates
// nothing.
func Of(headers tenants.Headers) Context {
	var w3c, single, multi Context
	var state string
	var debug bool
	for i := range headers {
		name, value := headers[i].Name, headers[i].Value
		// The length first: almost every header is none of these.
		switch n := len(name); {
		case n == 2 && strings.EqualFold(name, "b3"):
			single = parseB3(value)
		case n == 11 && strings.EqualFold(name, "traceparent"):
			w3c = parseTraceparent(value)
		case n == 10 && strings.EqualFold(name, "tracestate") && len(value) <= maxState:
			state = value
		case n == 11 && strings.EqualFold(name, "x-b3-spanid"):
			multi.SpanID = parseSpanID(value)
		case n == 12 && strings.EqualFold(name, "x-b3-traceid"):
			multi.TraceID = parseTraceID(value)
		case n == 12 && strings.EqualFold(name, "x-b3-sampled"):
			multi.Sampled = value == "1" || value == "true"
		case n == 10 && strings.EqualFold(name, "x-b3-flags"):
			debug = value == "1"
		}
	}
	w3c.State = state
	multi.Sampled = multi.Sampled || debug
	for _, c := range [...]Context{w3c, single, multi} {
		if c.Valid() && c.SpanID != [8]byte{} {
			return c
		}
	}
	return Context{}
}

// parseTraceparent reads version-traceid-spanid-flags. A later version may
// have more behind it.
func parseTraceparent(s string) (c Context) {
	const length = 55
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" {
		return c
	}
	if len(s) > length && (s[:2] == "00" || s[length] != '-') {
		return c
	}
	var version, flags [1]byte
	if !decode(version[:], s[:2]) || !decode(c.TraceID[:], s[3:35]) || !decode(c.SpanID[:], s[36:52]) || !decode(flags[:], s[53:55]) {
		return Context{}
	}
	c.Sampled = flags[0]&1 != 0
	return c
}

// parseB3 reads traceid-spanid[-state[-parent]].
func parseB3(s string) (c Context) {
	trace, rest, ok := strings.Cut(s, "-")
	if !ok {
		return c
	}
	span, state, _ := strings.Cut(rest, "-")
	state, _, _ = strings.Cut(state, "-")
	c.TraceID, c.SpanID = parseTraceID(trace), parseSpanID(span)
	c.Sampled = state == "1" || state == "d"
	return c
}

// parseTraceID reads 32 digits, or Zipkin's older 16.
func parseTraceID(s string) (id [16]byte) {
	if len(s) == 16 {
		if !decode(id[8:], s) {
			return [16]byte{}
		}
		return id
	}
	if len(s) != 32 || !decode(id[:], s) {
		return [16]byte{}
	}
	return id
}

func parseSpanID(s string) (id [8]byte) {
	if len(s) != 16 || !decode(id[:], s) {
		return [8]byte{}
	}
	return id
}

// decode reads lower-case hex, as all these headers are written.
func decode(dst []byte, s string) bool {
	for i := range dst {
		high, low := digit(s[2*i]), digit(s[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
