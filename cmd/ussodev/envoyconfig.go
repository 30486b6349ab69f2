package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/envoy"
	"github.com/ussoio/ussoauthz/internal/cli"
)

type envoyConfigCmd struct {
	Edge     string
	Authz    string
	Upstream string
	Admin    string
	Out      string
	Copy     string
}

// command is "envoy-config" of the command line.
func (c *envoyConfigCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "envoy-config",
		Short:   "Write Envoy's configuration with addresses of your own.",
		Long:    `Writes the shipped, hardened Envoy configuration with addresses of your own.`,
		Example: `  ussodev envoy-config --edge 0.0.0.0:10000 --authz ussoauthz:9191 --upstream upstream:8080`,
		Args:    cli.NoArgs,
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Edge, "edge", "", "The `ADDRESS` where Envoy listens. Default: as in envoy/envoy.yaml.")
	flags.StringVar(&c.Authz, "authz", "", "The `ADDRESS` where ussoauthz answers: host:port.")
	flags.StringVar(&c.Upstream, "upstream", "", "The `ADDRESS` where the application is: host:port.")
	flags.StringVar(&c.Admin, "admin", "", "The `ADDRESS` of Envoy's admin interface.")
	flags.StringVar(&c.Out, "out", "", "The `FILE` to write. Default: standard output.")
	flags.StringVar(&c.Copy, "copy", "", "The `FILE` to copy this program to: Envoy's image has none that could ask for its health.")
	return cmd
}

// run writes the configuration.
func (c *envoyConfigCmd) run(_ context.Context, s cli.Streams) error {
	text, err := envoy.Config(envoy.Ports{Edge: c.Edge, Authz: c.Authz, Upstream: c.Upstream, Admin: c.Admin})
	if err != nil {
		return err
	}
	if c.Copy != "" {
		if err := copyProgram(c.Copy); err != nil {
			return fmt.Errorf("copying this program: %w", err)
		}
	}
	if c.Out == "" {
		_, err = s.Out.Write(text)
		return err
	}
	if err := os.WriteFile(c.Out, text, 0o644); err != nil { // #nosec G306 -- Envoy reads it as another user
		return fmt.Errorf("writing Envoy's configuration: %w", err)
	}
	return nil
}

// copyProgram renames its copy into place: a copy that runs can't be written.
func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // it was read
	fresh := to + ".new"
	out, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755) // #nosec G302 -- Envoy's user runs it
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, to)
}
