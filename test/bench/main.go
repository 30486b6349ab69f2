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
	"regexp"
	"syscall"
	"time"

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
	ussoauthz, floor string
	envoy            string
	rounds           int
	each             time.Duration
	only             *regexp.Regexp
	json             string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.ussoauthz, "ussoauthz", "bin/ussoauthz", "the service's binary")
	flags.StringVar(&o.floor, "floor", "bin/bench-floor", "the floor's binary")
	flags.StringVar(&o.envoy, "envoy", "", "Envoy's binary; empty: as for the end-to-end tests")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each scenario is measured")
	seconds := flags.Float64("seconds", 0.5, "how long a server is driven in a round")
	only := flags.String("only", "", "a regular expression: the scenarios to run; empty: all")
	flags.StringVar(&o.json, "json", "", "a file for the figures")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.rounds < 1 || *seconds <= 0 || flags.NArg() > 0 {
		return o, fmt.Errorf("a round and some milliseconds are the least, and flags are all there is: %q", args)
	}
	o.each = time.Duration(*seconds * float64(time.Second))
	o.only, err = regexp.Compile(*only)
	return o, err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	result, err := measureAll(ctx, o, stderr)
	if err != nil {
		return err
	}
	if err := result.Table(stdout); err != nil || o.json == "" {
		return err
	}
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(text, '\n'), 0o644)
}

func measureAll(ctx context.Context, o options, progress io.Writer) (r *report.Report, err error) {
	l, err := newLab(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	var checks []scenario
	for _, s := range scenarios() {
		if o.only.MatchString(s.name) {
			checks = append(checks, s)
		}
	}
	var ways []*edge
	for _, e := range edges() {
		if o.only.MatchString(e.name) {
			ways = append(ways, e)
		}
	}
	r = report.New(o.rounds, o.each)
	if len(checks) > 0 {
		if err := l.measureChecks(ctx, checks, o, r, progress); err != nil {
			return nil, err
		}
	}
	if len(ways) > 0 {
		if err := l.measureEdges(ctx, ways, o, r, progress); err != nil {
			return nil, err
		}
	}
	if len(checks)+len(ways) == 0 {
		return nil, fmt.Errorf("no scenario matches %q", o.only)
	}
	return r, nil
}
