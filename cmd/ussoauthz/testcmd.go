package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/decisiontest"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/internal/testreport"
	"github.com/ussoio/ussoauthz/internal/watch"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

type testCmd struct {
	Config    string
	Decisions []string
	Match     string
	Ignore    []string
	Verbose   bool
	Coverage  bool
	Threshold float64
	Format    string
	Timeout   time.Duration
	Watch     bool
	Bench     bool
	Paths     []string
}

// command is "test" of the command line.
func (c *testCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [PATH ...]",
		Short: "Run Rego tests and decision tests.",
		Long: `Runs the Rego tests in the paths (this folder, where none is named), with the library data.usso and the embedded policy
at hand, and the decision tests (*_decisions.yaml): requests, each with the claims of
its token and the answer that it must get, which take the whole pipeline of a request.
The keys of the tenants are replaced by keys of the run; no network is asked.

Exit code 0 where all tests passed, 2 where one failed or the coverage is below the
threshold, 1 where none was found or a file has a fault: those of opa test, which
counts no test as success. Wrong usage is 2, as for every command.`,
		Example: `  ussoauthz test policies/
  ussoauthz test policies/ --threshold 90
  ussoauthz test -c ussoauthz.yaml . --watch
  ussoauthz test -c ussoauthz.yaml . --format junit > report.xml`,
		Args:    cobra.ArbitraryArgs,
		PreRunE: c.read,
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Config, "config", "c", "", "The configuration `FILE` that decision tests are for. Its policy.allow_net counts for Rego tests too.")
	flags.StringArrayVar(&c.Decisions, "decisions", nil, "A further `FILE` of decision tests, by whatever name; may be repeated.")
	flags.StringVarP(&c.Match, "run", "r", "", "Only tests whose name matches `REGEX`: package.name of a Rego test, the name of a case.")
	flags.StringArrayVar(&c.Ignore, "ignore", nil, "Leave out files and folders whose name or path matches `PATTERN`, like 'node_modules'; may be repeated.")
	flags.BoolVarP(&c.Verbose, "verbose", "v", false, "List tests that pass, and show OPA's trace of those that fail.")
	flags.BoolVar(&c.Coverage, "coverage", false, "Measure how much of the policies the Rego tests reach. The tests themselves do not count.")
	flags.Float64Var(&c.Threshold, "threshold", 0, "Fail where the coverage is below this `PERCENT`; includes --coverage.")
	flags.VarP(cli.OneOf(&c.Format, "pretty", "json", "junit"), "format", "f", "What to print.")
	flags.DurationVar(&c.Timeout, "timeout", 0, "How long one Rego test may take. Default: 5s, and 30s of a benchmark.")
	flags.BoolVarP(&c.Watch, "watch", "w", false, "Run again after each change of the paths, the configuration and its policies, until Ctrl-C.")
	flags.BoolVar(&c.Bench, "bench", false, "Measure the Rego tests instead: time and allocations of each.")
	return cmd
}

// read takes the arguments, and checks what flags say together.
func (c *testCmd) read(_ *cobra.Command, args []string) error {
	c.Paths = args
	if _, err := regexp.Compile(c.Match); err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	for _, pattern := range c.Ignore {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return fmt.Errorf("--ignore %s: %w", pattern, err)
		}
	}
	switch {
	case c.Threshold < 0 || c.Threshold > 100:
		return errors.New("--threshold is a percentage, 0 to 100")
	case c.Timeout < 0:
		return errors.New("--timeout is a time that passes")
	case c.Bench && (c.measures() || c.Format == "junit"):
		return errors.New("--bench goes with neither --coverage nor --format junit")
	case c.Watch && (c.Bench || c.Format != "pretty"):
		return errors.New("--watch is for people: it goes with neither --bench nor --format")
	case len(c.Decisions) > 0 && c.Config == "":
		return errors.New("--decisions needs the configuration: name it with -c")
	}
	return nil
}

func (c *testCmd) measures() bool { return c.Coverage || c.Threshold > 0 }

// exitFailed is the exit code where a test failed, as of opa test.
const exitFailed = cli.Exit(2)

// run tests.
func (c *testCmd) run(ctx context.Context, s cli.Streams) error {
	if len(c.Paths) == 0 && len(c.Decisions) == 0 {
		c.Paths = []string{"."}
	}
	if !c.Watch {
		_, err := c.once(ctx, s)
		return err
	}
	// Watched from before the first run: a change during it counts.
	watcher := watch.New(watch.Config{}, c.watched(nil))
	again := func(ctx context.Context) bool {
		loaded, err := c.once(ctx, s)
		if loaded != nil {
			watcher.Watch(c.watched(loaded))
		}
		var told cli.Exit
		if err != nil && ctx.Err() == nil && !errors.As(err, &told) {
			fmt.Fprintln(s.Err, "ussoauthz:", err)
		}
		if ctx.Err() == nil {
			fmt.Fprintln(s.Err, "Waiting for changes; Ctrl-C ends it.")
		}
		return true
	}
	again(ctx)
	watcher.Run(ctx, again)
	return nil
}

// watched are the files whose change runs the tests again; loaded is the
// configuration, nil where it was not read.
func (c *testCmd) watched(loaded *config.Config) []string {
	files := slices.Concat(c.Paths, c.Decisions)
	if c.Config != "" {
		files = append(files, c.Config)
	}
	if loaded != nil {
		files = append(files, loaded.Policy.Paths...)
	}
	return files
}

// once runs the tests once, and returns the configuration where there is one.
func (c *testCmd) once(ctx context.Context, s cli.Streams) (loaded *config.Config, err error) {
	cfg := policy.TestConfig{
		Paths: c.Paths, Ignore: slices.Clone(c.Ignore), Run: c.Match, Timeout: c.Timeout,
		Verbose: c.Verbose, Coverage: c.measures(), Bench: c.Bench,
	}
	if c.Config != "" {
		if loaded, err = load(c.Config, s); err != nil {
			return nil, err
		}
		cfg.AllowNet = loaded.Policy.AllowNet
		cfg.Ignore = append(cfg.Ignore, c.Config) // it is no data
	}
	report := &testreport.Report{Verbose: c.Verbose, Color: terminal.Colored("auto", s.Out)}
	done := terminal.Progress(s.Err, "running the tests")
	defer done()
	if err := c.rego(ctx, cfg, report); err != nil {
		return loaded, err
	}
	if !c.Bench {
		if err := c.decisions(ctx, cfg, loaded, report, s); err != nil {
			return loaded, err
		}
	}
	done()
	return loaded, c.report(report, s)
}

func (c *testCmd) rego(ctx context.Context, cfg policy.TestConfig, report *testreport.Report) error {
	found, err := cfg.HasRego()
	if err != nil {
		return fmt.Errorf("looking for Rego tests: %w", err)
	}
	if !found {
		if c.measures() || c.Bench {
			return errors.New("there is no .rego file to measure: name the policies' folders")
		}
		return nil
	}
	report.Rego, err = policy.RunTests(ctx, cfg)
	return err
}

func (c *testCmd) decisions(ctx context.Context, cfg policy.TestConfig, loaded *config.Config, report *testreport.Report, s cli.Streams) error {
	files, err := decisiontest.Find(cfg.Paths, cfg.Ignored)
	if err != nil {
		return err
	}
	for _, file := range c.Decisions {
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil
	}
	if loaded == nil {
		return fmt.Errorf("%s holds decision tests: name the configuration that they are for with -c FILE, or leave them out with --ignore '*_decisions.yaml'", files[0])
	}
	suites, err := decisiontest.Load(files, loaded)
	var faults config.Errors
	if errors.As(err, &faults) {
		printErrors(s.Err, faults)
		return cli.ErrReported
	}
	if err != nil {
		return err
	}
	runner, err := decisiontest.Open(ctx, loaded)
	if err != nil {
		return err
	}
	defer runner.Close()
	wanted := regexp.MustCompile(c.Match) // Validate has compiled it before
	for _, suite := range suites {
		suite.Cases = slices.DeleteFunc(suite.Cases, func(one decisiontest.Case) bool { return !wanted.MatchString(one.Name) })
		report.Decisions = append(report.Decisions, runner.Run(ctx, suite)...)
	}
	return ctx.Err()
}

// report writes the results, and tells by its error whether they are good.
func (c *testCmd) report(report *testreport.Report, s cli.Streams) error {
	if len(report.Results()) == 0 {
		if c.Match != "" {
			return fmt.Errorf("no test was run: none has a name that matches %q", c.Match)
		}
		return errors.New("no test was found: Rego tests are rules named test_… in .rego files, decision tests are files named …_decisions.yaml")
	}
	write := report.WriteText
	switch c.Format {
	case "json":
		write = report.WriteJSON
	case "junit":
		write = report.WriteJUnit
	}
	if err := write(s.Out); err != nil {
		return err
	}
	if !report.Passed() {
		return exitFailed
	}
	if c.Threshold > 0 {
		if got := report.Rego.Coverage().Percent; got < c.Threshold {
			fmt.Fprintf(s.Err, "ussoauthz: the coverage is %.2f%%, below the threshold of %.2f%%\n", got, c.Threshold)
			return exitFailed
		}
	}
	return nil
}
