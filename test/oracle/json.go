package oracle

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// number is a JSON number with every digit as it was written.
type number string

// Unreadable tells whether a value holds a number that no policy is shown: of more
// than 128 characters, or one that no float64 holds.
func Unreadable(value any) bool {
	switch v := value.(type) {
	case number:
		f, err := strconv.ParseFloat(string(v), 64)
		mantissa, _, _ := strings.Cut(strings.ToLower(string(v)), "e")
		return len(v) > 128 || err != nil || f == 0 && strings.ContainsAny(mantissa, "123456789")
	case []any:
		return slices.ContainsFunc(v, Unreadable)
	case map[string]any:
		for _, member := range v {
			if Unreadable(member) {
				return true
			}
		}
	}
	return false
}

// parseJSON reads one JSON text (RFC 8259) strictly: UTF-8 without lone
// surrogates, no name twice in an object, no more than depth values within each
// other.
func parseJSON(text string, depth int) (value any, ok bool) {
	defer func() {
		if broken, is := recover().(notJSON); is {
			_, ok = broken, false
		}
	}()
	if !utf8.ValidString(text) {
		return nil, false
	}
	p := &jsonText{text}
	value = p.value(depth)
	p.space()
	return value, p.rest == ""
}

type notJSON struct{}

type jsonText struct{ rest string }

func (p *jsonText) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *jsonText) next(word string) bool {
	rest, found := strings.CutPrefix(p.rest, word)
	p.rest = rest
	return found
}

func (p *jsonText) want(ok bool) {
	if !ok {
		panic(notJSON{})
	}
}

func (p *jsonText) value(depth int) any {
	p.space()
	switch {
	case p.next("null"):
		return nil
	case p.next("true"):
		return true
	case p.next("false"):
		return false
	case strings.HasPrefix(p.rest, `"`):
		return p.string()
	case p.next("{"):
		p.want(depth > 0)
		object := map[string]any{}
		p.list("}", func() {
			name := p.string()
			_, twice := object[name]
			p.space()
			p.want(!twice && p.next(":"))
			object[name] = p.value(depth - 1)
		})
		return object
	case p.next("["):
		p.want(depth > 0)
		array := []any{}
		p.list("]", func() { array = append(array, p.value(depth-1)) })
		return array
	}
	return p.number()
}

func (p *jsonText) list(end string, element func()) {
	for p.space(); !p.next(end); {
		element()
		p.space()
		if !p.next(",") {
			p.want(p.next(end))
			return
		}
		p.space()
		p.want(!strings.HasPrefix(p.rest, end))
	}
}

func (p *jsonText) digits() {
	n := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789"))
	p.want(n > 0)
	p.rest = p.rest[n:]
}

func (p *jsonText) number() number {
	whole := p.rest
	p.next("-")
	if !p.next("0") {
		p.digits()
	}
	if p.next(".") {
		p.digits()
	}
	if p.next("e") || p.next("E") {
		_ = p.next("+") || p.next("-")
		p.digits()
	}
	return number(whole[:len(whole)-len(p.rest)])
}

func (p *jsonText) string() string {
	p.want(p.next(`"`))
	var s strings.Builder
	for !p.next(`"`) {
		p.want(p.rest != "" && p.rest[0] >= ' ')
		if !p.next(`\`) {
			s.WriteByte(p.rest[0])
			p.rest = p.rest[1:]
			continue
		}
		p.want(p.rest != "")
		c := p.rest[0]
		p.rest = p.rest[1:]
		if c != 'u' {
			i := strings.IndexByte(`"\/bfnrt`, c)
			p.want(i >= 0)
			s.WriteByte("\"\\/\b\f\n\r\t"[i])
			continue
		}
		r := p.hex()
		if utf16.IsSurrogate(r) {
			p.want(p.next(`\u`))
			r = utf16.DecodeRune(r, p.hex())
			p.want(r != utf8.RuneError)
		}
		s.WriteRune(r)
	}
	return s.String()
}

func (p *jsonText) hex() rune {
	p.want(len(p.rest) >= 4)
	n, err := strconv.ParseUint(p.rest[:4], 16, 32)
	p.want(err == nil)
	p.rest = p.rest[4:]
	return rune(n)
}
