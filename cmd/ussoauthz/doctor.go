package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/doctor"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

type doctorCmd struct {
	Config  string        `short:"c" required:"" placeholder:"FILE" help:"The configuration file."`
	Timeout time.Duration `default:"5s" help:"How long to wait for each server. (${default})"`
	JSON    bool          `help:"For machines: a list of results."`
	Color   string        `enum:"auto,always,never" default:"auto" help:"auto, always or never. auto: on a terminal, unless NO_COLOR is set. (${default})"`
}

func (doctorCmd) Help() string {
	return `Asks each tenant's key server once, as the service would, and tells what is wrong:
name, connection, certificate, status, content, keys that are left out, algorithms that
the tenant refuses, a clock that differs. Exit code 0 where every tenant has keys, 1
where one has none; warnings alone are exit code 0.

Examples:
  ussoauthz doctor -c ussoauthz.yaml
  ussoauthz doctor -c ussoauthz.yaml --json`
}

// Validate finds what is wrong with the command line.
func (c doctorCmd) Validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout is %v: write a duration above 0, like 5s", c.Timeout)
	}
	return nil
}

// Run asks.
func (c doctorCmd) Run(ctx context.Context, s cli.Streams) error {
	cfg, err := load(c.Config, s)
	if err != nil {
		return err
	}
	fetcher := jwtverify.NewFetcher(jwtverify.FetcherConfig{Timeout: c.Timeout})
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
