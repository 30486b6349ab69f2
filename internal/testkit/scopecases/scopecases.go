// Package scopecases makes questions about scopes, for tests that hold two
// readings of the scope language against each other.
package scopecases

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Question is one call of access, with its answer where that is known.
type Question struct {
	Name     string   `json:"name"`
	Scopes   []string `json:"scopes"`
	Action   *string  `json:"action"`
	Resource string   `json:"resource"`
	Filters  any      `json:"filters"`
	Strict   bool     `json:"strict"`
	Granted  *bool    `json:"granted,omitempty"`
}

// New makes a generator; equal seeds make equal questions.
func New(seed uint64) *Generator { return &Generator{rand.New(rand.NewPCG(seed, 0))} } // #nosec G404 -- questions of a test, the same for the same seed

// Generator makes questions out of the characters that the language gives a
// meaning to, and answers that are worth comparing: what is asked for is bent
// from what is held.
type Generator struct{ *rand.Rand }

func (g *Generator) of(list ...string) string { return list[g.IntN(len(list))] }

func (g *Generator) action() string {
	return g.of("", "none", "read", "read", "read", "create", "update", "delete", "manage", "admin", "owner", "*",
		"*", "superadmin", "write", "READ", " read", "[r]ead")
}

func (g *Generator) char() string {
	return g.of("a", "a", "b", "c", "z", "A", "-", "!", "^", "[", "]", "*", "?", "\\", "&", "|", "~", ".", "$", "{", "}", "(", "é", "😀", "\n", " ", "0")
}

func (g *Generator) class() string {
	var b strings.Builder
	b.WriteString(g.of("[", "[", "[!", "[^", "[]", "[!]", "[b-a", "[b-a!"))
	for range g.IntN(5) {
		b.WriteString(g.of(g.char(), g.char(), "-", "a-c", "c-a", "!-~", "a-a", "é-😀"))
	}
	b.WriteString(g.of("]", "]", "]", "]", ""))
	return b.String()
}

// Pattern makes a shell pattern.
func (g *Generator) Pattern() string {
	var b strings.Builder
	for range 1 + g.IntN(4) {
		switch g.IntN(5) {
		case 0:
			b.WriteString(g.class())
		case 1:
			b.WriteString(g.of("*", "?", "**", "*?"))
		default:
			b.WriteString(g.char())
		}
	}
	return b.String()
}

// Fit makes a text that has a chance to match the pattern.
func (g *Generator) Fit(pattern string) string {
	var b strings.Builder
	for rest := pattern; rest != ""; {
		end := strings.IndexByte(rest, ']')
		switch {
		case rest[0] == '[' && end > 0 && g.IntN(8) > 0:
			chars := []rune(rest[1:end])
			if len(chars) > 0 && g.IntN(2) == 0 {
				b.WriteRune(chars[g.IntN(len(chars))])
			} else {
				b.WriteString(g.char())
			}
			rest = rest[end+1:]
			continue
		case rest[0] == '*':
			b.WriteString(g.of("", g.char(), g.char()+g.char()))
		case rest[0] == '?':
			b.WriteString(g.char())
		case g.IntN(20) == 0:
		default:
			b.WriteByte(rest[0])
		}
		rest = rest[1:]
	}
	return strings.ToValidUTF8(b.String(), "é")
}

func (g *Generator) segment() string {
	return g.of("a", "b", "files", "media", "*", "", "f*", "?iles", "tx-1", "a:b", g.Pattern(), g.Pattern())
}

func (g *Generator) path() string {
	segments := make([]string, 1+g.IntN(4))
	for i := range segments {
		segments[i] = g.segment()
	}
	return strings.Join(segments, "/")
}

func (g *Generator) value() string {
	return g.of("1", "1", "me", "*", "m?", "a+b", "a%2Fb", "%C3%A9", "%C3", "%E2%82x", "%F0%9F%98%80", "%zz", "%", "a=b", "a;b", "",
		"[!b]", "%5B"+"a-c]", "%ED%A0%80", "é%9F", g.Pattern())
}

func (g *Generator) query() string {
	pairs := make([]string, g.IntN(3))
	for i := range pairs {
		pairs[i] = g.of("u", "u", "v", "", "%75", "k+") + g.of("=", "=", "=", "=", "") + g.value()
	}
	return strings.Join(pairs, g.of("&", "&", "&&", ";"))
}

// Scope makes a scope, now and then one that is hardly one.
func (g *Generator) Scope() string {
	if g.IntN(20) == 0 {
		return g.of("", ":", "?", "/", "::", "*", "*:*", ":?u=1", "?u=1", "read:?u=1", "read:", "files?u=a:b", "a?v=1?u=2", "read:a:b", "read://", "none:*", "a/b:c/d")
	}
	scope := g.path()
	if g.IntN(4) > 0 {
		scope = g.action() + ":" + scope
	}
	if g.IntN(3) == 0 {
		scope += "?" + g.query()
	}
	return scope
}

// Near bends a scope a little.
func (g *Generator) Near(scope string) string {
	head, query, filtered := strings.Cut(scope, "?")
	action, path, ok := strings.Cut(head, ":")
	if !ok {
		action, path = "read", head
	}
	if g.IntN(2) == 0 {
		action = g.of("*", "superadmin", g.action())
	}
	segments := strings.Split(path, "/")
	switch i := g.IntN(len(segments)); g.IntN(6) {
	case 0:
		segments[i] = "*"
	case 1:
		segments[i] = g.segment()
	case 2:
		segments = segments[i:]
	case 3:
		segments = append([]string{g.segment()}, segments...)
	}
	scope = action + ":" + strings.Join(segments, "/")
	if filtered && g.IntN(3) > 0 {
		scope += "?" + query
	}
	return scope
}

func (g *Generator) filters(query string) any {
	member := func() map[string]any {
		members := map[string]any{}
		for pair := range strings.SplitSeq(query, "&") {
			key, value, _ := strings.Cut(pair, "=")
			value = strings.NewReplacer("%2F", "/", "%C3%A9", "é", "%F0%9F%98%80", "😀", "%C3", "\uFFFD", "+", " ").Replace(value)
			members[strings.NewReplacer("%75", "u", "+", " ").Replace(key)] = g.Fit(value)
		}
		switch g.IntN(8) {
		case 0:
			members[g.of("u", "v", "w")] = []any{nil, true, false, 1, -7, 1.5, "1", []any{"1"}}[g.IntN(8)]
		case 1:
			members = map[string]any{}
		}
		return members
	}
	switch g.IntN(8) {
	case 0:
		return nil
	case 1:
		return []any{}
	case 2, 3, 4:
		return []any{member(), member()}
	case 5:
		return []any{"u", nil, member()}
	default:
		return member()
	}
}

// Question makes a call of access.
func (g *Generator) Question() Question {
	q := Question{Strict: g.IntN(8) == 0}
	for range 1 + g.IntN(2) {
		q.Scopes = append(q.Scopes, g.Scope())
	}
	head, query, filtered := strings.Cut(q.Scopes[0], "?")
	action, path, ok := strings.Cut(head, ":")
	if !ok {
		action, path = "", head
	}
	if g.IntN(3) == 0 {
		action = g.action()
	}
	if g.IntN(8) > 0 {
		q.Action = &action
	}
	segments := strings.Split(path, "/")
	for i := range segments {
		if g.IntN(6) == 0 {
			segments[i] = g.segment()
		} else {
			segments[i] = g.Fit(segments[i])
		}
	}
	switch g.IntN(6) {
	case 0:
		segments = segments[g.IntN(len(segments)):]
	case 1:
		segments = append([]string{g.segment()}, segments...)
	}
	q.Resource = strings.Join(segments, "/")
	if filtered || g.IntN(10) == 0 {
		q.Filters = jsonValue(g.filters(query))
	}
	return q
}

// jsonValue turns Go numbers into what a JSON decoder gives.
func jsonValue(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("a generated value is no JSON: %v", err))
	}
	var decoded any
	if err := json.Unmarshal(text, &decoded); err != nil {
		panic(fmt.Sprintf("a generated value is no JSON: %v", err))
	}
	return decoded
}
