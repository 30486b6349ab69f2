package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ussoio/ussoauthz/envoy"
	"github.com/ussoio/ussoauthz/internal/cli"
)

type envoyConfigCmd struct {
	Edge     string `placeholder:"ADDRESS" help:"Where Envoy listens. Default: as in envoy/envoy.yaml."`
	Authz    string `placeholder:"ADDRESS" help:"Where ussoauthz answers: host:port."`
	Upstream string `placeholder:"ADDRESS" help:"Where the application is: host:port."`
	Admin    string `placeholder:"ADDRESS" help:"Envoy's admin interface."`
	Out      string `placeholder:"FILE" help:"Where to write it. Default: standard output."`
	Copy     string `placeholder:"FILE" help:"Where to copy this program to: Envoy's image has none that could ask for its health."`
}

func (envoyConfigCmd) Help() string {
	return `Writes the shipped, hardened Envoy configuration with addresses of your own.

Example:
  ussodev envoy-config --edge 0.0.0.0:10000 --authz ussoauthz:9191 --upstream upstream:8080`
}

// Run writes the configuration.
func (c envoyConfigCmd) Run(s cli.Streams) error {
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
