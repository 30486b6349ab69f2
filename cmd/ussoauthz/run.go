package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
)

const description = `An Envoy external authorization service for a mesh of many tenants: it picks the
tenant, verifies the tenant's token, runs Rego, and answers allow with identity
headers or deny with a reason.`

const examples = `  ussoauthz serve -c ussoauthz.yaml
  ussoauthz validate -c ussoauthz.yaml
  ussoauthz explain -c ussoauthz.yaml --tenant acme --token "$TOKEN" GET /posts/42
  USSO_JWKS_URL=https://sso.example/.well-known/jwks.json \
    USSO_ISSUER=https://sso.example USSO_AUDIENCE=my-app ussoauthz serve`

// run is the whole program but for the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Program{
		Name: "ussoauthz", Description: description, Examples: examples,
		Commands: []*cobra.Command{
			new(serveCmd).command(),
			new(validateCmd).command(),
			new(testCmd).command(),
			new(explainCmd).command(),
			new(revokeCmd).command(),
			new(doctorCmd).command(),
			new(healthCmd).command(),
			versionCommand(),
		},
	}.Run(ctx, args, stdout, stderr)
}
