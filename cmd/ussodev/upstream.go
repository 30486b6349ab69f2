package main

import (
	"context"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/upstream"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
)

type upstreamCmd struct {
	Listen string            `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Where to listen."`
	Claim  map[string]string `placeholder:"HEADER=CLAIM" help:"A further identity header and its claim; may be repeated."`
}

func (upstreamCmd) Help() string {
	return `Serves posts from memory, guarded by scopes, roles and workspaces as ussoauthz hands
them over in identity headers. /echo, and any path for a request with the header
X-Echo: 1, answers with what reached the application.

It believes the identity headers of whoever reaches it: listen where only Envoy does.

Examples:
  ussodev upstream
  ussodev upstream --listen 0.0.0.0:8080 --claim x-company-id=company_id
  curl -H 'x-user-id: user:1' http://127.0.0.1:8080/me`
}

// Run serves until ctx ends.
func (c upstreamCmd) Run(ctx context.Context, s cli.Streams) error {
	listeners, err := listen(ctx, []string{c.Listen})
	if err != nil {
		return err
	}
	names := httpauth.DefaultHeaders()
	names.Claims = c.Claim
	return serve(ctx, upstream.New(httpauth.FromHeaders(names)), listeners, s.Err)
}
