// Command bench measures what a check costs: the service beside a floor, a bare
// grpc-go server that looks at nothing, both driven with the same messages in
// turns, so that whatever else the machine does falls on both. `make bench`
// runs it; docs/performance.md tells what came out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/test/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options is what the command line says.
type options struct {
	ussoauthz, floor, envoy string

	rounds  int
	each    time.Duration
	only    *regexp.Regexp
	trial   bool
	size    size
	profile string // a folder

	json, chart, page string // files to write
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.ussoauthz, "ussoauthz", "bin/ussoauthz", "the service's `binary`")
	flags.StringVar(&o.floor, "floor", "bin/bench-floor", "the floor's `binary`")
	flags.StringVar(&o.envoy, "envoy", "", "Envoy's `binary`; empty: as the end-to-end tests find it")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each scenario is measured")
	seconds := flags.Float64("seconds", 0.5, "how long a server is driven in a round")
	only := flags.String("only", "", "a regular `expression`: the scenarios to run; empty: all")
	flags.BoolVar(&o.trial, "trial", false, "few tenants, routes and tokens: to try the bench itself")
	flags.StringVar(&o.profile, "profile", "", "a `folder` for CPU profiles of the service, one for each scenario")
	flags.StringVar(&o.json, "json", "", "a `file` for the figures")
	flags.StringVar(&o.chart, "chart", "", "a `file` for the chart, as SVG")
	flags.StringVar(&o.page, "page", "", "a Markdown `file` whose generated part is replaced")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.rounds < 1 || *seconds <= 0 || flags.NArg() > 0 {
		return o, fmt.Errorf("a round and some milliseconds are the least, and flags are all there is: %q", args)
	}
	o.each = time.Duration(*seconds * float64(time.Second))
	o.size = full
	if o.trial {
		o.size = small
	}
	o.only, err = regexp.Compile(*only)
	return o, err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	r, err := measureAll(ctx, o, stderr)
	if err != nil {
		return err
	}
	return errors.Join(r.Table(stdout), write(o, r))
}

// write writes the files that were asked for.
func write(o options, r *report.Report) error {
	var errs []error
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		errs = append(errs, err, os.WriteFile(o.json, append(text, '\n'), 0o644))
	}
	if o.chart != "" {
		errs = append(errs, os.WriteFile(o.chart, []byte(r.SVG()), 0o644))
	}
	if o.page != "" {
		old, err := os.ReadFile(o.page)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		page, err := r.Page(string(old))
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("%s: %w", o.page, err))...)
		}
		errs = append(errs, os.WriteFile(o.page, []byte(page), 0o644))
	}
	return errors.Join(errs...)
}

func measureAll(ctx context.Context, o options, progress io.Writer) (r *report.Report, err error) {
	l, err := newLab(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	r = report.New(o.rounds, o.each, o.trial)
	parts := []func(context.Context, options, *report.Report, io.Writer) error{
		l.measureChecks, l.measureEdges, l.measureStart, l.measureMemory,
	}
	for _, measure := range parts {
		if err := measure(ctx, o, r, progress); err != nil {
			return nil, err
		}
	}
	if r.Empty() {
		return nil, fmt.Errorf("no scenario matches %q", o.only)
	}
	r.Goals = r.Judge()
	return r, nil
}

// envoy finds the binary.
func (o options) findEnvoy(ctx context.Context, progress io.Writer) (string, error) {
	if o.envoy != "" {
		return filepath.Abs(o.envoy)
	}
	return envoybin.Find(ctx, ".cache", progress)
}
