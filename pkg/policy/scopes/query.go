package scopes

import (
	"slices"
	"strings"
	"unicode/utf8"
)

type pair struct{ key, value string }

// parseQuery reads a query as Python's parse_qs does, and net/url does not:
// "&" alone separates, a pair without a value is dropped, an escape that is
// none stays as it is. The first of several values of one key is kept.
func parseQuery(query string) []pair {
	var pairs []pair
	for query != "" {
		var member string
		member, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(member, "=")
		if value == "" {
			continue
		}
		key = unquote(key)
		if !slices.ContainsFunc(pairs, func(p pair) bool { return p.key == key }) {
			pairs = append(pairs, pair{key, unquote(value)})
		}
	}
	return pairs
}

// unquote decodes "+" and escapes. Bytes that are no UTF-8 become U+FFFD, one
// for each longest beginning of a character. A character that is not escaped
// ends a sequence of escapes.
func unquote(text string) string {
	text = strings.ReplaceAll(text, "+", " ")
	if !strings.Contains(text, "%") {
		return text
	}
	var result strings.Builder
	var escaped []byte // decoded and not yet written
	for i := 0; i < len(text); i++ {
		if b, ok := escape(text[i:]); ok {
			escaped = append(escaped, b)
			i += 2
			continue
		}
		writeUTF8(&result, escaped)
		escaped = escaped[:0]
		result.WriteByte(text[i])
	}
	writeUTF8(&result, escaped)
	return result.String()
}

// escape decodes the escape that text begins with.
func escape(text string) (byte, bool) {
	if len(text) < 3 || text[0] != '%' {
		return 0, false
	}
	high, ok1 := hexDigit(text[1])
	low, ok2 := hexDigit(text[2])
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func writeUTF8(to *strings.Builder, bytes []byte) {
	for len(bytes) > 0 {
		r, size := utf8.DecodeRune(bytes)
		if r == utf8.RuneError && size == 1 {
			size = brokenPrefix(bytes)
		}
		to.WriteRune(r)
		bytes = bytes[size:]
	}
}

// brokenPrefix returns the length of the longest beginning of a character that
// invalid bytes start with, or 1 (Unicode, section 3.9, table 3-7).
func brokenPrefix(bytes []byte) int {
	low, high, more := byte(0x80), byte(0xBF), 0
	switch lead := bytes[0]; {
	case lead == 0xE0:
		low, more = 0xA0, 2
	case lead == 0xED:
		high, more = 0x9F, 2
	case 0xE1 <= lead && lead <= 0xEF:
		more = 2
	case lead == 0xF0:
		low, more = 0x90, 3
	case lead == 0xF4:
		high, more = 0x8F, 3
	case 0xF1 <= lead && lead <= 0xF3:
		more = 3
	}
	n := 1
	for n <= more && n < len(bytes) && low <= bytes[n] && bytes[n] <= high {
		low, high = 0x80, 0xBF
		n++
	}
	return n
}
