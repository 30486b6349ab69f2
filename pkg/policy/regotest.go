package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// TestConfig says which Rego tests to run, and how.
type TestConfig struct {
	Paths   []string      // files and folders with policies, their tests and data
	Ignore  []string      // patterns of filepath.Match for names and paths that are left out
	Run     string        // a regular expression for package and name; "": all
	Timeout time.Duration // for one test; 0: 5 s, or 30 s of a benchmark

	// AllowNet is what it is in Config.
	AllowNet []string

	Verbose  bool // tests that pass are listed too, and failing ones with OPA's trace
	Coverage bool // failing tests then come without the line that failed
	Bench    bool
}

// TestReport is what a run of Rego tests gave, in the order of files and lines.
type TestReport struct {
	cfg      TestConfig
	results  []*tester.Result
	coverage *cover.Report
}

// Test is the outcome of one Rego test.
type Test struct {
	Package, Name string
	File          string
	Line          int
	Outcome       TestOutcome
	Duration      time.Duration
	Problem       string // of a failure or an error
	Output        string // what print() wrote
}

// TestOutcome is one of pass, fail, error and skip.
type TestOutcome string

// The outcomes of a test. A test that OPA could not evaluate is an error; one
// whose name begins with todo_ is skipped.
const (
	TestPassed  TestOutcome = "pass"
	TestFailed  TestOutcome = "fail"
	TestErrored TestOutcome = "error"
	TestSkipped TestOutcome = "skip"
)

// RunTests compiles the policies with their tests and runs the tests. As in
// the service data.usso is there, the embedded policy too where the paths have
// none of that package, and builtins that reach the network are not. Its error
// is about files that can't be loaded or compiled; tests that fail are in the
// report.
func RunTests(ctx context.Context, cfg TestConfig) (*TestReport, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTestTimeout(cfg.Bench))
	loaded, err := loader.NewFileLoader().WithFollowSymlinks(true).Filtered(cfg.Paths, cfg.skip)
	if err != nil {
		return nil, explainLoad(err)
	}
	modules, own, err := testModules(loaded)
	if err != nil {
		return nil, err
	}
	schema, err := loadInputSchema()
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities(cfg.AllowNet)).WithSchemas(schema.opa).WithEnablePrintStatements(!cfg.Bench)
	r := &TestReport{cfg: cfg}
	store := inmem.NewFromObjectWithOpts(loaded.Documents, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
	runner := tester.NewRunner().
		SetCompiler(compiler).
		SetStore(store).
		SetModules(modules).
		AddCustomBuiltins([]*tester.Builtin{{Decl: accessBuiltin, Func: accessFunction()}}).
		CapturePrintOutput(true).
		EnableTracing(!cfg.Coverage && !cfg.Bench). // or nobody knows which line failed
		StackTraces(true).
		SetTimeout(cfg.Timeout).
		SetParallel(runtime.GOMAXPROCS(0)).
		Filter(cfg.Run)
	var measured *cover.Cover
	if cfg.Coverage {
		measured = cover.New()
		runner.SetCoverageQueryTracer(measured).SetCoverageRuns(nil)
	}
	var errs ast.Errors
	err = r.run(ctx, runner, store)
	if err != nil && !errors.As(err, &errs) {
		return nil, err
	}
	if errs = schema.explainTypes(errs, compiler.Modules); len(errs) > 0 {
		return nil, explainCompile(errs)
	}
	if measured != nil {
		r.coverage = coverageOf(measured, own)
	}
	return r, nil
}

// explainLoad adds what to do where it is not Rego that can't be read.
func explainLoad(err error) error {
	err = fmt.Errorf("loading the tests: %w", err)
	if strings.Contains(err.Error(), "rego_") {
		return err
	}
	return fmt.Errorf("%w\nEach .json and .yaml file below a path is read as data: name the policies' folders, or leave files out with --ignore", err)
}

func defaultTestTimeout(bench bool) time.Duration {
	if bench {
		return 30 * time.Second
	}
	return 5 * time.Second
}

// testModules adds to the user's modules the embedded packages that the user
// did not write anew, and tells which of the user's are no tests.
func testModules(loaded *loader.Result) (modules, own map[string]*ast.Module, err error) {
	modules, own = map[string]*ast.Module{}, map[string]*ast.Module{}
	packages := map[string]bool{}
	for name, file := range loaded.Modules {
		modules[name] = file.Parsed
		// The service does not load test files, so that a test in the package
		// usso does not replace the library.
		if !strings.HasSuffix(name, "_test.rego") {
			own[file.Parsed.Package.Location.File] = file.Parsed // as coverage names it
			packages[file.Parsed.Package.Path.String()] = true
		}
	}
	err = eachEmbedded(func(name string, _ []byte, module *ast.Module) error {
		if !packages[module.Package.Path.String()] {
			modules[name] = module
		}
		return nil
	})
	return modules, own, err
}

func (r *TestReport) run(ctx context.Context, runner *tester.Runner, store storage.Store) error {
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return fmt.Errorf("reading the data: %w", err)
	}
	defer store.Abort(ctx, txn)
	run := runner.RunTests
	if r.cfg.Bench {
		run = func(ctx context.Context, txn storage.Transaction) (chan *tester.Result, error) {
			return runner.RunBenchmarks(ctx, txn, tester.BenchmarkOptions{ReportAllocations: true})
		}
	}
	results, err := run(ctx, txn)
	if err != nil {
		return fmt.Errorf("running the tests: %w", err)
	}
	for result := range results {
		if result.Pass() {
			result.Trace = nil
		}
		r.results = append(r.results, result)
	}
	slices.SortStableFunc(r.results, func(a, b *tester.Result) int {
		return cmp.Or(cmp.Compare(a.Location.File, b.Location.File), cmp.Compare(a.Location.Row, b.Location.Row), cmp.Compare(a.Name, b.Name))
	})
	return ctx.Err() // tests that were not begun would look as if they were not there
}

func (c TestConfig) skip(path string, info fs.FileInfo, _ int) bool {
	return c.Ignored(path) || !info.IsDir() && IsDecisionFile(path)
}

// Ignored tells whether a file or folder is left out: names with a leading
// dot, as in the service, and what Ignore says.
func (c TestConfig) Ignored(path string) bool {
	name := filepath.Base(path)
	if strings.HasPrefix(name, ".") && name != "." && name != ".." {
		return true
	}
	return slices.ContainsFunc(c.Ignore, func(pattern string) bool {
		pattern = filepath.Clean(pattern)
		whole, err := filepath.Match(pattern, filepath.Clean(path))
		base, _ := filepath.Match(pattern, name) // the same pattern, the same error
		return err == nil && (whole || base)
	})
}

// IsDecisionFile tells whether a file name is that of decision tests, which
// are no data of a policy.
func IsDecisionFile(name string) bool {
	return strings.HasSuffix(name, "_decisions.yaml") || strings.HasSuffix(name, "_decisions.yml")
}

// HasRego tells whether one of the paths is, or holds, a Rego file.
func (c TestConfig) HasRego() (bool, error) {
	found := false
	for _, path := range c.Paths {
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := os.Stat(name) // what a link of a mounted volume points to
			if err != nil {
				return fmt.Errorf("reading %s: %w", name, errors.Unwrap(err))
			}
			switch {
			case c.skip(name, info, 0) && entry.IsDir():
				return fs.SkipDir
			case strings.HasSuffix(name, ".rego") && !info.IsDir() && !c.skip(name, info, 0):
				found = true
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return found, nil
}

// Tests returns every test's outcome.
func (r *TestReport) Tests() []Test {
	list := make([]Test, len(r.results))
	for i, result := range r.results {
		t := Test{
			Package: result.Package, Name: result.Name, Duration: result.Duration,
			File: result.Location.File, Line: result.Location.Row, Output: string(result.Output),
		}
		switch {
		case result.Skip:
			t.Outcome = TestSkipped
		case result.Error != nil:
			t.Outcome, t.Problem = TestErrored, result.Error.Error()
		case result.Fail:
			t.Outcome, t.Problem = TestFailed, failureOf(result)
		default:
			t.Outcome = TestPassed
		}
		list[i] = t
	}
	return list
}

func failureOf(result *tester.Result) string {
	var cases []string
	for name, sub := range result.SubResults.Iter {
		if sub.Fail && len(sub.SubResults) == 0 {
			cases = append(cases, strings.Join(name, "/"))
		}
	}
	if len(cases) > 0 {
		return "failed cases: " + strings.Join(cases, ", ")
	}
	for _, event := range slices.Backward(result.Trace) {
		if expression, ok := event.Node.(*ast.Expr); ok && event.Op == topdown.FailOp && event.Location.HasFile() {
			return fmt.Sprintf("%s:%d: not true: %s", event.Location.File, event.Location.Row, firstLine(expression))
		}
	}
	return "the test is not true"
}

func firstLine(e *ast.Expr) string {
	if e.Location == nil || len(e.Location.Text) == 0 {
		return e.String()
	}
	text, _, _ := strings.Cut(string(e.Location.Text), "\n")
	return text
}

// WritePretty writes the results as `opa test` does.
func (r *TestReport) WritePretty(w io.Writer) error {
	return tester.PrettyReporter{
		Output: w, Verbose: r.cfg.Verbose, FailureLine: !r.cfg.Coverage, LocalVars: !r.cfg.Coverage,
		BenchmarkResults: r.cfg.Bench, BenchMarkShowAllocations: r.cfg.Bench,
	}.Report(r.channel())
}

func (r *TestReport) channel() chan *tester.Result {
	results := make(chan *tester.Result, len(r.results))
	for _, result := range r.results {
		results <- result
	}
	close(results)
	return results
}

// JSON returns the results as `opa test --format json` has them, one element
// each.
func (r *TestReport) JSON() ([]json.RawMessage, error) {
	list := make([]json.RawMessage, len(r.results))
	for i, result := range r.results {
		shown := *result
		if !r.cfg.Verbose {
			shown.Trace = nil
		}
		text, err := json.Marshal(shown)
		if err != nil {
			return nil, fmt.Errorf("writing the result of %s.%s: %w", result.Package, result.Name, err)
		}
		list[i] = text
	}
	return list, nil
}

// Coverage returns how much of the policies the tests reached, nil where that
// was not asked for.
func (r *TestReport) Coverage() *Coverage {
	if r.coverage == nil {
		return nil
	}
	c := &Coverage{Percent: r.coverage.Coverage, report: r.coverage}
	for _, name := range slices.Sorted(maps.Keys(r.coverage.Files)) {
		file := r.coverage.Files[name]
		c.Files = append(c.Files, FileCoverage{File: name, Percent: file.Coverage, Missed: spans(file.NotCovered)})
	}
	return c
}

// Coverage is how much of the policies the tests reached. The tests themselves
// do not count, nor does what is embedded.
type Coverage struct {
	Percent float64 // of the lines with rules and expressions
	Files   []FileCoverage

	report *cover.Report
}

// FileCoverage is the coverage of one file.
type FileCoverage struct {
	File    string
	Percent float64
	Missed  []string // lines that no test reached: "7", "9-12"
}

// MarshalJSON writes what OPA writes.
func (c *Coverage) MarshalJSON() ([]byte, error) { return json.Marshal(c.report) }

func coverageOf(measured *cover.Cover, own map[string]*ast.Module) *cover.Report {
	report := measured.Report(own)
	report.CoveredLines, report.NotCoveredLines, report.Coverage = 0, 0, 0
	for name, file := range report.Files {
		if own[name] == nil {
			delete(report.Files, name)
			continue
		}
		report.CoveredLines += file.CoveredLines
		report.NotCoveredLines += file.NotCoveredLines
	}
	if all := report.CoveredLines + report.NotCoveredLines; all > 0 {
		report.Coverage = 100 * float64(report.CoveredLines) / float64(all)
	}
	return &report
}

// spans writes ranges as lines, those that touch as one.
func spans(ranges []cover.Range) []string {
	var list [][2]int
	for _, r := range ranges {
		if n := len(list); n > 0 && r.Start.Row <= list[n-1][1]+1 {
			list[n-1][1] = max(list[n-1][1], r.End.Row)
			continue
		}
		list = append(list, [2]int{r.Start.Row, r.End.Row})
	}
	lines := make([]string, len(list))
	for i, span := range list {
		lines[i] = fmt.Sprint(span[0])
		if span[1] > span[0] {
			lines[i] = fmt.Sprintf("%d-%d", span[0], span[1])
		}
	}
	return lines
}
