package jwtverify

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxClaimsDepth bounds the nesting of claims; the claims object is level 1.
const maxClaimsDepth = 32

// claimSet is a claims set as it was signed. What is read of it are parts of
// raw wherever JSON escapes nothing: a cache of many tokens holds each claim
// once, and a new token costs few allocations.
type claimSet struct {
	raw     string
	members []member // of the top level, each name once

	room [16]member // enough for most access tokens
}

// member is a member of a JSON object. Its text is valid JSON.
type member struct{ name, text string }

// parse checks a verified payload strictly, and takes its claims: one JSON object, no duplicate
// member at any depth, valid UTF-8 without lone surrogates, at most 32 levels.
// Names keep their case, so that Exp is not exp. It keeps nothing of payload.
// The errors wrap ErrMalformed.
func (s *claimSet) parse(payload []byte) error {
	payload = bytes.Trim(payload, whitespace)
	s.raw = string(payload)
	if err := json.Unmarshal(payload, s); err != nil {
		return fmt.Errorf("%w: claims: %s", ErrMalformed, tokenFault(err))
	}
	return nil
}

// clear forgets a token's claims.
func (s *claimSet) clear() { *s = claimSet{} }

// UnmarshalJSONFrom reads the top level, which must be an object, from the
// beginning of s.raw.
func (s *claimSet) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	kind := d.PeekKind()
	// A syntax error, or some other type: a nested token, for one.
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if kind != '{' {
		return fault("not a JSON object")
	}
	s.members = s.room[:0]
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
			return fault("nested too deeply")
		}
		s.members = append(s.members, member{unquote(quoted), text})
	}
	_, err := d.ReadToken()
	return err
}

// next reads a whole value, and returns the part of s.raw where it is.
func (s *claimSet) next(d *jsontext.Decoder) (string, error) {
	v, err := d.ReadValue()
	if err != nil {
		return "", err
	}
	end := int(d.InputOffset())
	return s.raw[end-len(v) : end], nil
}

// find returns the text of the claim's value; a null is found.
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

// child returns the member of an object, or the element of an array, that a
// step of a JSON pointer means.
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

// index reads an array index, which has no sign and no leading zeros
// (RFC 6901, 4).
func index(step string) (i int, ok bool) {
	i, err := strconv.Atoi(step)
	return i, err == nil && i >= 0 && strconv.Itoa(i) == step
}

// What follows reads JSON that was checked before: it finds where values end,
// and refuses nothing.

const whitespace = " \t\r\n"

// membersOf returns the members of an object.
func membersOf(object string) (list []member) {
	parts := elements(object)
	for i := 0; i+1 < len(parts); i += 2 {
		list = append(list, member{unquote(parts[i]), parts[i+1]})
	}
	return list
}

// elements returns the values in an array, or the names and values in an
// object, one after the other.
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

// valueEnd returns where the value ends that text begins with.
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

// depth returns how many objects and arrays are within each other in a value.
func depth(text string) (most int) {
	if text[0] == '{' || text[0] == '[' {
		_, most = extent(text)
	}
	return most
}

// extent returns where the object or array ends that text begins with, and how
// many are within each other in it, itself among them.
func extent(text string) (end, most int) {
	level := 0
	for i := 0; ; i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			level++
			most = max(most, level)
		case '}', ']':
			if level--; level == 0 {
				return i + 1, most
			}
		}
	}
}

// stringEnd returns where the quoted string ends that text begins with.
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

// unquote returns what a quoted string means.
func unquote(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	plain, _ := jsontext.AppendUnquote(nil, quoted) // it was checked before
	return string(plain)
}
