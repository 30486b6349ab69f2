//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/testkit/scopecases"
	"github.com/ussoio/ussoauthz/pkg/policy/scopes"
)

// scopeQuestions is how many calls of access are compared, in about a minute.
const scopeQuestions = 250_000

// TestUSSOScopes asks the SDK and us the same questions about scopes.
func TestUSSOScopes(t *testing.T) {
	sdk := installSDK(t)
	g := scopecases.New(20260301)
	var questions []scopecases.Question
	var lines bytes.Buffer
	for len(questions) < scopeQuestions {
		q := g.Question()
		if !defined(q.Filters) {
			continue
		}
		text, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		questions = append(questions, q)
		lines.Write(append(text, '\n'))
	}
	file := filepath.Join(t.TempDir(), "questions.jsonl")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), sdk.python, "-I", filepath.Join(filepath.Dir(sdk.script), "scopes.py"), file)
	cmd.Env = environment()
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	n, granted, raised, differences := 0, 0, 0, 0
	for answers := bufio.NewScanner(bytes.NewReader(out)); answers.Scan(); n++ {
		text, hasRaised := strings.CutPrefix(answers.Text(), "raised ")
		action := ""
		if questions[n].Action != nil {
			action = *questions[n].Action
		}
		got := scopes.Access(questions[n].Scopes, action, questions[n].Resource, scopes.FiltersFrom(questions[n].Filters), questions[n].Strict)
		if want := text == "true"; got != want {
			if differences++; differences <= 20 {
				line, err := json.Marshal(questions[n])
				t.Errorf("%s: the SDK says %s, we %v (%v)", line, answers.Text(), got, err)
			}
		}
		if got {
			granted++
		}
		if hasRaised {
			raised++
		}
	}
	if n != len(questions) || granted < n/5 || granted > n*4/5 || raised == 0 {
		t.Errorf("%d answers to %d questions, %d granted, %d raised", n, len(questions), granted, raised)
	}
	t.Logf("%d questions: %d granted, the SDK raised for %d, %d differences", n, granted, raised, differences)
}

// defined tells whether filters are what the SDK takes, and their values have a
// text that is not Python's alone: a fraction and a list are left out.
func defined(filters any) bool {
	switch f := filters.(type) {
	case []any:
		for _, element := range f {
			if _, ok := element.(map[string]any); element != nil && !ok || !defined(element) {
				return false
			}
		}
	case map[string]any:
		for _, value := range f {
			number, ok := value.(float64)
			if _, list := value.([]any); list || ok && number != math.Trunc(number) {
				return false
			}
		}
	}
	return true
}
