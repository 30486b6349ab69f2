package decisiontest_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/decisiontest"
	"github.com/ussoio/ussoauthz/internal/testreport"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func run(t *testing.T, cfg *config.Config, file string) []testreport.Result {
	t.Helper()
	suites, err := decisiontest.Load([]string{file}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	runner, err := decisiontest.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runner.Close)
	results := runner.Run(context.Background(), suites[0])
	if len(results) == 0 || len(results) != len(suites[0].Cases) {
		t.Fatalf("%d results of %d cases", len(results), len(suites[0].Cases))
	}
	return results
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// allPass fails for each case that did not pass.
func allPass(t *testing.T, results []testreport.Result) {
	t.Helper()
	for _, r := range results {
		if r.Outcome != policy.TestPassed {
			t.Errorf("%s:%d: %s: %s\n%s%s", r.File, r.Line, r.Name, r.Outcome, r.Problem, r.Output)
		}
	}
}

func TestShippedCases(t *testing.T) {
	results := run(t, load(t, "../../demo/ussoauthz.yaml"), "../../demo/posts_decisions.yaml")
	if len(results) < 12 {
		t.Errorf("only %d cases", len(results))
	}
	allPass(t, results)
}

// Tenants of every kind: what their blocks say about tokens holds for the
// minted ones.
func TestTenantsOfEveryKind(t *testing.T) {
	allPass(t, run(t, load(t, "testdata/kinds.yaml"), "testdata/kinds_cases.yaml"))
}

// Each expectation can fail, and says how.
func TestDifferences(t *testing.T) {
	cfg := load(t, "../../demo/ussoauthz.yaml")
	const me, public = "{host: acme.example, path: /me}", "{host: acme.example, path: /}"
	for _, test := range []struct{ request, token, expect, want string }{
		{me, "none", "{status: 200}", "- status: 200\n+ status: 401"},
		{me, "{}", "{status: 403}", "- status: 403\n+ status: 200"},
		{me, "none", "{reason: allowed}", "- reason: allowed\n+ reason: token_not_found"},
		{me, "{}", "{reason: no_route}", "- reason: no_route\n+ reason: allowed"},
		{me, "none", "{status: 401, detail: no}", `- detail: "no"` + "\n" + `+ detail: "A token is required"`},
		{me, "{}", "{status: 200, detail: no}", `- detail: "no"` + "\n" + `+ detail: none`},
		{me, "none", "{status: 401, body: x}", `- body: "x"` + "\n" + `+ body: "{\"error\":\"Token not found\",\"detail\":\"A token is required\",\"reason\":\"token_not_found\"}"`},
		{me, "none", "{status: 401, upstream: {x-user-id: null}}", "- upstream x-user-id: none\n+ upstream x-user-id: nothing went upstream"},
		{me, "{}", "{status: 200, upstream: {X-User-ID: null}}", `- upstream x-user-id: none` + "\n" + `+ upstream x-user-id: "user:test"`},
		{me, "{}", "{status: 200, upstream: {x-user-id: eve}}", `- upstream x-user-id: "eve"` + "\n" + `+ upstream x-user-id: "user:test"`},
		{me, "{}", "{status: 200, upstream: {x-roles: admin}}", `- upstream x-roles: "admin"` + "\n" + `+ upstream x-roles: none`},
		{public, "none", "{status: 200, removed: [X-Other]}", `- removed: x-other` + "\n" + `+ removed: ["x-user-id" "x-tenant-id" "x-workspace-id" "x-roles" "x-scopes" "x-company-id"]`},
		{me, "none", "{status: 401, response: {www-authenticate: null}}", `- response www-authenticate: none` + "\n" + `+ response www-authenticate: "Bearer realm=\"acme\""`},
		{me, "none", "{status: 401, response: {retry-after: 5}}", `- response retry-after: "5"` + "\n" + `+ response retry-after: none`},
		{"{host: nobody.example, path: /}", "{}", "{status: 400}", "the request selects no tenant, so nobody signs its token: name one with signed_by"},
	} {
		file := write(t, "x.yaml", "cases:\n  - {name: x, request: "+test.request+", token: "+test.token+", expect: "+test.expect+"}\n")
		got := run(t, cfg, file)[0]
		if strings.HasPrefix(test.want, "- ") {
			test.want = "--- expected\n+++ got\n" + test.want
		}
		if diff := cmp.Diff(test.want+"\n", got.Problem); diff != "" || got.Outcome == policy.TestPassed {
			t.Errorf("%s %s: %s\n%s", test.token, test.expect, got.Outcome, diff)
		}
	}
}

// A case that fails says why the answer is what it is.
func TestFailureExplains(t *testing.T) {
	file := write(t, "x.yaml", `cases:
  - name: x
    request: {method: DELETE, host: acme.example, path: /posts/1}
    token: {scopes: [read:posts]}
    expect: {status: 200}
`)
	got := run(t, load(t, "../../demo/ussoauthz.yaml"), file)[0]
	for _, text := range []string{"ok    tenant        acme", "FAIL  policy", "needs scope delete:posts; the token has read:posts"} {
		if !strings.Contains(got.Output, text) {
			t.Errorf("no %q in\n%s", text, got.Output)
		}
	}
	if got.Line != 2 || got.Name != "x" {
		t.Errorf("%+v", got)
	}
}

func TestFaults(t *testing.T) {
	cfg := load(t, "../../demo/ussoauthz.yaml")
	_, err := decisiontest.Load([]string{"testdata/faults.yaml", "testdata/missing.yaml"}, cfg)
	want, readErr := os.ReadFile("testdata/faults.txt")
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err == nil {
		t.Fatal("no fault was found")
	}
	if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
		t.Error(diff)
	}
}

func TestFilesThatAreNoCases(t *testing.T) {
	cfg := load(t, "../../demo/ussoauthz.yaml")
	bomb := "tokens:\n  t:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		name, below := "a"+string(rune('1'+i)), "*a"+string(rune('0'+i))
		bomb += "    " + name + ": &" + name + " [" + strings.Repeat(below+", ", 9) + below + "]\n"
	}
	for name, test := range map[string]struct{ text, want string }{
		"empty":         {"", `x.yaml:1: is empty: write at least one case under "cases:"`},
		"comment":       {"# nothing\n", `x.yaml:1: is empty: write at least one case under "cases:"`},
		"list":          {"- a\n", "x.yaml:1: is no section of keys"},
		"text":          {"hello\n", "x.yaml:1: is no section of keys"},
		"no cases":      {"tokens: {}\n", "x.yaml:1: cases: is missing or empty: write at least one case"},
		"empty cases":   {"cases: []\n", "x.yaml:1: cases: is missing or empty: write at least one case"},
		"cases as text": {"cases: all\n", "x.yaml:1: cases: is no list"},
		"null case":     {"cases: [null]\n", "x.yaml:1: cases[0]: is no section of keys"},
		"two":           {"cases: []\n---\ncases: []\n", `x.yaml:2: holds a second document: write one, without "---"`},
		"syntax":        {"cases:\n  - {name: x\n", "is not valid YAML at or after this line"},
		"cycle":         {"tokens:\n  t: &a {x: *a}\ncases: []\n", "is too deep, or one of too many values"},
		"bomb":          {bomb + "cases: []\n", "is too deep, or one of too many values"},
	} {
		_, err := decisiontest.Load([]string{write(t, "x.yaml", test.text)}, cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b_decisions.yaml", "a/a_decisions.yml", "a/other.yaml", ".git/c_decisions.yaml", "skip/d_decisions.yaml"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ignored := policy.TestConfig{Ignore: []string{"skip"}}.Ignored
	got, err := decisiontest.Find([]string{dir, filepath.Join(dir, "b_decisions.yaml")}, ignored)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "a/a_decisions.yml"), filepath.Join(dir, "b_decisions.yaml")}
	if !slices.Equal(got, want) {
		t.Errorf("found %v", got)
	}
	if _, err := decisiontest.Find([]string{filepath.Join(dir, "nowhere")}, ignored); err == nil {
		t.Error("a path that is not there is no fault")
	}
}

// A fuzzed file is read or refused; it never panics.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/faults.yaml", "testdata/kinds_cases.yaml", "../../demo/posts_decisions.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	cfg, err := config.Load("../../demo/ussoauthz.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		suites, err := decisiontest.Load([]string{path}, cfg)
		if err == nil && len(suites[0].Cases) == 0 {
			t.Error("no case and no fault")
		}
	})
}
