package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/dev/devissuer"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

type tokenCmd struct {
	configFlags
	Tenant    string
	Sub       string
	Scope     []string
	Role      []string
	Workspace string
	Claim     []string
	Expires   time.Duration
	Audience  []string
	Issuer    string
	Alg       string
}

// command is "token" of the command line.
func (c *tokenCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token -c FILE --tenant ID --sub ID",
		Short: "Mint a token for a tenant and print it.",
		Long: `Prints the token and nothing else. It is signed with the key that "ussodev issuer"
publishes for the tenant, or will: either may be first. A tenant with an HS256
secret is signed for with that secret.`,
		Example: `  ussodev token -c ussoauthz.yaml --tenant acme --sub user:1 --scope read:posts
  ussodev token -c ussoauthz.yaml --tenant acme --sub user:1 --role admin --claim company_id=c1 --expires -1h
  curl -H "Authorization: Bearer $(ussodev token -c ussoauthz.yaml --tenant acme --sub user:1)" http://127.0.0.1:10000/me`,
		Args:    cli.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return c.validate() },
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	c.add(flags)
	flags.StringVar(&c.Tenant, "tenant", "", "The tenant's `ID`.")
	flags.StringVar(&c.Sub, "sub", "", "The `ID` of whom the token speaks for.")
	flags.StringArrayVar(&c.Scope, "scope", nil, "A `SCOPE`; may be repeated.")
	flags.StringArrayVar(&c.Role, "role", nil, "A `ROLE`; may be repeated.")
	flags.StringVar(&c.Workspace, "workspace", "", "The workspace's `ID`.")
	flags.StringArrayVar(&c.Claim, "claim", nil, "A further claim `NAME=VALUE`, by name or JSON pointer; a value that is not JSON is text; null leaves the claim out. May be repeated.")
	flags.DurationVar(&c.Expires, "expires", time.Hour, "How long it is good for; -1h has expired.")
	flags.StringArrayVar(&c.Audience, "audience", nil, "An `AUDIENCE` instead of the tenant's; may be repeated.")
	flags.StringVar(&c.Issuer, "issuer", "", "An `ISSUER` instead of the tenant's.")
	flags.StringVar(&c.Alg, "alg", "", "The algorithm `ALG`: EdDSA, RS256, RS384, RS512, ES256, ES384 or HS256. Default: the tenant's first.")
	cli.Require(cmd, "config", "tenant", "sub")
	return cmd
}

// validate finds what is wrong with the command line.
func (c *tokenCmd) validate() error {
	if c.Expires == 0 {
		return errors.New("--expires is 0: write -1s for a token that has expired")
	}
	if c.Alg != "" {
		if _, err := jwtverify.ParseAlgorithm(c.Alg); err != nil {
			return fmt.Errorf("--alg: %w", err)
		}
	}
	_, err := parseClaims(c.Claim)
	return err
}

// run prints a token.
func (c *tokenCmd) run(_ context.Context, s cli.Streams) error {
	cfg, keysDir, err := c.load()
	if err != nil {
		return err
	}
	list, err := selectTenants(cfg, []string{c.Tenant})
	if err != nil {
		return err
	}
	further, err := parseClaims(c.Claim)
	if err != nil {
		return err
	}
	tenant, err := devissuer.NewTenant(list[0], devissuer.OpenKeys(keysDir), nil)
	if err != nil {
		return err
	}
	claims := tenant.Claims(devissuer.User{
		Subject: c.Sub, Workspace: c.Workspace, Roles: c.Role, Scopes: c.Scope,
		Issuer: c.Issuer, Audience: c.Audience, Lifetime: c.Expires, Claims: further,
	})
	token, err := tenant.Mint(claims, jwtverify.Algorithm(c.Alg))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, token)
	return err
}

// parseClaims reads NAME=VALUE pairs.
func parseClaims(pairs []string) (map[string]any, error) {
	claims := map[string]any{}
	for _, pair := range pairs {
		name, text, found := strings.Cut(pair, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("--claim %q: write NAME=VALUE", pair)
		}
		claims[name] = claimValue(text)
	}
	return claims, nil
}

// claimValue reads JSON with every digit of its numbers, and all else as text.
func claimValue(text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return text
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return text
	}
	return value
}
