package main

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
)

type commands struct {
	Issuer      issuerCmd      `cmd:"" help:"Serve the key sets of a configuration's tenants, and mint tokens over HTTP."`
	Token       tokenCmd       `cmd:"" help:"Mint a token for a tenant and print it."`
	Upstream    upstreamCmd    `cmd:"" help:"Serve an application to put behind Envoy."`
	EnvoyConfig envoyConfigCmd `cmd:"" help:"Write Envoy's configuration with addresses of your own."`
	Health      healthCmd      `cmd:"" help:"Ask a page, for the health check of a container."`
	Demo        demoCmd        `cmd:"" help:"Bring up the whole stack with a real Envoy, and take a tour of it."`
}

const description = `Development tools for ussoauthz: tokens and keys for the tenants of a
configuration, and an application to put behind Envoy. Never for production.

Examples:
  ussodev issuer -c ussoauthz.yaml
  ussodev token -c ussoauthz.yaml --tenant acme --sub user:1 --scope read:posts
  ussodev upstream --listen 127.0.0.1:8080
  ussodev demo --ussoauthz bin/ussoauthz`

// run is the whole program but for the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Program{
		Name: "ussodev", Description: description, Commands: &commands{},
		Options: []kong.Option{kong.WithHyphenPrefixedParameters(true)}, // --expires -1h
	}.Run(ctx, args, stdout, stderr)
}

// configFlags are what the commands share that act for a configuration's tenants.
type configFlags struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"The configuration file of ussoauthz."`
	Keys   string `placeholder:"DIR" help:"Where the private keys are; made on first use. Default: .ussodev beside FILE."`
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
