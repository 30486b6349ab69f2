package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/envoycheck"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

type validateCmd struct {
	Config string
	Envoy  []string
	JSON   bool
}

// command is "validate" of the command line.
func (c *validateCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [-c FILE] [--envoy FILE]...",
		Short: "Check a configuration file, and those of Envoy, and report every fault.",
		Long: `Prints every fault of the configuration and of its policies with file, line and
field, and ends with exit code 1 if there is one. Reads the files that the
configuration names; asks no issuer and no bundle server.

Warns of what is allowed but probably not meant: what OPA's strict mode refuses, a
copy of the library data.usso that differs from this version's, routes that no
request reaches. Tells what the policy reads, and whether its decisions can be kept.

With --envoy it reads a file of Envoy's, too: a bootstrap or resources of xDS in YAML or
JSON, a config_dump of the admin interface, or manifests of Istio and Envoy Gateway. A
fault is what lets requests pass unasked or as somebody else, or lets none pass; a
warning is what is weaker than it has to be. With -c it compares both files.`,
		Example: `  ussoauthz validate -c ussoauthz.yaml
  ussoauthz validate -c ussoauthz.yaml --json
  ussoauthz validate -c ussoauthz.yaml --envoy envoy.yaml
  curl -s localhost:9901/config_dump | ussoauthz validate --envoy /dev/stdin`,
		Args: cli.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if c.Config == "" && len(c.Envoy) == 0 {
				return errors.New("nothing to check: write --config, --envoy or both")
			}
			return nil
		},
		RunE: cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Config, "config", "c", "", "The configuration `FILE`.")
	flags.StringArrayVar(&c.Envoy, "envoy", nil, "A `FILE` of Envoy, Istio or Envoy Gateway; may be repeated.")
	flags.BoolVar(&c.JSON, "json", false, "For machines: one object with faults, warnings, the policy's analysis and the findings about Envoy's files.")
	return cmd
}

// validation is all that there is to tell of a configuration.
type validation struct {
	File     string              `json:"file"`
	OK       bool                `json:"ok"`
	Faults   []config.FieldError `json:"faults"`
	Warnings []config.FieldError `json:"warnings"`
	Tenants  int                 `json:"tenants"`
	Routes   int                 `json:"common_routes"`
	Policy   *policy.Analysis    `json:"policy"` // null: it has a fault, or comes from bundles
	// Envoy are the findings about files of Envoy's. Their errors and warnings
	// stand among the faults and the warnings, too.
	Envoy []envoycheck.Finding `json:"envoy"`

	envoyFiles []string
}

// run validates.
func (c *validateCmd) run(ctx context.Context, s cli.Streams) error {
	done := terminal.Progress(s.Err, "reading "+cmp.Or(c.Config, strings.Join(c.Envoy, ", ")))
	v := validation{File: c.Config, Faults: []config.FieldError{}, Warnings: []config.FieldError{}, Envoy: []envoycheck.Finding{}, envoyFiles: c.Envoy}
	var cfg *config.Config
	if c.Config != "" {
		cfg = v.configuration(ctx)
	}
	var err error
	for _, file := range c.Envoy {
		err = errors.Join(err, v.envoy(file, cfg))
	}
	v.OK = len(v.Faults) == 0
	done()
	if err != nil {
		return err
	}
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

// configuration adds what there is to tell of the configuration. It returns nil
// where the file can't be read as one.
func (v *validation) configuration(ctx context.Context) *config.Config {
	cfg, faults := config.Inspect(v.File)
	v.Faults = append(v.Faults, faults...)
	if cfg != nil {
		v.Warnings, v.Tenants, v.Routes = append(v.Warnings, cfg.Warnings...), len(cfg.Tenants), len(cfg.Routes)
		v.policy(ctx, cfg)
	}
	return cfg
}

// envoy adds what there is to tell of a file of Envoy's.
func (v *validation) envoy(file string, cfg *config.Config) error {
	text, err := os.ReadFile(file) // #nosec G304 -- the file that the user names
	if err != nil {
		return fmt.Errorf("reading the configuration of Envoy: %w", err)
	}
	findings := envoycheck.Check(file, text, cfg)
	v.Envoy = append(v.Envoy, findings...)
	for _, finding := range findings {
		if finding.Severity == envoycheck.Error {
			v.Faults = append(v.Faults, finding.FieldError)
		} else {
			v.Warnings = append(v.Warnings, finding.FieldError)
		}
	}
	return nil
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
		v.Warnings = append(v.Warnings, config.FieldError{File: w.File, Line: w.Line, Problem: w.Text})
	}
	if err == nil {
		return
	}
	found := policy.Findings(err)
	for _, f := range found {
		v.Faults = append(v.Faults, config.FieldError{File: f.File, Line: f.Line, Problem: f.Text})
	}
	if len(found) == 0 {
		v.Faults = append(v.Faults, config.FieldError{File: cfg.Path, Problem: err.Error()})
	}
}

func (v *validation) text(out, stderr io.Writer) {
	for _, w := range v.Warnings {
		fmt.Fprintln(stderr, terminal.Yellow.Paint(terminal.Colored("auto", stderr), "warning:"), w.Error())
	}
	if !v.OK {
		printErrors(stderr, v.Faults)
		return
	}
	ok := terminal.Green.Paint(terminal.Colored("auto", out), "ok")
	for _, file := range v.envoyFiles {
		fmt.Fprintf(out, "%s: %s\n", file, ok)
	}
	if v.File == "" {
		return
	}
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
