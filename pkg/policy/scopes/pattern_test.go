package scopes_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/policy/scopes"
)

func TestFnmatch(t *testing.T) {
	for _, test := range []struct {
		text, pattern string
		want          bool
	}{
		{"", "", true},
		{"a", "", false},
		{"", "*", true},
		{"", "?", false},
		{"a/b\nc", "*", true},
		{"a/b", "a*b", true},
		{"abcbc", "a*bc", true},
		{"abcbd", "a*bc", false},
		{"aXbXcY", "*X*Y", true},
		{"aXbXcYz", "*X*Y", false},
		{"é", "?", true},
		{"😀", "?", true},
		{"abc", "a?", false},
		{"A", "a", false},
		{"a.c", "a.c", true},
		{"abc", "a.c", false},
		{"a\n", "a", false},
		{"b", "[a-c]", true},
		{"B", "[a-c]", false},
		{"é", "[à-ü]", true},
		{"-", "[a-]", true},
		{"-", "[-a]", true},
		{"b", "[!b]", false},
		{"a", "[!b]", true},
		{"!", "[b!]", true},
		{"a", "[^a]", true},
		{"^", "[^a]", true},
		{"b", "[^a]", false},
		{"]", "[]]", true},
		{"]", "[!]]", false},
		{"[", "[[]", true},
		{"\\", "[\\]", true},
		{"*", "[*]", true},
		{"a", "[*]", false},
		// Never closed.
		{"[", "[", true},
		{"[]", "[]", true},
		{"[!]", "[!]", true},
		{"[abc", "[a*", true},
		{"[[[x", "[[[?", true},
		// Backwards ranges.
		{"b", "[c-a]", false},
		{"d", "[c-ad]", true},
		{"x", "[!c-a]", true},
		{"", "[!c-a]", false},
		// What a backwards range leaves in front is read as a mark.
		{"x", "[b-a!x]", false},
		{"y", "[b-a!x]", true},
		{"x", "[b-a!]", true},
		{"-", "[b-a!-z]", false},
		{"z", "[b-a!-z]", false},
		{"m", "[b-a!-z]", true},
		{"-", "[b-a!-!]", false},
		{"!", "[b-a!-!]", false},
		{"^", "[b-a^x]", true},
		{"a", "[b-a^x]", false},
	} {
		if got := scopes.Fnmatch(test.text, test.pattern); got != test.want {
			t.Errorf("Fnmatch(%q, %q) = %v", test.text, test.pattern, got)
		}
	}
}

// A pattern that makes a matcher with naive backtracking run for years, and one
// that makes a search for "]" quadratic.
func TestFnmatchTakesLittleTime(t *testing.T) {
	start := time.Now()
	scopes.Fnmatch(strings.Repeat("a", 4096), strings.Repeat("a*", 2048)+"b")
	scopes.Fnmatch(strings.Repeat("a", 4096), strings.Repeat("*?", 2048)+"b")
	scopes.Compile(strings.Repeat("[", 1<<20))
	if spent := time.Since(start); spent > 10*time.Second {
		t.Errorf("took %v", spent)
	}
}

func FuzzFnmatch(f *testing.F) {
	seeds := 0
	for _, questions := range recorded(f) {
		for _, q := range questions {
			for _, scope := range q.Scopes {
				f.Add(q.Resource, scope)
				seeds++
			}
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Add("\xff", "[\xfe-\xff]*")
	f.Add("\x9c)", "\xcf")
	f.Fuzz(func(t *testing.T, text, pattern string) {
		scopes.Fnmatch(text, pattern)
		if !strings.ContainsAny(pattern, "*?[") && scopes.Fnmatch(text, pattern) != (text == pattern) {
			t.Errorf("%q has no wildcard, and Fnmatch(%q) is not their equality", pattern, text)
		}
		// Without the bars the end of one could complete a character of the other.
		if !scopes.Fnmatch(text, "*") || !scopes.Fnmatch(pattern+"|"+text+"|"+pattern, "*"+literal(text)+"*") {
			t.Errorf("%q is not found between two stars", text)
		}
		scopes.Required([]string{text, pattern}, pattern)
	})
}

// literal is a pattern for the text alone.
func literal(text string) string {
	return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(text)
}
