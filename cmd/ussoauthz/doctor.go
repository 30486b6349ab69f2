package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/doctor"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

type doctorCmd struct {
	Config  string
	Timeout time.Duration
	JSON    bool
	Color   string
}

// command is "doctor" of the command line.
func (c *doctorCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor -c FILE",
		Short: "Ask the tenants' key servers and tell what is wrong with their answers.",
		Long: `Asks each tenant's key server once, as the service would, and tells what is wrong:
name, connection, certificate, status, content, keys that are left out, algorithms that
the tenant refuses, a clock that differs. Exit code 0 where every tenant has keys, 1
where one has none; warnings alone are exit code 0.`,
		Example: `  ussoauthz doctor -c ussoauthz.yaml
  ussoauthz doctor -c ussoauthz.yaml --json`,
		Args:    cli.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return c.validate() },
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Config, "config", "c", "", "The configuration `FILE`.")
	flags.DurationVar(&c.Timeout, "timeout", 5*time.Second, "How long to wait for each server.")
	flags.BoolVar(&c.JSON, "json", false, "For machines: a list of results.")
	flags.Var(cli.OneOf(&c.Color, "auto", "always", "never"), "color", "auto: on a terminal, unless NO_COLOR is set.")
	cli.Require(cmd, "config")
	return cmd
}

// validate finds what is wrong with the command line.
func (c *doctorCmd) validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout is %v: write a duration above 0, like 5s", c.Timeout)
	}
	return nil
}

// run asks.
func (c *doctorCmd) run(ctx context.Context, s cli.Streams) error {
	cfg, err := load(c.Config, s)
	if err != nil {
		return err
	}
	guards := jwks.FetcherConfig{Timeout: c.Timeout, DenyPrivate: cfg.JWKSDenyPrivate}
	if _, err := os.Stat(cfg.JWKSDir); err == nil { // else it would be made
		if guards.Store, err = jwks.OpenKeyStore(cfg.JWKSDir, nil); err != nil {
			return fmt.Errorf("jwks_dir: %w", err)
		}
	}
	fetcher := jwks.NewFetcher(guards)
	defer fetcher.Close()
	bar := terminal.Bar{Out: s.Err, What: "asking key servers", Total: len(cfg.Tenants)}
	results := doctor.Examine(ctx, fetcher, cfg.Tenants, cfg.Dir, bar.Show)
	bar.Clear()
	if c.JSON {
		encoder := json.NewEncoder(s.Out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(results)
	} else {
		err = doctor.Text(s.Out, terminal.Colored(c.Color, s.Out), results)
	}
	for _, r := range results {
		if err == nil && r.Outcome == doctor.Failed {
			return cli.ErrReported
		}
	}
	return err
}
