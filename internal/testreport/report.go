// Package testreport writes the results of tests, Rego tests and decision
// tests alike, for people and for CI: as text, JSON and JUnit XML.
package testreport

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Result is the outcome of one test.
type Result struct {
	Suite    string // a Rego package, or a file of decision tests
	Name     string
	File     string
	Line     int
	Outcome  policy.TestOutcome
	Duration time.Duration
	Problem  string // of a failure or an error: lines of text
	Output   string // what the test printed
}

// Report is everything that one run gave.
type Report struct {
	Rego      *policy.TestReport // nil: no Rego test was run
	Decisions []Result
	Verbose   bool // text: tests that passed are listed too
	Color     bool // text: the words that tell how it went
}

// Results returns all results, the Rego tests first.
func (r *Report) Results() []Result {
	var all []Result
	if r.Rego != nil {
		for _, t := range r.Rego.Tests() {
			all = append(all, Result{
				Suite: t.Package, Name: t.Name, File: t.File, Line: t.Line,
				Outcome: t.Outcome, Duration: t.Duration, Problem: t.Problem, Output: t.Output,
			})
		}
	}
	return append(all, r.Decisions...)
}

// Passed tells whether no test failed.
func (r *Report) Passed() bool {
	for _, result := range r.Results() {
		if result.failed() {
			return false
		}
	}
	return true
}

func (r Result) failed() bool {
	return r.Outcome != policy.TestPassed && r.Outcome != policy.TestSkipped
}

func (r *Report) coverage() *policy.Coverage {
	if r.Rego == nil {
		return nil
	}
	return r.Rego.Coverage()
}

// WriteText writes the report for people, as `opa test` does.
func (r *Report) WriteText(w io.Writer) error {
	var text strings.Builder
	if err := r.writeText(&text); err != nil {
		return err
	}
	_, err := io.WriteString(w, terminal.Outcomes(r.Color, text.String()))
	return err
}

func (r *Report) writeText(w io.Writer) error {
	if r.Rego != nil {
		if err := r.Rego.WritePretty(w); err != nil {
			return err
		}
	}
	if len(r.Decisions) > 0 {
		if r.Rego != nil {
			fmt.Fprintln(w)
		}
		writeDecisions(w, r.Decisions, r.Verbose)
	}
	c := r.coverage()
	if c == nil {
		return nil
	}
	fmt.Fprintln(w)
	for _, file := range c.Files {
		fmt.Fprintf(w, "%6.2f%%  %s", file.Percent, file.File)
		if len(file.Missed) > 0 {
			fmt.Fprintf(w, "  not reached: %s", strings.Join(file.Missed, ", "))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "COVERAGE: %.2f%%\n", c.Percent)
	return nil
}

func writeDecisions(w io.Writer, results []Result, verbose bool) {
	passed, shown := 0, false
	for _, result := range results {
		if result.Outcome == policy.TestPassed {
			passed++
			if !verbose {
				continue
			}
		}
		shown = true
		fmt.Fprintf(w, "%s:%d:\n%s: %s (%v)\n", result.File, result.Line, result.Name, word(result.Outcome), result.Duration)
		for line := range strings.Lines(result.Problem + result.Output) {
			fmt.Fprint(w, "  ", line)
		}
		if result.failed() {
			fmt.Fprintln(w)
		}
	}
	if shown {
		fmt.Fprintln(w, strings.Repeat("-", 80))
	}
	fmt.Fprintf(w, "DECISIONS PASS: %d/%d\n", passed, len(results))
	if failed := len(results) - passed; failed > 0 {
		fmt.Fprintf(w, "DECISIONS FAIL: %d/%d\n", failed, len(results))
	}
}

func word(o policy.TestOutcome) string { return strings.ToUpper(string(o)) }

// WriteJSON writes an array in the form of `opa test --format json`: Rego
// tests as OPA writes them, decision tests with the same keys, and problem
// beside them. Where coverage was measured the array stands under "results",
// beside OPA's report under "coverage".
func (r *Report) WriteJSON(w io.Writer) error {
	list := []json.RawMessage{}
	if r.Rego != nil {
		rego, err := r.Rego.JSON()
		if err != nil {
			return err
		}
		list = append(list, rego...)
	}
	for _, result := range r.Decisions {
		text, err := json.Marshal(result.object())
		if err != nil {
			return fmt.Errorf("writing the result of %s: %w", result.Name, err)
		}
		list = append(list, text)
	}
	var document any = list
	if c := r.coverage(); c != nil {
		document = map[string]any{"results": list, "coverage": c}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

func (r Result) object() map[string]any {
	o := map[string]any{
		"location": map[string]any{"file": r.File, "row": r.Line, "col": 1},
		"package":  r.Suite,
		"name":     r.Name,
		"duration": r.Duration.Nanoseconds(),
	}
	if r.failed() {
		o["fail"] = true
		o["problem"] = r.Problem
	}
	if r.Output != "" {
		o["output"] = []byte(r.Output) // base64, as OPA writes it
	}
	return o
}

type suites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Time     string   `xml:"time,attr"`
	Suites   []*suite `xml:"testsuite"`
}

type suite struct {
	Name       string     `xml:"name,attr"`
	Tests      int        `xml:"tests,attr"`
	Failures   int        `xml:"failures,attr"`
	Errors     int        `xml:"errors,attr"`
	Skipped    int        `xml:"skipped,attr"`
	Time       string     `xml:"time,attr"`
	Properties *[]setting `xml:"properties>property,omitempty"`
	Cases      []testCase `xml:"testcase"`

	took time.Duration
}

type setting struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type testCase struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	File    string    `xml:"file,attr"`
	Line    int       `xml:"line,attr"`
	Time    string    `xml:"time,attr"`
	Failure *problem  `xml:"failure"`
	Error   *problem  `xml:"error"`
	Skipped *struct{} `xml:"skipped"`
	Output  string    `xml:"system-out,omitempty"`
}

type problem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes JUnit XML: a suite for each Rego package and each file of
// decision tests.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := suites{Name: "ussoauthz test"}
	byName := map[string]*suite{}
	var took time.Duration
	for _, result := range r.Results() {
		s := byName[result.Suite]
		if s == nil {
			s = &suite{Name: clean(result.Suite)}
			byName[result.Suite] = s
			all.Suites = append(all.Suites, s)
		}
		s.add(result)
		took += result.Duration
	}
	for _, s := range all.Suites {
		s.Time = seconds(s.took)
		all.Tests, all.Failures, all.Errors = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors
	}
	if c := r.coverage(); c != nil && len(all.Suites) > 0 {
		all.Suites[0].Properties = &[]setting{{"coverage", strconv.FormatFloat(c.Percent, 'f', 2, 64)}}
	}
	all.Time = seconds(took)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return fmt.Errorf("writing JUnit XML: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *suite) add(r Result) {
	c := testCase{
		Class: clean(r.Suite), Name: clean(r.Name), File: clean(r.File), Line: r.Line,
		Time: seconds(r.Duration), Output: clean(r.Output),
	}
	first, _, _ := strings.Cut(r.Problem, "\n")
	found := &problem{Message: clean(first), Text: clean(r.Problem)}
	switch r.Outcome {
	case policy.TestPassed:
	case policy.TestSkipped:
		c.Skipped = &struct{}{}
		s.Skipped++
	case policy.TestErrored:
		c.Error = found
		s.Errors++
	default:
		c.Failure = found
		s.Failures++
	}
	s.Tests++
	s.took += r.Duration
	s.Cases = append(s.Cases, c)
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }

// clean replaces what XML has no way to write.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return utf8.RuneError
		}
		return r
	}, s)
}
