package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// What stands in a key. A value that may be of several types, or missing, has a
// tag before it; a text and a list their length. A number is kept as text: 1
// and 1.0 are equal in Rego and two keys here, which costs a hit and no more.
const (
	tagAbsent = 'U'
	tagNull   = 'N'
	tagTrue   = 'T'
	tagFalse  = 'F'
	tagNumber = '#'
	tagString = 's'
	tagList   = 'a'
	tagObject = 'o'
	tagPart   = 'p'
)

func appendLength(b []byte, n uint64) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(appendLength(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = appendLength(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, tagTrue)
	}
	return append(b, tagFalse)
}

// appendNative appends decoded JSON. It returns false for a value of another type.
func appendNative(b []byte, v any) (_ []byte, ok bool) {
	switch v := v.(type) {
	case nil:
		return append(b, tagNull), true
	case bool:
		return appendBool(b, v), true
	case json.Number:
		return appendString(append(b, tagNumber), v), true
	case string:
		return appendString(append(b, tagString), v), true
	case []any:
		b = appendLength(append(b, tagList), uint64(len(v)))
		for _, element := range v {
			if b, ok = appendNative(b, element); !ok {
				return b, false
			}
		}
		return b, true
	case map[string]any:
		b = appendLength(append(b, tagObject), uint64(len(v)))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if b, ok = appendNative(appendString(b, name), v[name]); !ok {
				return b, false
			}
		}
		return b, true
	}
	return b, false
}

// appendMembers appends what the picks lead to, or all of it.
func appendMembers(b []byte, v any, picks []pick) (_ []byte, ok bool) {
	if picks == nil {
		return appendNative(b, v)
	}
	for _, p := range picks {
		member, rest, there := follow(v, p)
		if !there {
			b = append(b, tagAbsent)
			continue
		}
		// {"a": "x"} is another answer to a.b than {"a": {"b": "x"}}.
		if b, ok = appendNative(appendLength(append(b, tagPart), uint64(len(rest))), member); !ok {
			return b, false
		}
	}
	return b, true
}

// follow walks down objects, and stops at what is none: a policy that reads
// below it, be it by an index, has all of it in its key. It returns what is
// left of the path.
func follow(v any, path pick) (member any, rest pick, there bool) {
	for i, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return v, path[i:], true
		}
		if v, ok = object[name]; !ok {
			return nil, nil, false
		}
	}
	return v, nil, true
}

// queryKey keeps the values as they were sent: equal text decodes equally.
func queryKey(b []byte, q *question, picks []pick) ([]byte, bool) {
	if picks == nil {
		return appendString(b, q.in.RawQuery), true
	}
	if tooManyNames(q.in.RawQuery, q.bounds.queryNames) {
		return b, false // it is refused, whatever was picked
	}
	for _, p := range picks {
		for name, value := range queryPairs(q.in.RawQuery) {
			if unescapeQuery(name) == p[0] {
				b = appendString(append(b, tagString), value)
			}
		}
		b = append(b, tagAbsent) // no more of them
	}
	return b, true
}

func headersKey(b []byte, q *question, picks []pick) ([]byte, bool) {
	return appendFields(b, q.in.Headers, picks), true
}

func paramsKey(b []byte, q *question, picks []pick) ([]byte, bool) {
	return appendFields(b, q.in.Params, picks), true
}

func appendFields(b []byte, fields []Header, picks []pick) []byte {
	if picks == nil {
		b = appendLength(b, uint64(len(fields)))
		for _, f := range fields {
			b = appendString(appendString(b, f.Name), f.Value)
		}
		return b
	}
	for _, p := range picks {
		for _, f := range fields {
			if f.Name == p[0] {
				b = appendString(append(b, tagString), f.Value)
			}
		}
		b = append(b, tagAbsent)
	}
	return b
}

// bodyKey has all that Body.term may look at; the path names a gRPC message's
// type. The conversion fails to compile where Body has a field that is not here.
func bodyKey(b []byte, q *question, _ []pick) ([]byte, bool) {
	body := struct {
		ContentType, ContentLength, ContentEncoding string
		Partial, Upgrade, Text                      bool
		Bytes                                       []byte
	}(q.in.Body)
	b = appendStrings(b, q.in.Segments)
	b = appendString(appendString(appendString(b, body.ContentType), body.ContentLength), body.ContentEncoding)
	return appendString(appendBool(appendBool(appendBool(b, body.Partial), body.Upgrade), body.Text), body.Bytes), true
}

// queryPairs yields the pairs of a query as they were sent. A query is never
// refused: ";" is part of a value.
func queryPairs(raw string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for raw != "" {
			var pair string
			pair, raw, _ = strings.Cut(raw, "&")
			if pair == "" {
				continue
			}
			if name, value, _ := strings.Cut(pair, "="); !yield(name, value) {
				return
			}
		}
	}
}
