package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
)

const description = `Development tools for ussoauthz: tokens and keys for the tenants of a
configuration, and an application to put behind Envoy. Never for production.`

const examples = `  ussodev issuer -c ussoauthz.yaml
  ussodev token -c ussoauthz.yaml --tenant acme --sub user:1 --scope read:posts
  ussodev upstream --listen 127.0.0.1:8080
  ussodev demo --ussoauthz bin/ussoauthz`

// run is the whole program but for the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Program{
		Name: "ussodev", Description: description, Examples: examples,
		Commands: []*cobra.Command{
			new(issuerCmd).command(),
			new(tokenCmd).command(),
			new(upstreamCmd).command(),
			new(envoyConfigCmd).command(),
			new(healthCmd).command(),
			new(demoCmd).command(),
		},
	}.Run(ctx, args, stdout, stderr)
}

// configFlags are what the commands share that act for a configuration's tenants.
type configFlags struct{ Config, Keys string }

func (f *configFlags) add(flags *pflag.FlagSet) {
	flags.StringVarP(&f.Config, "config", "c", "", "The configuration `FILE` of ussoauthz.")
	flags.StringVar(&f.Keys, "keys", "", "The `DIR` of the private keys; made on first use. Default: .ussodev beside FILE.")
}

// load reads the file; its error is one line for each fault.
func (f configFlags) load() (cfg *config.Config, keysDir string, err error) {
	cfg, err = config.Load(f.Config)
	if err != nil {
		return nil, "", fmt.Errorf("the configuration has faults:\n%w", err)
	}
	if f.Keys != "" {
		return cfg, f.Keys, nil
	}
	return cfg, keysBeside(cfg), nil
}
