package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

type validateCmd struct {
	Config string
	JSON   bool
}

// command is "validate" of the command line.
func (c *validateCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate -c FILE",
		Short: "Check a configuration file and report every fault.",
		Long: `Prints every fault of the configuration and of its policies with file, line and
field, and ends with exit code 1 if there is one. Reads the files that the
configuration names; asks no issuer and no bundle server.

Warns of what is allowed but probably not meant: what OPA's strict mode refuses, a
copy of the library data.usso that differs from this version's, routes that no
request reaches. Tells what the policy reads, and whether its decisions can be kept.`,
		Example: `  ussoauthz validate -c ussoauthz.yaml
  ussoauthz validate -c ussoauthz.yaml --json`,
		Args: cli.NoArgs,
		RunE: cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Config, "config", "c", "", "The configuration `FILE`.")
	flags.BoolVar(&c.JSON, "json", false, "For machines: one object with faults, warnings and the policy's analysis.")
	cli.Require(cmd, "config")
	return cmd
}

// validation is all that there is to tell of a configuration.
type validation struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Faults   []config.Fault   `json:"faults"`
	Warnings []config.Fault   `json:"warnings"`
	Tenants  int              `json:"tenants"`
	Routes   int              `json:"common_routes"`
	Policy   *policy.Analysis `json:"policy"` // null: it has a fault, or comes from bundles
}

// run validates.
func (c *validateCmd) run(ctx context.Context, s cli.Streams) error {
	done := terminal.Progress(s.Err, "reading "+c.Config)
	v := validation{File: c.Config, Faults: []config.Fault{}, Warnings: []config.Fault{}}
	cfg, faults := config.Inspect(c.Config)
	v.Faults = append(v.Faults, faults...)
	if cfg != nil {
		v.Warnings, v.Tenants, v.Routes = append(v.Warnings, cfg.Warnings...), len(cfg.Tenants), len(cfg.Routes)
		v.policy(ctx, cfg)
	}
	v.OK = len(v.Faults) == 0
	done()
	var err error
	if c.JSON {
		encoder := json.NewEncoder(s.Out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(v)
	} else {
		v.text(s.Out, s.Err)
	}
	if err == nil && !v.OK {
		return cli.ErrReported
	}
	return err
}

// policy adds what there is to tell of the policy, as far as the faults of its
// section leave something to compile.
func (v *validation) policy(ctx context.Context, cfg *config.Config) {
	readable := *cfg
	for _, f := range v.Faults {
		switch field, _, _ := strings.Cut(strings.TrimPrefix(f.Field, "policy."), "["); field {
		case "policy", "paths", "allow_net": // more faults would follow from these
			return
		case "entrypoint":
			readable.Policy.Entrypoint = config.Default().Policy.Entrypoint
		case "proto_descriptor":
			readable.Policy.ProtoDescriptor = ""
		}
	}
	cfg = &readable
	analysis, warnings, err := service.Validate(ctx, cfg)
	v.Policy = analysis
	for _, w := range warnings {
		v.Warnings = append(v.Warnings, config.Fault{File: w.File, Line: w.Line, Problem: w.Text})
	}
	if err == nil {
		return
	}
	found := policy.Findings(err)
	for _, f := range found {
		v.Faults = append(v.Faults, config.Fault{File: f.File, Line: f.Line, Problem: f.Text})
	}
	if len(found) == 0 {
		v.Faults = append(v.Faults, config.Fault{File: cfg.Path, Problem: err.Error()})
	}
}

func (v *validation) text(out, stderr io.Writer) {
	for _, w := range v.Warnings {
		fmt.Fprintln(stderr, terminal.Yellow.Paint(terminal.Colored("auto", stderr), "warning:"), w.Error())
	}
	if !v.OK {
		printFaults(stderr, v.Faults)
		return
	}
	ok := terminal.Green.Paint(terminal.Colored("auto", out), "ok")
	fmt.Fprintf(out, "%s: %s, %s, %s\n", v.File, ok, count(v.Tenants, "tenant"), count(v.Routes, "common route"))
	if v.Policy == nil {
		return
	}
	reads := "nothing of the input"
	if len(v.Policy.Reads) > 0 {
		reads = strings.Join(v.Policy.Reads, ", ")
	}
	fmt.Fprintln(out, "the policy reads", reads)
	fmt.Fprintln(out, "the library data.usso is", v.Policy.Library)
	if v.Policy.Cacheable {
		fmt.Fprintln(out, "its decisions can be kept: equal values of that give equal decisions")
		return
	}
	fmt.Fprintln(out, "its decisions are not kept:")
	for _, why := range v.Policy.Reasons {
		fmt.Fprintf(out, "  %s:%d: %s\n", why.File, why.Line, why.Text)
	}
}
