package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// LookupEnv finds a variable of the environment, as os.LookupEnv does.
type LookupEnv func(name string) (value string, found bool)

// expand fills the variables of one scalar in: ${env:NAME}, ${env:NAME:-default}
// for one that is unset or empty, and $$ for a dollar sign. It runs on parsed
// scalars only, so that a value can never add a key or a tenant to the file.
// What is wrong comes back in problems; none of them holds a value.
func expand(text string, lookup LookupEnv) (value string, problems []error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i+1 == len(text) {
			b.WriteString(text)
			return b.String(), problems
		}
		b.WriteString(text[:i])
		text = text[i:]
		switch text[1] {
		case '$':
			b.WriteByte('$')
			text = text[2:]
		case '{':
			end := strings.IndexByte(text, '}')
			if end < 0 {
				return "", append(problems, errors.New(`has "${" without its "}"; a dollar sign itself is written $$`))
			}
			v, err := variable(text[2:end], lookup)
			if err != nil {
				problems = append(problems, err)
			}
			b.WriteString(v)
			text = text[end+1:]
		default:
			b.WriteByte('$')
			text = text[1:]
		}
	}
}

// variable returns the value of what stands between "${" and "}".
func variable(inner string, lookup LookupEnv) (string, error) {
	name, ok := strings.CutPrefix(inner, "env:")
	if !ok {
		return "", errors.New(`has "${" that does not begin a variable: write ${env:NAME} or ${env:NAME:-default}; a dollar sign itself is written $$`)
	}
	name, fallback, hasDefault := strings.Cut(name, ":-")
	if !variableName.MatchString(name) {
		return "", fmt.Errorf("names the variable %s: write ${env:NAME} or ${env:NAME:-default}, NAME of letters, digits and _", quoteShort(name))
	}
	if strings.Contains(fallback, "${") {
		return "", fmt.Errorf("has a variable inside the default of %s: a default is plain text", name)
	}
	value, found := lookup(name)
	switch {
	case hasDefault && value == "":
		return strings.ReplaceAll(fallback, "$$", "$"), nil
	case !found:
		return "", fmt.Errorf("needs the environment variable %s, which is not set: set it, or write ${env:%s:-default}", name, name)
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return "", fmt.Errorf("needs the environment variable %s, whose value is not UTF-8 text", name)
	}
	return value, nil
}
