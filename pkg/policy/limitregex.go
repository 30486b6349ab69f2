package policy

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A regular expression is compiled into instructions, of which each may be tried
// at each letter of the text. OPA also remembers the last hundred, so that a
// client's may stay for long.
const (
	maxInstructions = 20_000
	regexStart      = 64      // letters that a match takes at least
	maxRegexSteps   = 1 << 26 // about half a second
)

// limitRegex bounds the product of a pattern and a text, by their positions
// among the operands; a negative one is no text at all.
func limitRegex(pattern, text int) func(operands []*ast.Term) error {
	return func(operands []*ast.Term) error {
		p, _ := operands[pattern].Value.(ast.String)
		var s ast.String
		if text >= 0 {
			s, _ = operands[text].Value.(ast.String)
		}
		return limitMatch(string(p), len(s))
	}
}

func limitMatch(pattern string, letters int) error {
	letters += regexStart
	n := roughInstructions(pattern)
	if n <= maxInstructions && n <= maxRegexSteps/letters {
		return nil // as nearly all are: nothing was parsed
	}
	if len(pattern) > maxInstructions*4 {
		return fmt.Errorf("a pattern of %d bytes", len(pattern))
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil // the function says what is wrong with it
	}
	return limitProgram(instructions(re), letters)
}

func limitProgram(n, letters int) error {
	if n > maxInstructions {
		return fmt.Errorf("a pattern of more than %d instructions", maxInstructions)
	}
	if n > maxRegexSteps/letters {
		return errors.New("the pattern is too large for a text of this size")
	}
	return nil
}

// limitTemplate reads what stands between the delimiters as patterns, and
// everything else as letters.
func limitTemplate(operands []*ast.Term) error {
	var texts [4]string
	for i := range texts {
		text, _ := operands[i].Value.(ast.String)
		texts[i] = string(text)
	}
	template, start, end := texts[0], texts[2], texts[3]
	if len(start) != 1 || len(end) != 1 {
		return nil // the function says so
	}
	n, depth, from := 2*len(template), 0, 0
	for i := range len(template) {
		switch template[i] {
		case start[0]:
			if depth++; depth == 1 {
				from = i + 1
			}
		case end[0]:
			if depth--; depth == 0 {
				re, err := syntax.Parse(template[from:i], syntax.Perl)
				if err != nil {
					return nil
				}
				n += instructions(re)
			}
		}
		if depth < 0 || n > maxInstructions {
			break
		}
	}
	return limitProgram(n, len(texts[1])+regexStart)
}

// roughInstructions is never too small: a repetition makes a thousand of one at
// most, one in another too, and a class of letters has some hundred ranges.
func roughInstructions(pattern string) int {
	n := 2*len(pattern) + 2
	if strings.Contains(pattern, `\p`) || strings.Contains(pattern, `\P`) || strings.Contains(pattern, "(?") {
		n *= 64
	}
	if strings.IndexByte(pattern, '{') >= 0 {
		n *= 1000
	}
	return n
}

// instructions estimates the size of the program, without making it. Ranges of
// letters count as the space that they take.
func instructions(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass:
		n += len(re.Rune) / 8
	case syntax.OpConcat:
		n = 0
	case syntax.OpCapture:
		n = 2
	case syntax.OpAlternate:
		n = len(re.Sub)
	}
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(1, re.Min, re.Max)
	}
	return n
}

// limitGlob bounds what a pattern of globs may try: each star and each list of
// alternatives at each place, and those in others.
func limitGlob(operands []*ast.Term) error {
	pattern, _ := operands[0].Value.(ast.String)
	text, _ := operands[2].Value.(ast.String)
	return limitGlobMatch(string(pattern), len(text))
}

const (
	maxGlob      = 4 << 10 // bytes of a pattern
	maxGlobStars = 32
	maxGlobDepth = 4
)

func limitGlobMatch(pattern string, letters int) error {
	if len(pattern) > maxGlob {
		return fmt.Errorf("a pattern of %d bytes, more than %d", len(pattern), maxGlob)
	}
	stars, depth, deepest := 0, 0, 0
	for i := range len(pattern) {
		switch pattern[i] {
		case '*', '?':
			stars++
		case '{':
			depth++
			deepest = max(deepest, depth)
		case '}':
			depth--
		}
	}
	if stars > maxGlobStars {
		return fmt.Errorf("a pattern with more than %d wildcards", maxGlobStars)
	}
	if deepest > maxGlobDepth {
		return fmt.Errorf("a pattern with lists in lists, more than %d deep", maxGlobDepth)
	}
	return limitSteps(product(product(len(pattern)+1, stars+1), letters/16+1))
}

// limitGlobs: the function looks for a text that both patterns match, by trying
// each part of one with each of the other.
func limitGlobs(operands []*ast.Term) error {
	p, _ := operands[0].Value.(ast.String)
	q, _ := operands[1].Value.(ast.String)
	stars := strings.Count(string(p), "*") + strings.Count(string(q), "*") + strings.Count(string(p), "+") + strings.Count(string(q), "+")
	if stars > 16 {
		return errors.New("patterns with more than 16 repetitions")
	}
	return limitSteps(product(product(len(p), len(q)), 1+stars*stars))
}
