package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/dev/devissuer"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

type issuerCmd struct {
	configFlags
	Tenant []string
	Listen string
}

// command is "issuer" of the command line.
func (c *issuerCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issuer -c FILE",
		Short: "Serve the key sets of a configuration's tenants, and mint tokens over HTTP.",
		Long: `Serves the keys of each tenant whose jwks_url or discovery_url is http:// on a
loopback host, at exactly that URL, until SIGINT or SIGTERM. Beside it, at /token,
it signs any claims that are posted to it.`,
		Example: `  ussodev issuer -c ussoauthz.yaml
  ussodev issuer -c ussoauthz.yaml --listen 0.0.0.0:8000
  curl -H 'Content-Type: application/json' -d '{"sub": "user:1"}' http://127.0.0.1:8000/acme/token`,
		Args: cli.NoArgs,
		RunE: cli.RunE(c.run),
	}
	flags := cmd.Flags()
	c.add(flags)
	flags.StringArrayVar(&c.Tenant, "tenant", nil, "Serve the tenant with this `ID` alone; may be repeated. Default: all.")
	flags.StringVar(&c.Listen, "listen", "", "Serve every tenant with an http:// key URL on this one `ADDRESS`, whatever host the URL names.")
	cli.Require(cmd, "config")
	return cmd
}

// run serves until ctx ends.
func (c *issuerCmd) run(ctx context.Context, s cli.Streams) error {
	cfg, keysDir, err := c.load()
	if err != nil {
		return err
	}
	list, err := selectTenants(cfg, c.Tenant)
	if err != nil {
		return err
	}
	issuer, err := devissuer.NewIssuer(list, devissuer.OpenKeys(keysDir), c.Listen != "")
	if err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	addresses := issuer.Addresses()
	if c.Listen != "" {
		addresses = []string{c.Listen}
	}
	listeners, err := listen(ctx, addresses)
	if err != nil {
		return err
	}
	for _, site := range issuer.Sites() {
		fmt.Fprintf(s.Err, "ussodev: %s: keys at %s, tokens at %s\n", strings.Join(site.Tenants, ", "), site.JWKS, site.Token)
	}
	return serve(ctx, issuer, listeners, s.Err)
}

// selectTenants returns the named tenants of a configuration, all where none
// is named.
func selectTenants(cfg *config.Config, ids []string) ([]tenants.Config, error) {
	if len(ids) == 0 {
		return cfg.Tenants, nil
	}
	var list []tenants.Config
	for _, id := range ids {
		n := slices.IndexFunc(cfg.Tenants, func(t tenants.Config) bool { return t.ID == id })
		if n < 0 {
			known := make([]string, len(cfg.Tenants))
			for i := range cfg.Tenants {
				known[i] = cfg.Tenants[i].ID
			}
			return nil, fmt.Errorf("%s has no tenant %q: it has %s", cfg.Path, id, strings.Join(known, ", "))
		}
		list = append(list, cfg.Tenants[n])
	}
	return list, nil
}

// keysBeside returns the folder of private keys for a configuration file.
func keysBeside(cfg *config.Config) string { return filepath.Join(cfg.Dir, ".ussodev") }

// listen opens all addresses or none.
func listen(ctx context.Context, addresses []string) ([]net.Listener, error) {
	var opened []net.Listener
	var config net.ListenConfig
	for _, address := range addresses {
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range opened {
				_ = l.Close()
			}
			return nil, err
		}
		opened = append(opened, l)
	}
	return opened, nil
}
