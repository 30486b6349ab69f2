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

// maxNesting is how deep messages nest in each other: Envoy's own protobuf
// writes and reads no deeper.
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

// reader fills a Message from the bytes of a CheckRequest. It accepts what
// protobuf's own decoder accepts and understands it alike: the last of several
// values counts, a message that comes in parts is one, a key of a map is there
// once, and what nobody knows is passed over, a known number with another wire
// type included. On top of that it refuses what contradicts itself.
type reader struct {
	message *Message
	http    bool // a check about a TCP connection has no HTTP request
	entries int  // of headers
	lines   int  // of header_map

	body, query, fragment []byte
	name, value, raw      []byte // of the entry or line at hand: none is within another
}

// readCheck reads a check into m, whose strings then are parts of b: nobody
// may write to b any more.
func readCheck(b []byte, m *Message) error {
	r := reader{message: m}
	if err := r.fields(b, checkSchema, maxNesting); err != nil {
		return err
	}
	m.Attributes = func() (any, error) { return attributesOf(b, m.Headers) }
	return r.finish()
}

// fields reads the fields of one message, in which messages may nest room deep.
func (r *reader) fields(b []byte, s *schema, room int) error {
	if room--; room < 0 {
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
		if err := r.field(f, value, room); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) field(f schemaField, value []byte, room int) error {
	if f.kind == messageField {
		r.name, r.value, r.raw = nil, nil, nil
		if err := r.fields(value, f.message, room); err != nil {
			return err
		}
		return r.end(f.part)
	}
	if f.kind == textField && !utf8.Valid(value) {
		return errUTF8
	}
	r.take(f.part, value)
	return nil
}

// take keeps the value of a field, in place of one that came before.
func (r *reader) take(p part, value []byte) {
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

// end keeps a message whose fields were taken.
func (r *reader) end(p part) error {
	switch p {
	case httpPart:
		r.http = true
	case extensionPart:
		r.message.Extensions = append(r.message.Extensions, httpfield.Field{Name: text(r.name), Value: text(r.value)})
	case headerPart:
		r.entries++
		r.keepHeader()
	case linePart:
		r.lines++
		return r.keepLine()
	}
	// Here, since each entry is compared with those before it.
	if r.entries > maxHeaders || r.lines > maxHeaders {
		return errManyHeaders
	}
	return nil
}

// keepHeader keeps an entry of headers. Two of one name are no two lines: a map
// has the last of them alone.
func (r *reader) keepHeader() {
	name, value := text(r.name), text(r.value)
	for i := range r.message.Headers {
		if r.message.Headers[i].Name == name {
			r.message.Headers[i].Value = value
			return
		}
	}
	r.message.Headers = append(r.message.Headers, tenants.Header{Name: name, Value: value})
}

// keepLine keeps a line of header_map. Envoy writes its value into raw_value.
func (r *reader) keepLine() error {
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

// finish refuses what says two things, rather than to choose between them.
func (r *reader) finish() error {
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

// text is b as a string, without a copy.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } // #nosec G103 -- b is not written while its text lives
