// Package plainpath holds what servers commonly do to a path before they route
// it: they ignore case, drop parameters, extensions, and dots and spaces at the
// end of a segment.
package plainpath

import (
	"unicode"
	"unicode/utf8"
)

// Fold returns the one spelling of all texts that are equal under simple case
// folding, as strings.EqualFold has it: lower-case, and "K" (the Kelvin sign)
// is "k". So are "İ" and "ı" "i": Go and Java make it of them letter by letter.
// It allocates only where that differs from s.
func Fold(s string) string {
	if IsFolded(s) {
		return s
	}
	return string(AppendFold(make([]byte, 0, len(s)), s))
}

// IsFolded tells whether Fold returns s itself.
func IsFolded(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return isFolded(s[i:])
		}
		if 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

func isFolded(s string) bool {
	for _, r := range s {
		if foldRune(r) != r {
			return false
		}
	}
	return true
}

// AppendFold appends Fold(s).
func AppendFold(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 { // not UTF-8: stays as it is
			b = append(b, c)
			i++
			continue
		}
		b = utf8.AppendRune(b, foldRune(r))
		i += size
	}
	return b
}

// foldRune returns the lower-case member of the runes that equal r under simple
// folding, or the first of them where none of them is that of the others.
func foldRune(r rune) rune {
	switch {
	case r < utf8.RuneSelf:
		return unicode.ToLower(r)
	case r == 'İ' || r == 'ı':
		return 'i'
	}
	lower, least := unicode.ToLower(unicode.ToUpper(r)), r
	found := lower == r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		found = found || other == lower
		least = min(least, other)
	}
	if found {
		return lower
	}
	return least
}
