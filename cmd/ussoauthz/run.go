package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes: what scripts and init systems act on.
const (
	exitOK    = 0
	exitFault = 1 // the configuration, the environment or the service has a fault
	exitUsage = 2 // the command line has
)

type cli struct {
	Serve    serveCmd    `cmd:"" help:"Answer Envoy's checks."`
	Validate validateCmd `cmd:"" help:"Check a configuration file and report every fault."`
	Test     testCmd     `cmd:"" help:"Run Rego tests and decision tests."`
	Explain  explainCmd  `cmd:"" help:"Show each step of a decision about one request."`
	Health   healthCmd   `cmd:"" help:"Ask a running service whether it answers checks."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

const description = `An Envoy external authorization service for a mesh of many tenants: it picks the
tenant, verifies the tenant's token, runs Rego, and answers allow with identity
headers or deny with a reason.

Examples:
  ussoauthz serve -c ussoauthz.yaml
  ussoauthz validate -c ussoauthz.yaml
  ussoauthz explain -c ussoauthz.yaml --tenant acme --token "$TOKEN" GET /posts/42
  USSO_JWKS_URL=https://sso.example/.well-known/jwks.json \
    USSO_ISSUER=https://sso.example USSO_AUDIENCE=my-app ussoauthz serve`

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
		kong.Name("ussoauthz"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(exited(status)) }),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "ussoauthz:", err)
		return exitFault
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help": // as git and go have it: help, help serve
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "ussoauthz: %v\n%s\n", err, advice(err))
		return exitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(streams{stdout, stderr}); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(stderr, "ussoauthz:", err)
		}
		return exitFault
	}
	return exitOK
}

// advice says where to read on after a command line that could not be read.
func advice(err error) string {
	var fault *kong.ParseError
	if errors.As(err, &fault) && fault.Context != nil && fault.Context.Command() != "" {
		command, _, _ := strings.Cut(fault.Context.Command(), " ")
		return fmt.Sprintf("Run \"ussoauthz %s --help\" for its flags and examples.", command)
	}
	return "Run \"ussoauthz --help\" for the commands and examples."
}

// errReported: the fault is already on stderr, in a form of its own.
var errReported = errors.New("reported")
