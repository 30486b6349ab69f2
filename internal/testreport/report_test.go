package testreport_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/testreport"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

const tests = `package shop_test

test_passes if true

test_fails if {
	print("seen")
	1 == 2
}

test_takes_long if count([x | some x in numbers.range(1, 1000000000)]) == 1

todo_test_later if true
`

// report has a test of every outcome.
func report(t *testing.T) *testreport.Report {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop_test.rego"), []byte(tests), 0o600); err != nil {
		t.Fatal(err)
	}
	rego, err := policy.RunTests(t.Context(), policy.TestConfig{Paths: []string{dir}, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return &testreport.Report{Rego: rego, Decisions: []testreport.Result{
		{Suite: "a_decisions.yaml", Name: "good", File: "a_decisions.yaml", Line: 2, Outcome: policy.TestPassed, Duration: time.Second},
		{Suite: "a_decisions.yaml", Name: "bad\x01 <&>", File: "a_decisions.yaml", Line: 5, Outcome: policy.TestFailed, Problem: "one\ntwo\n", Output: "why\n"},
	}}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := report(t).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got []struct {
		Location   struct{ Row int }
		Name       string
		Fail, Skip bool
		Error      any
		Output     []byte
		Problem    string
		Duration   time.Duration
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range got {
		line := r.Name + ":"
		for word, is := range map[string]bool{" fail": r.Fail, " skip": r.Skip, " error": r.Error != nil} {
			if is {
				line += word
			}
		}
		lines = append(lines, line+" "+string(r.Output)+r.Problem)
	}
	want := []string{"test_passes: ", "test_fails: fail seen\n", "test_takes_long: error ", "todo_test_later: skip ", "good: ", "bad\x01 <&>: fail why\none\ntwo\n"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if got[4].Duration != time.Second || got[5].Location.Row != 5 {
		t.Errorf("%+v", got[4:])
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := report(t).WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	type problem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Suites   []struct {
			Name    string `xml:"name,attr"`
			Tests   int    `xml:"tests,attr"`
			Skipped int    `xml:"skipped,attr"`
			Cases   []struct {
				Name    string    `xml:"name,attr"`
				Failure *problem  `xml:"failure"`
				Error   *problem  `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
				Output  string    `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	if got.Tests != 6 || got.Failures != 2 || got.Errors != 1 || len(got.Suites) != 2 {
		t.Fatalf("%+v", got)
	}
	rego, decisions := got.Suites[0], got.Suites[1]
	if rego.Name != "data.shop_test" || rego.Tests != 4 || rego.Skipped != 1 || rego.Cases[3].Skipped == nil {
		t.Errorf("%+v", rego)
	}
	if f := rego.Cases[1].Failure; f == nil || !strings.Contains(f.Message, "shop_test.rego:7: not true: 1 == 2") || rego.Cases[1].Output != "seen\n" {
		t.Errorf("%+v", rego.Cases[1])
	}
	if rego.Cases[2].Error == nil || rego.Cases[0].Failure != nil {
		t.Errorf("%+v", rego.Cases)
	}
	bad := decisions.Cases[1]
	if bad.Name != "bad\uFFFD <&>" || bad.Failure == nil || bad.Failure.Message != "one" || bad.Failure.Text != "one\ntwo\n" || bad.Output != "why\n" {
		t.Errorf("%+v", bad)
	}
}

func TestText(t *testing.T) {
	r := report(t)
	if r.Passed() || len(r.Results()) != 6 {
		t.Errorf("passed: %v, %d results", r.Passed(), len(r.Results()))
	}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"PASS: 1/4", "a_decisions.yaml:5:\nbad\x01 <&>: FAIL (0s)\n  one\n  two\n  why\n", "DECISIONS PASS: 1/2", "DECISIONS FAIL: 1/2"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %q in\n%s", text, &b)
		}
	}
	if strings.Contains(b.String(), "good: PASS") {
		t.Error("a test that passed is listed")
	}
	good := &testreport.Report{Decisions: r.Decisions[:1], Verbose: true}
	b.Reset()
	if err := good.WriteText(&b); err != nil || !good.Passed() || !strings.Contains(b.String(), "good: PASS (1s)") {
		t.Errorf("%v, %v\n%s", err, good.Passed(), &b)
	}
}
