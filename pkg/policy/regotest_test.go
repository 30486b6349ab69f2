package policy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// files writes files into a fresh folder.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	shopPolicy = `package shop

import data.usso

default allow := false

allow if usso.has_scope("read:shop")

allow if data.open
`
	shopTest = `package shop_test

import data.shop
import data.usso.authz

test_reader if shop.allow with input.identity.scopes as ["read:shop"]

test_embedded if authz.decision.reason == "no_route" with input as {"route": null}

test_fails if {
	print("before")
	shop.allow with input.identity.scopes as []
}

test_breaks if {
	to_number("x") == {true: 1, true: 2}[true]
	1 / 0 == 1
}

todo_test_later if false
`
)

func runTests(t *testing.T, cfg policy.TestConfig) *policy.TestReport {
	t.Helper()
	report, err := policy.RunTests(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func outcomes(r *policy.TestReport) map[string]policy.TestOutcome {
	got := map[string]policy.TestOutcome{}
	for _, test := range r.Tests() {
		got[test.Package+"."+test.Name] = test.Outcome
	}
	return got
}

func TestRegoTests(t *testing.T) {
	dir := files(t, map[string]string{
		"shop.rego": shopPolicy, "shop_test.rego": shopTest, "data.json": `{"open": false}`,
		"posts_decisions.yaml": "cases: []", ".hidden/x.rego": "no rego",
	})
	report := runTests(t, policy.TestConfig{Paths: []string{dir}})
	want := map[string]policy.TestOutcome{
		"data.shop_test.test_reader":     policy.TestPassed,
		"data.shop_test.test_embedded":   policy.TestPassed,
		"data.shop_test.test_fails":      policy.TestFailed,
		"data.shop_test.test_breaks":     policy.TestFailed,
		"data.shop_test.todo_test_later": policy.TestSkipped,
	}
	if diff := cmp.Diff(want, outcomes(report)); diff != "" {
		t.Error(diff)
	}
	for _, test := range report.Tests() {
		if test.Name != "test_fails" {
			continue
		}
		if !strings.Contains(test.Problem, "shop_test.rego:12: not true: shop.allow with") {
			t.Errorf("the problem does not name the line: %q", test.Problem)
		}
		if test.Output != "before\n" || test.Line != 10 {
			t.Errorf("output %q, line %d", test.Output, test.Line)
		}
	}
	var pretty bytes.Buffer
	if err := report.WritePretty(&pretty); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"PASS: 2/5", "FAIL: 2/5", "SKIPPED: 1/5", "shop_test.rego:12:"} {
		if !strings.Contains(pretty.String(), text) {
			t.Errorf("no %q in\n%s", text, &pretty)
		}
	}
	list, err := report.JSON()
	if err != nil || len(list) != 5 || !json.Valid(list[0]) || bytes.Contains(list[2], []byte(`"trace"`)) {
		t.Errorf("%d results, %v: %s", len(list), err, list)
	}
}

func TestRegoTestsByName(t *testing.T) {
	dir := files(t, map[string]string{"shop.rego": shopPolicy, "shop_test.rego": shopTest})
	got := outcomes(runTests(t, policy.TestConfig{Paths: []string{dir}, Run: "reader$"}))
	if diff := cmp.Diff(map[string]policy.TestOutcome{"data.shop_test.test_reader": policy.TestPassed}, got); diff != "" {
		t.Error(diff)
	}
}

// A package of the user's own takes the embedded one's place, but a test in
// the same package does not: the service would not load it.
func TestRegoTestsReplaceTheEmbeddedPolicy(t *testing.T) {
	const ask = "package usso.authz_test\n\ntest_reason if data.usso.authz.decision.reason == \"%\" with input as {\"route\": null}\n"
	for name, content := range map[string]map[string]string{
		"replaced": {
			"authz.rego":      "package usso.authz\n\ndecision := {\"allowed\": false, \"reason\": \"mine\"}\n",
			"authz_test.rego": strings.ReplaceAll(ask, "%", "mine"),
		},
		"a test alone": {
			"authz_test.rego": strings.ReplaceAll(ask, "%", "no_route"),
			"in_test.rego":    "package usso.authz\n\ntest_inside if decision.reason == \"no_route\" with input as {\"route\": null}\n",
		},
	} {
		got := outcomes(runTests(t, policy.TestConfig{Paths: []string{files(t, content)}}))
		for test, outcome := range got {
			if outcome != policy.TestPassed {
				t.Errorf("%s: %s: %s", name, test, outcome)
			}
		}
		if len(got) != len(content) && name != "replaced" || len(got) == 0 {
			t.Errorf("%s: ran %v", name, got)
		}
	}
}

func TestRegoCoverage(t *testing.T) {
	dir := files(t, map[string]string{"shop.rego": shopPolicy, "shop_test.rego": shopTest})
	report := runTests(t, policy.TestConfig{Paths: []string{dir}, Coverage: true, Run: "reader"})
	c := report.Coverage()
	if len(c.Files) != 1 || !strings.HasSuffix(c.Files[0].File, "shop.rego") {
		t.Fatalf("covered files: %+v", c.Files)
	}
	if c.Percent <= 0 || c.Percent >= 100 || !cmp.Equal(c.Files[0].Missed, []string{"5", "9"}) {
		t.Errorf("coverage %v, missed %v", c.Percent, c.Files[0].Missed)
	}
	text, err := json.Marshal(c)
	if err != nil || !strings.Contains(string(text), `"not_covered"`) || strings.Contains(string(text), "embedded") {
		t.Errorf("%v: %s", err, text)
	}
	if runTests(t, policy.TestConfig{Paths: []string{dir}}).Coverage() != nil {
		t.Error("coverage that nobody asked for")
	}
}

func TestRegoTestsThatDoNotLoad(t *testing.T) {
	for name, test := range map[string]struct {
		content map[string]string
		want    string
	}{
		"syntax":  {map[string]string{"a.rego": "package a\n\nx := \n"}, "a.rego:4"},
		"unsafe":  {map[string]string{"a_test.rego": "package a\n\ntest_x if data.usso.has_scope(y)\n"}, "a_test.rego:3"},
		"member":  {map[string]string{"a.rego": "package a\n\nx if input.idenity\n"}, `did you mean "identity"`},
		"mock":    {map[string]string{"a_test.rego": "package a\n\ntest_x if true with input.identity.scopez as []\n"}, `a_test.rego:3`},
		"network": {map[string]string{"a.rego": "package a\n\nx := http.send({})\n"}, "policy.allow_net"},
		"clash":   {map[string]string{"a.rego": "package a\n", "a.json": `{"x": 1}`, "b.yaml": "x: 2"}, "--ignore"},
	} {
		_, err := policy.RunTests(context.Background(), policy.TestConfig{Paths: []string{files(t, test.content)}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, test.want)
		}
	}
}

func TestHasRego(t *testing.T) {
	dir := files(t, map[string]string{"a/b/c.rego": "package c\n", "d/e.yaml": "x: 1", "f/.git/g.rego": ""})
	for path, want := range map[string]bool{"": true, "a/b/c.rego": true, "d": false, "f": false} {
		got, err := policy.TestConfig{Paths: []string{filepath.Join(dir, path)}}.HasRego()
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	if got, err := (policy.TestConfig{Paths: []string{dir}, Ignore: []string{"c.rego"}}).HasRego(); err != nil || got {
		t.Errorf("an ignored file was found: %v", err)
	}
	if _, err := (policy.TestConfig{Paths: []string{filepath.Join(dir, "nowhere")}}).HasRego(); err == nil {
		t.Error("a path that is not there is no fault")
	}
}

func TestRegoBenchmark(t *testing.T) {
	dir := files(t, map[string]string{"shop.rego": shopPolicy, "shop_test.rego": shopTest})
	report := runTests(t, policy.TestConfig{Paths: []string{dir}, Bench: true, Run: "reader"})
	var pretty bytes.Buffer
	if err := report.WritePretty(&pretty); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(pretty.String(), "ns/op") || !strings.Contains(pretty.String(), "allocs/op") {
		t.Errorf("no benchmark in\n%s", &pretty)
	}
}
