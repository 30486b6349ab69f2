package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/ussoio/ussoauthz/internal/config"
)

// Exit codes, for scripts.
const (
	exitOK    = 0
	exitFault = 1 // a file, a key or an address has a fault
	exitUsage = 2 // the command line has
)

type cli struct {
	Issuer      issuerCmd      `cmd:"" help:"Serve the key sets of a configuration's tenants, and mint tokens over HTTP."`
	Token       tokenCmd       `cmd:"" help:"Mint a token for a tenant and print it."`
	Upstream    upstreamCmd    `cmd:"" help:"Serve an application to put behind Envoy."`
	EnvoyConfig envoyConfigCmd `cmd:"" help:"Write Envoy's configuration with addresses of your own."`
	Demo        demoCmd        `cmd:"" help:"Bring up the whole stack with a real Envoy, and take a tour of it."`
}

const description = `Development tools for ussoauthz: tokens and keys for the tenants of a
configuration, and an application to put behind Envoy. Never for production.

Examples:
  ussodev issuer -c ussoauthz.yaml
  ussodev token -c ussoauthz.yaml --tenant acme --sub user:1 --scope read:posts
  ussodev upstream --listen 127.0.0.1:8080
  ussodev demo --ussoauthz bin/ussoauthz`

// streams is where a command writes.
type streams struct{ out, err io.Writer }

// exited is how kong's own exits (help) come back to run.
type exited int

// run is the whole program but for the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if r := recover(); r != nil {
			status, ok := r.(exited)
			if !ok {
				panic(r)
			}
			code = int(status)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("ussodev"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(exited(status)) }),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true}),
		kong.WithHyphenPrefixedParameters(true), // --expires -1h
	)
	if err != nil {
		fmt.Fprintln(stderr, "ussodev:", err)
		return exitFault
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help": // as git and go have it: help, help token
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "ussodev: %v\n%s\n", err, advice(err))
		return exitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(streams{stdout, stderr}); err != nil {
		fmt.Fprintln(stderr, "ussodev:", err)
		return exitFault
	}
	return exitOK
}

// advice says where to read on after a command line that could not be read.
func advice(err error) string {
	var fault *kong.ParseError
	if errors.As(err, &fault) && fault.Context != nil && fault.Context.Command() != "" {
		command, _, _ := strings.Cut(fault.Context.Command(), " ")
		return fmt.Sprintf("Run \"ussodev %s --help\" for its flags and examples.", command)
	}
	return "Run \"ussodev --help\" for the commands and examples."
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
