package policies_test

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/ussoio/ussoauthz/pkg/tenants"
	"github.com/ussoio/ussoauthz/policies"
)

// routing is a question to usso.match.
type routing struct {
	Pattern  string   `json:"pattern"`
	Method   string   `json:"method"`
	Segments []string `json:"segments"`
}

// asRoute answers as the configuration's routes do: with what the wildcards
// stand for, nil where the request doesn't fit or the pattern is refused.
func (q routing) asRoute() (params map[string]any, refused bool) {
	routes, faults := tenants.NewRoutes([]tenants.Route{{Match: q.Pattern}})
	if len(faults) > 0 {
		return nil, true
	}
	m, ok := routes.Match(q.Method, q.Segments)
	if !ok {
		return nil, false
	}
	params = map[string]any{}
	for _, p := range m.Params {
		params[p.Name] = p.Value
	}
	return params, false
}

// matcher evaluates the plain Rego of usso.match for many questions at once:
// a list with the value for each, empty where it is undefined.
func matcher(t *testing.T) func([]routing) []any {
	t.Helper()
	options := []func(*rego.Rego){rego.Query(`[[params | params := data.usso.match(q.pattern) with input as {"request": q}] | some q in input]`)}
	for _, name := range []string{"usso/usso.rego", "usso/routes.rego", "usso/scopes.rego"} {
		source, err := fs.ReadFile(policies.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, rego.Module(name, string(source)))
	}
	query, err := rego.New(options...).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(questions []routing) []any {
		t.Helper()
		results, err := query.Eval(context.Background(), rego.EvalInput(questions))
		if err != nil {
			t.Fatal(err)
		}
		answers := results[0].Expressions[0].Value.([]any)
		if len(answers) != len(questions) {
			t.Fatalf("%d answers to %d questions", len(answers), len(questions))
		}
		return answers
	}
}

// TestMatchIsTheRoutesMatch holds usso.match to the patterns of the
// configuration: the same requests fit, and the wildcards stand for the same.
func TestMatchIsTheRoutesMatch(t *testing.T) {
	ask := matcher(t)
	g := &requests{rand.New(rand.NewPCG(20260301, 0))}
	fit, refused, all := 0, 0, 0
	for range 100 {
		questions := make([]routing, 100)
		for i := range questions {
			questions[i] = g.routing()
		}
		for i, answer := range ask(questions) {
			want, bad := questions[i].asRoute()
			var expected []any
			if want != nil {
				expected = []any{want}
				fit++
			}
			if bad {
				refused++
			}
			if diff := cmp.Diff(expected, append([]any(nil), answer.([]any)...)); diff != "" {
				t.Errorf("%+v (-routes +Rego):\n%s", questions[i], diff)
			}
			all++
		}
	}
	t.Logf("%d questions: %d fit, %d patterns are refused", all, fit, refused)
	if fit < all/5 || refused < all/20 || fit+refused > all*4/5 {
		t.Error("the questions are too much alike")
	}
}

// requests makes patterns, and requests that nearly fit them.
type requests struct{ *rand.Rand }

func (g *requests) of(list ...string) string { return list[g.IntN(len(list))] }

func (g *requests) part() string {
	return g.of("posts", "a", "a+b", "caf%C3%A9", "a%20b", "x;y", "a}", "{id}", "{name}", "{_x1}", "{é}", "{id}")
}

func (g *requests) oddPart() string {
	return g.of("", "{}", "{$}", "{a-b}", "{1}", "a{b}", "{b}a", "{x...}", "{id}:purge", "{id}:", "{id}:a.b", "{x...}:purge", "{*x}", "{x:int}", "*", "**", "a*", ":id", "<id>", "[id]", "^a", "a|b", ".+", "a$", "...", "$a", "a:b", "%zz", "%2e", "a%2Fb", "a%5Cb", "a%00", "%2541", "..", "a b", "a?b", "{", "{id")
}

func (g *requests) routing() routing {
	parts := make([]string, 1+g.IntN(3))
	for i := range parts {
		parts[i] = g.part()
	}
	if g.IntN(8) == 0 {
		parts[g.IntN(len(parts))] = g.oddPart()
	}
	if g.IntN(2) == 0 {
		parts[len(parts)-1] = g.of("", "{$}", "{rest...}", "{rest...}", "{last}:purge")
	}
	pattern := g.of("", "GET ", "GET ", "GET\t ", "HEAD ", "POST ", "M-X ", "get ", "CONNECT ") + "/" + strings.Join(parts, "/")
	if g.IntN(20) == 0 {
		pattern = g.of("ANY", "*", "GET|POST", "~", "ALL", "TRACE", "TRACK") + " /{rest...}"
	}

	segments := []string{}
	for _, part := range parts {
		segments = append(segments, g.segment(part)...)
	}
	switch g.IntN(8) {
	case 0:
		segments = append(segments, g.of("a", ""))
	case 1:
		segments = segments[:len(segments)-1]
	}
	// A path that reaches a policy is canonical: these segments don't.
	for i, s := range segments {
		if s == "" && i < len(segments)-1 || strings.ContainsAny(s, "./\\%\x00") {
			segments[i] = "b"
		}
	}
	if len(segments) == 0 {
		segments = []string{""}
	}
	return routing{Pattern: pattern, Method: g.of("GET", "GET", "GET", "HEAD", "POST", "M-X", "get"), Segments: segments}
}

// segment returns what has a chance to fit a part of a pattern.
func (g *requests) segment(part string) []string {
	switch {
	case g.IntN(12) == 0:
		return []string{g.of("posts", "b")}
	case part == "", strings.HasSuffix(part, "...}"):
		return [][]string{{""}, {"x"}, {"x", "y"}, {"x", ""}}[g.IntN(4)]
	case part == "{$}":
		return []string{""}
	case strings.HasSuffix(part, ":purge"):
		return []string{g.of("7:purge", "7:purge", "a:b:purge", ":purge", "7:PURGE", "7:purge:x", "7")}
	case strings.HasPrefix(part, "{"):
		return []string{g.of("1", "a b", "é", "x")}
	}
	return []string{strings.NewReplacer("%C3%A9", "é", "%20", " ").Replace(part)}
}
