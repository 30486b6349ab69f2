package jwtverify

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxClaimsDepth bounds the nesting of claims; the claims object is level 1.
const maxClaimsDepth = 32

// claimSet is the payload of one token, and the index of its top level.
//
// A decoder into Go values would copy every claim, and most are never read. Here the
// payload is copied once, into raw, and checked once, by the decoder that parse runs over
// it. Everything that is read afterwards is a substring of raw, unless JSON escapes a
// character in it: so a new token costs few allocations, and a cache of many tokens holds
// each claim once. The functions that find values in checked JSON (elements, valueEnd and
// below) rely on that check: they refuse nothing, and on unchecked text they would run
// past its end.
type claimSet struct {
	raw     string
	members []member // of the top level, each name once

	inline [16]member // backs members: enough for most access tokens
}

// member is a member of a JSON object; text is its value, in valid JSON.
type member struct{ name, text string }

// parse checks a verified payload strictly and indexes its claims: one JSON object, no
// duplicate member at any depth, valid UTF-8 without lone surrogates, at most 32 levels.
// Names are compared in their exact case, so that Exp is not exp. payload may be reused
// afterwards. The errors wrap ErrMalformed.
func (s *claimSet) parse(payload []byte) error {
	payload = bytes.Trim(payload, whitespace)
	s.raw = string(payload)
	if err := json.Unmarshal(payload, s); err != nil {
		return fmt.Errorf("%w: claims: %s", ErrMalformed, describeError(err))
	}
	return nil
}

// clear drops the references to a token's claims.
func (s *claimSet) clear() { *s = claimSet{} }

// UnmarshalJSONFrom reads the top level, which must be an object, from the
// beginning of s.raw.
func (s *claimSet) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	kind := d.PeekKind()
	// A syntax error, or another type, such as the string of a nested token.
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if kind != '{' {
		return formError("not a JSON object")
	}
	s.members = s.inline[:0]
	for d.PeekKind() != '}' {
		var text string
		quoted, err := s.next(d)
		if err == nil {
			text, err = s.next(d)
		}
		if err != nil {
			return err
		}
		if depth(text) >= maxClaimsDepth {
			return formError("nested too deeply")
		}
		s.members = append(s.members, member{unquote(quoted), text})
	}
	_, err := d.ReadToken()
	return err
}

// next reads one value, and returns it as a substring of s.raw.
func (s *claimSet) next(d *jsontext.Decoder) (string, error) {
	v, err := d.ReadValue()
	if err != nil {
		return "", err
	}
	end := int(d.InputOffset())
	return s.raw[end-len(v) : end], nil
}

// find returns the JSON text of a claim's value; a null counts as found.
func (s *claimSet) find(ref claimRef) (text string, found bool) {
	if ref.path == nil {
		return lookUp(s.members, ref.name)
	}
	text = s.raw
	for _, step := range ref.path {
		if text, found = child(text, step); !found {
			return "", false
		}
	}
	return text, true
}

func lookUp(members []member, name string) (text string, found bool) {
	for i := range members {
		if members[i].name == name {
			return members[i].text, true
		}
	}
	return "", false
}

// child returns the member of an object, or the element of an array, that one step of a JSON
// pointer selects.
func child(text, step string) (string, bool) {
	switch text[0] {
	case '{':
		return lookUp(membersOf(text), step)
	case '[':
		if i, ok := index(step); ok {
			if list := elements(text); i < len(list) {
				return list[i], true
			}
		}
	}
	return "", false
}

// index parses an array index, which has no sign and no leading zeros (RFC 6901, 4).
func index(step string) (i int, ok bool) {
	i, err := strconv.Atoi(step)
	return i, err == nil && i >= 0 && strconv.Itoa(i) == step
}

const whitespace = " \t\r\n"

// membersOf returns the members of an object.
func membersOf(object string) (list []member) {
	parts := elements(object)
	for i := 0; i+1 < len(parts); i += 2 {
		list = append(list, member{unquote(parts[i]), parts[i+1]})
	}
	return list
}

// elements returns the values of an array, or the names and values of an object in
// turn.
func elements(text string) (list []string) {
	for rest := text[1:]; ; {
		rest = strings.TrimLeft(rest, whitespace+",:")
		if rest[0] == ']' || rest[0] == '}' {
			return list
		}
		end := valueEnd(rest)
		list = append(list, rest[:end])
		rest = rest[end:]
	}
}

// valueEnd returns the length of the value at the beginning of text.
func valueEnd(text string) int {
	switch text[0] {
	case '"':
		return stringEnd(text)
	case '{', '[':
		end, _ := extent(text)
		return end
	}
	if end := strings.IndexAny(text, whitespace+",]}"); end >= 0 {
		return end
	}
	return len(text)
}

// depth returns how deeply objects and arrays are nested in a value.
func depth(text string) (levels int) {
	if text[0] == '{' || text[0] == '[' {
		_, levels = extent(text)
	}
	return levels
}

// extent returns the length of the object or array at the beginning of text, and its
// levels of nesting, itself included.
func extent(text string) (end, levels int) {
	level := 0
	for i := 0; ; i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			level++
			levels = max(levels, level)
		case '}', ']':
			if level--; level == 0 {
				return i + 1, levels
			}
		}
	}
}

// stringEnd returns the length of the quoted string at the beginning of text.
func stringEnd(text string) int {
	for i := 1; ; i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// unquote returns the value of a quoted string.
func unquote(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	plain, _ := jsontext.AppendUnquote(nil, quoted) // it was checked before
	return string(plain)
}

// Claims are all claims of a token. They are stored as they were signed, and become Go
// values when they are first read. A nil *Claims has none. It is safe for concurrent use.
type Claims struct {
	raw    string // an object that claimSet.parse has checked
	values atomic.Pointer[map[string]any]
}

// NewClaims returns claims with the given values, for an identity that does not come from
// a token.
func NewClaims(values map[string]any) *Claims {
	c := &Claims{}
	values = maps.Clone(values)
	c.values.Store(&values)
	return c
}

// Map returns the claims as values: objects are map[string]any, arrays []any,
// numbers encoding/json.Number with all their digits. It is shared and must not be
// changed.
func (c *Claims) Map() map[string]any {
	if c == nil {
		return nil
	}
	if values := c.values.Load(); values != nil {
		return *values
	}
	values := object(c.raw)
	c.values.Store(&values)
	return values
}

// Get returns the value of one claim, of the types that Map has; nil where there is
// none. It decodes this claim alone.
func (c *Claims) Get(name string) any {
	if c == nil {
		return nil
	}
	if values := c.values.Load(); values != nil {
		return (*values)[name]
	}
	text, found := lookUp(membersOf(c.raw), name)
	if !found {
		return nil
	}
	return value(text)
}

// MarshalJSON returns the claims as one object.
func (c *Claims) MarshalJSON() ([]byte, error) { return stdjson.Marshal(c.Map()) }

func object(text string) map[string]any {
	members := membersOf(text)
	values := make(map[string]any, len(members))
	for _, m := range members {
		values[m.name] = value(m.text)
	}
	return values
}

// value decodes checked JSON.
func value(text string) any {
	switch text[0] {
	case '{':
		return object(text)
	case '[':
		list := []any{}
		for _, text := range elements(text) {
			list = append(list, value(text))
		}
		return list
	case '"':
		return unquote(text)
	case 't', 'f':
		return text == "true"
	case 'n':
		return nil
	}
	return stdjson.Number(text) // every digit: 2^53+1 is an id somewhere
}
