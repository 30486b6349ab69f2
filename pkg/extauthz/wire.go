package extauthz

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// maxNesting is the depth of nested messages: Envoy's own protobuf library writes and
// reads no deeper.
const maxNesting = 100

var (
	errNoMessage    = errors.New("the check is no CheckRequest")
	errNesting      = errors.New("the check is nested too deep")
	errUTF8         = errors.New("the check has a string that is not UTF-8")
	errManyHeaders  = errors.New("too many headers")
	errNoHTTP       = errors.New("the check is about no HTTP request")
	errTwoForms     = errors.New("the check has both headers and header_map")
	errTwoValues    = errors.New("a header has both value and raw_value")
	errTwoBodies    = errors.New("the check has two bodies")
	errSplitRequest = errors.New("the check has a query or a fragment beside its path")
)

// reader fills a Message from the bytes of a CheckRequest, without the generated types
// and their allocations. It reads as protobuf's own decoder does (proto3 encoding): the
// last of several values wins, a message that comes in parts is merged, a map has one
// value for a key, and unknown fields are skipped, as are known numbers with another
// wire type. In addition it refuses messages that contradict themselves. A fuzz target
// compares it with the generated types.
type reader struct {
	message *Message
	http    bool // a check about a TCP connection has no HTTP request
	entries int  // of headers
	lines   int  // of header_map

	body, query, fragment []byte
	name, value, raw      []byte // of the entry or line at hand: none is within another
}

// readCheck reads a check into m, whose strings are parts of b afterwards: b must not
// be written to any more.
func readCheck(b []byte, m *Message) error {
	r := reader{message: m}
	if err := r.fields(b, checkSchema, maxNesting); err != nil {
		return err
	}
	m.Attributes = func() (any, error) { return attributesOf(b, m.Headers) }
	return r.checkConsistent()
}

// fields reads the fields of one message, in which messages may nest depth deep.
func (r *reader) fields(b []byte, s *schema, depth int) error {
	if depth--; depth < 0 {
		return errNesting
	}
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 || number > protowire.MaxValidNumber {
			return errNoMessage
		}
		b = b[n:]
		f := s.field(number)
		if wire != protowire.BytesType || f.kind == unknownField {
			if n = protowire.ConsumeFieldValue(number, wire, b); n < 0 {
				return errNoMessage
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return errNoMessage
		}
		b = b[n:]
		if err := r.field(f, value, depth); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) field(f schemaField, value []byte, depth int) error {
	if f.kind == messageField {
		r.name, r.value, r.raw = nil, nil, nil
		if err := r.fields(value, f.message, depth); err != nil {
			return err
		}
		return r.endMessage(f.part)
	}
	if f.kind == textField && !utf8.Valid(value) {
		return errUTF8
	}
	r.setField(f.part, value)
	return nil
}

// setField stores the value of a field. It replaces an earlier one.
func (r *reader) setField(p part, value []byte) {
	switch p {
	case methodPart:
		r.message.Method = text(value)
	case hostPart:
		r.message.Host = text(value)
	case pathPart:
		r.message.Target = text(value)
	case queryPart:
		r.query = value
	case fragmentPart:
		r.fragment = value
	case bodyPart:
		r.body = value
	case rawBodyPart:
		r.message.Body = value
	case namePart:
		r.name = value
	case valuePart:
		r.value = value
	case rawValuePart:
		r.raw = value
	}
}

// endMessage stores a message whose fields were read.
func (r *reader) endMessage(p part) error {
	switch p {
	case httpPart:
		r.http = true
	case extensionPart:
		r.message.Extensions = append(r.message.Extensions, httpfield.Field{Name: text(r.name), Value: text(r.value)})
	case headerPart:
		r.entries++
		r.addHeader()
	case linePart:
		r.lines++
		return r.addHeaderLine()
	}
	// Here, since each entry is compared with those before it.
	if r.entries > maxHeaders || r.lines > maxHeaders {
		return errManyHeaders
	}
	return nil
}

// addHeader adds an entry of headers. headers is a map: of two entries with one name
// only the last counts.
func (r *reader) addHeader() {
	name, value := text(r.name), text(r.value)
	for i := range r.message.Headers {
		if r.message.Headers[i].Name == name {
			r.message.Headers[i].Value = value
			return
		}
	}
	r.message.Headers = append(r.message.Headers, tenants.Header{Name: name, Value: value})
}

// addHeaderLine adds a line of header_map. Envoy writes its value into raw_value.
func (r *reader) addHeaderLine() error {
	value := r.value
	if len(r.raw) > 0 {
		if len(value) > 0 && !bytes.Equal(value, r.raw) {
			return errTwoValues
		}
		value = r.raw
	}
	r.message.Headers = append(r.message.Headers, tenants.Header{Name: text(r.name), Value: text(value)})
	return nil
}

// checkConsistent refuses messages that say two things, rather than choose one.
func (r *reader) checkConsistent() error {
	m := r.message
	switch {
	case !r.http:
		return errNoHTTP
	case r.entries > 0 && r.lines > 0:
		return errTwoForms
	case len(r.body) > 0 && len(m.Body) > 0:
		return errTwoBodies
	// Envoy leaves both empty and sends the whole target as the path.
	case len(r.fragment) > 0 || len(r.query) > 0 && !strings.HasSuffix(m.Target, "?"+text(r.query)):
		return errSplitRequest
	}
	if len(r.body) > 0 {
		m.Body, m.BodyText = r.body, true
	}
	for _, h := range m.Headers {
		if h.Name == "x-envoy-auth-partial-body" && h.Value != "false" { // Envoy writes true or false
			m.Partial = true
		}
	}
	return nil
}

// text returns b as a string without a copy.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } // #nosec G103 -- b is not written while its text lives
