package scopes

import (
	"strings"
	"unicode/utf8"
)

// Pattern is a shell pattern as Python's fnmatch reads it: "*" is any text, "/"
// and line breaks included, "?" is one character, "[a-z]" is one of a class and
// "[!a-z]" one outside of it. Letter case matters, there is no way to quote,
// "^" means nothing special in a class, and a "[" that is not closed is itself.
//
// The zero value matches the empty text alone.
type Pattern struct {
	text   string
	star   bool    // there is a "*" anywhere, in a class too
	tokens []token // nil: text is compared as it is
}

type kind uint8

const (
	character kind = iota
	one            // any one character
	many           // any text
	class
)

type token struct {
	kind    kind
	char    rune
	negated bool
	ranges  []span
}

type span struct{ low, high rune }

// Fnmatch tells whether the text matches the pattern.
func Fnmatch(text, pattern string) bool { return Compile(pattern).Match(text) }

// Compile reads a pattern. Every string is one.
func Compile(pattern string) Pattern {
	p := Pattern{text: pattern, star: strings.Contains(pattern, "*")}
	if !strings.ContainsAny(pattern, "*?[") {
		return p
	}
	closed := true // there may still be a "]" ahead
	for rest := pattern; rest != ""; {
		c, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		switch {
		case c == '*':
			if n := len(p.tokens); n == 0 || p.tokens[n-1].kind != many {
				p.tokens = append(p.tokens, token{kind: many})
			}
		case c == '?':
			p.tokens = append(p.tokens, token{kind: one})
		case c == '[' && closed:
			var content string
			if content, closed = classContent(rest); closed {
				rest = rest[len(content)+1:]
				p.tokens = append(p.tokens, compileClass(content))
				continue
			}
			fallthrough
		default:
			p.tokens = append(p.tokens, token{char: c})
		}
	}
	return p
}

// classContent returns what stands before the "]" that closes a class. The
// first character of the class, after a "!", can't close it.
func classContent(rest string) (string, bool) {
	start := 0
	if strings.HasPrefix(rest, "!") {
		start = 1
	}
	if strings.HasPrefix(rest[start:], "]") {
		start++
	}
	end := strings.IndexByte(rest[start:], ']')
	if end < 0 {
		return "", false
	}
	return rest[:start+end], true
}

// compileClass reads characters and ranges. A range that runs backwards is left
// out; a class that nothing is left of matches no character, or any if negated.
func compileClass(content string) token {
	members, negated := strings.CutPrefix(content, "!")
	t := token{kind: class, negated: negated}
	chars := []rune(members)
	for i := 0; i < len(chars); i++ {
		s := span{chars[i], chars[i]}
		isRange := i+2 < len(chars) && chars[i+1] == '-'
		if isRange {
			s.high = chars[i+2]
			i += 2
		}
		switch {
		case s.low > s.high:
		case s.low == '!' && !t.negated && len(t.ranges) == 0:
			// Python leaves backwards ranges out before it looks for the "!":
			// in [b-a!x] the "!" comes to stand first, and negates. Of a range
			// [b-a!-z] the two other characters stay.
			t.negated = true
			if isRange {
				t.ranges = append(t.ranges, span{'-', '-'}, span{s.high, s.high})
			}
		default:
			t.ranges = append(t.ranges, s)
		}
	}
	return t
}

func (t token) matches(c rune) bool {
	switch t.kind {
	case character:
		return c == t.char
	case class:
		for _, s := range t.ranges {
			if s.low <= c && c <= s.high {
				return !t.negated
			}
		}
		return t.negated
	default:
		return true
	}
}

// Match tells whether the whole text matches. It takes no more steps than the
// product of both lengths: of several "*" only the last one is ever tried again.
func (p Pattern) Match(text string) bool {
	if p.tokens == nil {
		return text == p.text
	}
	next, star, retry := 0, -1, ""
	for text != "" {
		if next < len(p.tokens) && p.tokens[next].kind == many {
			next++
			star, retry = next, text
			continue
		}
		c, size := utf8.DecodeRuneInString(text)
		if next < len(p.tokens) && p.tokens[next].matches(c) {
			text = text[size:]
			next++
			continue
		}
		if star < 0 {
			return false
		}
		_, size = utf8.DecodeRuneInString(retry)
		retry = retry[size:]
		text, next = retry, star
	}
	for next < len(p.tokens) && p.tokens[next].kind == many {
		next++
	}
	return next == len(p.tokens)
}
