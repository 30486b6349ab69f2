package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9_*./:@-]{1,64}$`)

// keyText returns a key of the file as it stands in a field's path: a strange
// one in quotes, so that a fault stays one line.
func keyText(key string) string {
	if plainName.MatchString(key) {
		return key
	}
	return quoteShort(key)
}

// quoteShort quotes s, cut to a length that fits a line.
func quoteShort(s string) string {
	const most = 64
	if len(s) <= most {
		return strconv.Quote(s)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}

// oneLine replaces what would break a line of the report.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// kindOf names what a node is, in the words of a person.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!int", "!!float":
			return "a number"
		case "!!bool":
			return "a boolean"
		case "!!null":
			return "nothing"
		}
		return "a string"
	}
	return "an alias"
}

// nearest returns the known name that a mistyped one is closest to, or "".
func nearest(name string, known []string) string {
	if len(name) > 64 {
		return ""
	}
	plain := bare(name)
	best, bestDistance := "", 1+min(2, (len(plain)+1)/3)
	for _, k := range known {
		if d := levenshtein.ComputeDistance(plain, bare(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best == "" && len(plain) >= 4 { // a plural, a forgotten or added word
		i := slices.IndexFunc(known, func(k string) bool { return strings.Contains(bare(k), plain) || strings.Contains(plain, bare(k)) })
		if i >= 0 {
			best = known[i]
		}
	}
	return best
}

// bare makes jwksUrl, jwks-url and JWKS_URL one name.
func bare(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// list joins names for a message, and no more of them than a line can hold.
func list(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(len(names)-most) + " more"
}
