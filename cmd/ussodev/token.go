package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/devissuer"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

type tokenCmd struct {
	configFlags `embed:""`
	Tenant      string        `required:"" placeholder:"ID" help:"The tenant."`
	Sub         string        `required:"" placeholder:"ID" help:"Whom the token speaks for."`
	Scope       []string      `sep:"none" placeholder:"SCOPE" help:"A scope; may be repeated."`
	Role        []string      `sep:"none" placeholder:"ROLE" help:"A role; may be repeated."`
	Workspace   string        `placeholder:"ID" help:"The workspace."`
	Claim       []string      `sep:"none" placeholder:"NAME=VALUE" help:"A further claim, by name or JSON pointer; a value that is not JSON is text; null leaves the claim out. May be repeated."`
	Expires     time.Duration `default:"1h" placeholder:"DURATION" help:"How long it is good for (${default}); -1h has expired."`
	Audience    []string      `sep:"none" placeholder:"AUDIENCE" help:"Instead of the tenant's; may be repeated."`
	Issuer      string        `placeholder:"ISSUER" help:"Instead of the tenant's."`
	Alg         string        `placeholder:"ALG" help:"EdDSA, RS256, RS384, RS512, ES256, ES384 or HS256. Default: the tenant's first."`
}

func (tokenCmd) Help() string {
	return `Prints the token and nothing else. It is signed with the key that "ussodev issuer"
publishes for the tenant, or will: either may be first. A tenant with an HS256
secret is signed for with that secret.

Examples:
  ussodev token -c ussoauthz.yaml --tenant acme --sub user:1 --scope read:posts
  ussodev token -c ussoauthz.yaml --tenant acme --sub user:1 --role admin --claim company_id=c1 --expires -1h
  curl -H "Authorization: Bearer $(ussodev token -c ussoauthz.yaml --tenant acme --sub user:1)" http://127.0.0.1:10000/me`
}

// Validate finds what is wrong with the command line.
func (c tokenCmd) Validate() error {
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

// Run prints a token.
func (c tokenCmd) Run(s cli.Streams) error {
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
