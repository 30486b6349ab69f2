package extauthz

import (
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// writer writes protobuf messages field by field.
type writer struct{ b []byte }

// writers are for what is written first and then copied.
var writers = sync.Pool{New: func() any { return new(writer) }}

// release gives a writer of writers back, unless a huge value made it grow.
func (w *writer) release() {
	if w.b = w.b[:0]; cap(w.b) <= 4<<10 {
		writers.Put(w)
	}
}

// open begins a field that holds a message and returns where it begins, for
// close. Its length is known only at its end: one byte is left for it.
func (w *writer) open(number protowire.Number) (start int) {
	w.b = append(protowire.AppendTag(w.b, number, protowire.BytesType), 0)
	return len(w.b)
}

// close ends the message that begins at start: it writes the length, and makes
// room where that takes more than one byte.
func (w *writer) close(start int) {
	length := len(w.b) - start
	if more := protowire.SizeVarint(uint64(length)) - 1; more > 0 { // #nosec G115 -- start is in w.b
		w.b = append(w.b, make([]byte, more)...)
		copy(w.b[start+more:], w.b[start:start+length])
	}
	protowire.AppendVarint(w.b[:start-1], uint64(length)) // #nosec G115 -- in place
}

func (w *writer) varint(number protowire.Number, v uint64) {
	w.b = protowire.AppendVarint(protowire.AppendTag(w.b, number, protowire.VarintType), v)
}

// text writes a string. A byte that is not UTF-8 would make the whole answer
// unreadable, which Envoy's failure_mode_allow opens: it becomes U+FFFD.
func (w *writer) text(number protowire.Number, s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	w.b = protowire.AppendString(protowire.AppendTag(w.b, number, protowire.BytesType), s)
}

func (w *writer) names(number protowire.Number, names []string) {
	for _, name := range names {
		w.text(number, name)
	}
}

func (w *writer) pair(number protowire.Number, key, value string) {
	pair := w.open(number)
	w.text(pairKey, key)
	w.text(pairValue, value)
	w.close(pair)
}

// The kinds of a google.protobuf.Value.
const (
	valueNull   = 1
	valueNumber = 2
	valueText   = 3
	valueBool   = 4
	valueStruct = 5
	valueList   = 6
)

// textEntry writes an entry of a google.protobuf.Struct.
func (w *writer) textEntry(key, value string) {
	entry := w.open(onlyField)
	w.text(pairKey, key)
	v := w.open(pairValue)
	w.text(valueText, value)
	w.close(v)
	w.close(entry)
}

// entry is textEntry for a value of any of JSON's types.
func (w *writer) entry(key string, value any) {
	entry := w.open(onlyField)
	w.text(pairKey, key)
	v := w.open(pairValue)
	w.value(value)
	w.close(v)
	w.close(entry)
}

// value writes what is in a google.protobuf.Value; what JSON doesn't have is
// null.
func (w *writer) value(value any) {
	switch v := value.(type) {
	case string:
		w.text(valueText, v)
	case bool:
		w.varint(valueBool, protowire.EncodeBool(v))
	case float64:
		w.b = protowire.AppendFixed64(protowire.AppendTag(w.b, valueNumber, protowire.Fixed64Type), math.Float64bits(v))
	case []any:
		list := w.open(valueList)
		for _, element := range v {
			e := w.open(onlyField)
			w.value(element)
			w.close(e)
		}
		w.close(list)
	case map[string]any:
		object := w.open(valueStruct)
		for key, member := range v {
			w.entry(key, member)
		}
		w.close(object)
	default:
		w.varint(valueNull, 0)
	}
}
