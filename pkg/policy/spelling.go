package policy

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

// Parsers differ on where a name ends and on how it can be written. What one of
// them could take for the name of the workspace counts as that name: a request
// that names two workspaces names none. The rule named_workspace of the embedded
// policy says the same in Rego, and a test holds both to the same answers.

// workspaceSource is where a route says that the workspace is.
type workspaceSource struct {
	kind byte // '{' a parameter of the path, 'h' a header, 'q' the query, 0 nowhere
	name string

	spellings [2]string // of a name of the query: see spellingsOf
}

func parseWorkspace(text string) workspaceSource {
	if name, ok := strings.CutPrefix(text, "header:"); ok {
		return workspaceSource{kind: 'h', name: strings.ToLower(name)}
	}
	if name, ok := strings.CutPrefix(text, "query:"); ok {
		spellings, _ := spellingsOf(name)
		return workspaceSource{kind: 'q', name: name, spellings: spellings}
	}
	if len(text) > 1 && text[0] == '{' && text[len(text)-1] == '}' {
		return workspaceSource{kind: '{', name: text[1 : len(text)-1]}
	}
	return workspaceSource{}
}

// inHeaders returns the value of the one line of the name. A line of another
// spelling is a second one: servers in the CGI tradition read X_Org and X.Org as
// X-Org.
func (w *workspaceSource) inHeaders(headers []Header) (id string, ok bool) {
	for _, h := range headers {
		if h.Name != w.name && httpfield.SameName(h.Name, w.name) {
			return "", false
		}
	}
	id, ok = joinHeader(headers, w.name)
	return id, ok && !strings.ContainsAny(id, ",;")
}

// inQuery returns the value of the one pair of the name, where no other pair,
// nor a part of one, is of that name to any parser.
func (w *workspaceSource) inQuery(raw string) (id string, ok bool) {
	exact, spelled := 0, 0
	for name, value := range queryPairs(raw) {
		name, value = unescapeQuery(name), unescapeQuery(value)
		if name == w.name {
			exact, id = exact+1, value
		}
		for piece := range strings.SplitSeq(name+"="+value, ";") {
			if name, _, _ := strings.Cut(piece, "="); w.isSpelling(name) {
				spelled++
			}
		}
	}
	return id, exact == 1 && spelled == 1
}

// isSpelling tells whether a parser could read a decoded name as the source's.
func (w *workspaceSource) isSpelling(name string) bool {
	if isPlainName(name) {
		return name == w.spellings[0] || name == w.spellings[1]
	}
	spellings, unknown := spellingsOf(name)
	return unknown || spellings[0] == w.spellings[0] || spellings[1] == w.spellings[1]
}

// isPlainName: its spellings are the name itself.
func isPlainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

var (
	unicodeEscape = regexp.MustCompile(`%[uU][0-9A-Fa-f]{4}`) // of IIS and its likes
	signs         = regexp.MustCompile(`[\x00- ._+?\[\]-]`)
)

// spellingsOf returns what is left of a name without what parsers ignore, cut or
// exchange: case, spaces, "." and "_" (PHP), "?" at the beginning
// (URLSearchParams), all behind a NUL, and brackets with what they hold (qs, Rack,
// PHP); and the same with what the brackets hold.
// unknown: an escape is left that a parser could go on to decode.
func spellingsOf(name string) (spellings [2]string, unknown bool) {
	if strings.Contains(name, "%") && unicodeEscape.MatchString(name) {
		name = unicodeEscape.ReplaceAllStringFunc(name, func(escape string) string {
			r, err := strconv.ParseUint(escape[2:], 16, 16)
			if err != nil { // the expression has hexadecimal digits alone
				return escape
			}
			return string(rune(r)) // #nosec G115 -- 16 bits
		})
		unknown = strings.Contains(name, "%")
	}
	name, _, _ = strings.Cut(name, "\x00")
	name = strings.ToLower(strings.ToUpper(name)) // "ſ" is "s" to those who compare so
	outside := strings.TrimLeft(name, "[")
	if i := strings.IndexAny(outside, "[]"); i >= 0 {
		outside = outside[:i]
	}
	return [2]string{signs.ReplaceAllString(outside, ""), signs.ReplaceAllString(name, "")}, unknown
}
