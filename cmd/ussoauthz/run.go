package main

import (
	"context"
	"io"

	"github.com/ussoio/ussoauthz/internal/cli"
)

type commands struct {
	Serve    serveCmd    `cmd:"" help:"Answer Envoy's checks."`
	Validate validateCmd `cmd:"" help:"Check a configuration file and report every fault."`
	Test     testCmd     `cmd:"" help:"Run Rego tests and decision tests."`
	Explain  explainCmd  `cmd:"" help:"Show each step of a decision about one request."`
	Revoke   revokeCmd   `cmd:"" help:"Refuse tokens before they expire."`
	Doctor   doctorCmd   `cmd:"" help:"Ask the tenants' key servers and tell what is wrong with their answers."`
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

// run is the whole program but for the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Program{Name: "ussoauthz", Description: description, Commands: &commands{}}.Run(ctx, args, stdout, stderr)
}
