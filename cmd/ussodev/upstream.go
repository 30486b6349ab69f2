package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/dev/upstream"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
)

type upstreamCmd struct {
	Listen string
	Claim  map[string]string
}

// command is "upstream" of the command line.
func (c *upstreamCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upstream",
		Short: "Serve an application to put behind Envoy.",
		Long: `Serves posts from memory, guarded by scopes, roles and workspaces as ussoauthz hands
them over in identity headers. /echo, and any path for a request with the header
X-Echo: 1, answers with what reached the application.

It believes the identity headers of whoever reaches it: listen where only Envoy does.`,
		Example: `  ussodev upstream
  ussodev upstream --listen 0.0.0.0:8080 --claim x-company-id=company_id
  curl -H 'x-user-id: user:1' http://127.0.0.1:8080/me`,
		Args: cli.NoArgs,
		RunE: cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:8080", "The `ADDRESS` to listen at.")
	flags.Var((*cli.Pairs)(&c.Claim), "claim", "A further identity header and its claim, `HEADER=CLAIM`; may be repeated.")
	return cmd
}

// run serves until ctx ends.
func (c *upstreamCmd) run(ctx context.Context, s cli.Streams) error {
	listeners, err := listen(ctx, []string{c.Listen})
	if err != nil {
		return err
	}
	names := httpauth.DefaultHeaders()
	names.Claims = c.Claim
	return serve(ctx, upstream.New(httpauth.FromHeaders(names)), listeners, s.Err)
}
