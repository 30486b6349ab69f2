package oracle

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This is USSO's scope language as its Python SDK has it: check_access, with
// Python's fnmatch and parse_qs, quirks included.

var levels = map[string]int{
	"none": 0, "read": 10, "create": 20, "update": 30, "delete": 40, "manage": 50, "admin": 60, "owner": 90, "*": 90, "superadmin": 100,
}

// scope is [action:]segment/segment[?key=pattern&…].
type scope struct {
	level   int
	path    []string
	filters map[string]string
}

func parseScope(text string) (s scope) {
	head, query, _ := strings.Cut(text, "?")
	action, path, found := strings.Cut(head, ":")
	if !found {
		action, path = "", head
	}
	s.level = levelOf(action)
	for _, segment := range strings.Split(path, "/") {
		if segment == "" {
			segment = "*"
		}
		s.path = append(s.path, segment)
	}
	s.filters = parseQS(query)
	return s
}

// levelOf: no action, and one that nobody knows, is read.
func levelOf(action string) int {
	if level, known := levels[action]; known {
		return level
	}
	return levels["read"]
}

// access tells whether the scopes grant what a route's access asks for. Each of
// its filters is tried alone; a "?" without any is granted by nothing.
func access(scopes []string, required string) bool {
	want := parseScope(required)
	var alternatives []map[string]string
	for name, value := range want.filters {
		alternatives = append(alternatives, map[string]string{name: value})
	}
	if !strings.Contains(required, "?") {
		alternatives = []map[string]string{{}}
	}
	return checkAccess(scopes, want.level, want.path, alternatives)
}

func checkAccess(scopes []string, level int, path []string, alternatives []map[string]string) bool {
	return slices.ContainsFunc(scopes, func(text string) bool {
		s := parseScope(text)
		return s.level >= level && s.coversPath(path) && slices.ContainsFunc(alternatives, s.coversFilters)
	})
}

// coversPath compares from the right, over the length of the shorter path.
func (s scope) coversPath(path []string) bool {
	starred := false
	for i := 1; i <= min(len(path), len(s.path)); i++ {
		segment, pattern := path[len(path)-i], s.path[len(s.path)-i]
		starred = starred || strings.Contains(pattern, "*")
		open := i > 1 && (segment == "" || segment == "*")
		if !open && !fnmatch(segment, pattern) {
			return false
		}
	}
	rest := s.path[:max(0, len(s.path)-len(path))]
	return !starred || !slices.ContainsFunc(rest, func(p string) bool { return p != "*" })
}

func (s scope) coversFilters(given map[string]string) bool {
	for name, pattern := range s.filters {
		if value, found := given[name]; !found || !fnmatch(value, pattern) {
			return false
		}
	}
	return true
}

// parseQS: "&" alone separates, a pair without a value is none, the first of
// several counts.
func parseQS(query string) map[string]string {
	all := map[string]string{}
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if _, found := all[unquote(name)]; !found && value != "" {
			all[unquote(name)] = unquote(value)
		}
	}
	return all
}

var asciiRun = regexp.MustCompile(`[\x00-\x7f]+`)

// unquote is unquote_plus: each run of ASCII becomes bytes, and these text, in
// which one U+FFFD stands for each longest beginning of a character that breaks off.
func unquote(text string) string {
	return asciiRun.ReplaceAllStringFunc(strings.ReplaceAll(text, "+", " "), func(run string) string {
		raw := escape.ReplaceAllStringFunc(run, func(e string) string {
			n, _ := strconv.ParseUint(e[1:], 16, 8)
			return string([]byte{byte(n)})
		})
		var out strings.Builder
		for raw != "" {
			r, size := utf8.DecodeRuneInString(raw)
			for r == utf8.RuneError && size < len(raw) && !utf8.FullRuneInString(raw[:size]) && !utf8.FullRuneInString(raw[:size+1]) {
				size++
			}
			out.WriteRune(r)
			raw = raw[size:]
		}
		return out.String()
	})
}

// fnmatch is fnmatch.fnmatchcase, by way of fnmatch.translate.
func fnmatch(text, pattern string) bool {
	var expr strings.Builder
	pat := []rune(pattern)
	for i := 0; i < len(pat); i++ {
		switch pat[i] {
		case '*':
			expr.WriteString(".*")
		case '?':
			expr.WriteString(".")
		case '[':
			end := classEnd(pat, i+1)
			if end < 0 {
				expr.WriteString(`\[`)
				continue
			}
			expr.WriteString(class(pat[i+1 : end]))
			i = end
		default:
			expr.WriteString(regexp.QuoteMeta(string(pat[i])))
		}
	}
	return regexp.MustCompile("^(?s:" + expr.String() + ")$").MatchString(text)
}

// classEnd is where the "]" of a class stands: not first, nor behind a first "!".
func classEnd(pat []rune, i int) int {
	if i < len(pat) && pat[i] == '!' {
		i++
	}
	for i++; i < len(pat); i++ {
		if pat[i] == ']' {
			return i
		}
	}
	return -1
}

// class writes a class of characters and ranges. As in Python, ranges that run
// backwards are taken out before a "!" is looked for.
func class(stuff []rune) string {
	var chunks [][]rune // what stands between the hyphens of ranges
	begin, from := 0, 1
	if stuff[0] == '!' {
		from = 2
	}
	for {
		at := -1
		if from <= len(stuff) {
			at = slices.Index(stuff[from:], '-')
		}
		if at < 0 {
			break
		}
		chunks = append(chunks, slices.Clone(stuff[begin:from+at]))
		begin, from = from+at+1, from+at+3
	}
	if rest := stuff[begin:]; len(rest) > 0 || len(chunks) == 0 {
		chunks = append(chunks, slices.Clone(rest))
	} else {
		chunks[len(chunks)-1] = append(chunks[len(chunks)-1], '-')
	}
	for k := len(chunks) - 1; k > 0; k-- {
		before := chunks[k-1]
		if before[len(before)-1] > chunks[k][0] {
			chunks[k-1] = append(before[:len(before)-1], chunks[k][1:]...)
			chunks = slices.Delete(chunks, k, k+1)
		}
	}
	negated := len(chunks[0]) > 0 && chunks[0][0] == '!'
	if negated {
		chunks[0] = chunks[0][1:]
	}
	var inside []string
	for _, chunk := range chunks {
		text := ""
		for _, r := range chunk {
			text += `\x{` + strconv.FormatInt(int64(r), 16) + `}`
		}
		inside = append(inside, text)
	}
	content := strings.Join(inside, "-")
	switch {
	case content == "" && negated:
		return "."
	case content == "":
		return `[^\x{0}-\x{10ffff}]` // matches nothing
	case negated:
		return "[^" + content + "]"
	}
	return "[" + content + "]"
}
