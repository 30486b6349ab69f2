package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/dev/devissuer"
	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
	"github.com/ussoio/ussoauthz/internal/dev/upstream"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
)

type demoCmd struct {
	Ussoauthz string
	Config    string
	Cache     string
	Once      bool
}

// command is "demo" of the command line.
func (c *demoCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo --ussoauthz FILE",
		Short: "Bring up the whole stack with a real Envoy, and take a tour of it.",
		Long: `Starts an issuer with two tenants, an application, ussoauthz and a real Envoy on
loopback, sends a tour of requests through Envoy, and leaves the stack up until
Ctrl-C. Usual ports that are taken are replaced by free ones.`,
		Example: `  ussodev demo --ussoauthz bin/ussoauthz --once`,
		Args:    cli.NoArgs,
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Ussoauthz, "ussoauthz", "", "The `FILE` that is the service's binary.")
	flags.StringVarP(&c.Config, "config", "c", "demo/ussoauthz.yaml", "The configuration `FILE` to show.")
	flags.StringVar(&c.Cache, "cache", ".cache", "The `DIR` where Envoy and the logs are kept.")
	flags.BoolVar(&c.Once, "once", false, "End after the tour; exit code 1 if an answer is not the expected one.")
	cli.Require(cmd, "ussoauthz")
	return cmd
}

// run takes the tour.
func (c *demoCmd) run(ctx context.Context, s cli.Streams) (err error) {
	d := &demo{cmd: *c, streams: s, recorder: &tour.Recorder{}}
	dir, err := filepath.Abs(filepath.Join(c.Cache, "demo"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder for logs: %w", err)
	}
	d.dir = dir
	ctx, end := context.WithCancel(ctx)
	defer func() {
		err = errors.Join(err, d.stop(end))
	}()
	if err := d.start(ctx); err != nil {
		return err
	}
	failed, err := d.tour(ctx)
	if err != nil {
		return err
	}
	if !c.Once {
		fmt.Fprintf(s.Out, "\nThe stack stays up until Ctrl-C. Envoy listens on %s, the tokens are in\n%s, the logs beside it.\n", d.stack.Edge, d.tokensFile())
		<-ctx.Done()
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d answers are not the expected ones", failed, len(tour.Steps()))
	}
	return nil
}

// demo is the running stack and what the tour needs of it.
type demo struct {
	cmd      demoCmd
	streams  cli.Streams
	dir      string
	tenants  map[string]*devissuer.Tenant
	recorder *tour.Recorder
	stack    *stack.Stack
	serving  []chan error
}

func (d *demo) start(ctx context.Context) error {
	envoy, err := envoybin.Find(ctx, d.cmd.Cache, d.streams.Err)
	if err != nil {
		return err
	}
	sso, err := listenNear("127.0.0.1:8000")
	if err != nil {
		return err
	}
	// Nobody listens where initech's issuer should be.
	down, err := listenNear("127.0.0.1:8001")
	if err != nil {
		return errors.Join(err, sso.Close())
	}
	env := map[string]string{
		"ACME_SSO": "http://" + sso.Addr().String() + "/acme", "GLOBEX_SSO": "http://" + sso.Addr().String() + "/globex",
		"INITECH_SSO": "http://" + down.Addr().String() + "/initech", "USSOAUTHZ_DRAIN": "0s",
	}
	if err := errors.Join(down.Close(), d.startIssuer(ctx, sso, env)); err != nil {
		return errors.Join(err, sso.Close())
	}
	app, err := listenNear("127.0.0.1:8080")
	if err != nil {
		return err
	}
	d.serve(ctx, d.recorder.Wrap(upstream.New(httpauth.FromHeaders(httpauth.DefaultHeaders()))), app)
	pairs := make([]string, 0, len(env))
	for name, value := range env {
		pairs = append(pairs, name+"="+value)
	}
	fmt.Fprintln(d.streams.Err, "Starting ussoauthz and Envoy …")
	d.stack, err = stack.Start(ctx, stack.Config{
		Ussoauthz: d.cmd.Ussoauthz, Envoy: envoy, File: d.cmd.Config, Env: pairs,
		Dir: d.dir, Upstream: app.Addr().String(), UsualPorts: true,
	})
	return err
}

// startIssuer serves the keys of the tenants whose issuer is up.
func (d *demo) startIssuer(ctx context.Context, l net.Listener, env map[string]string) error {
	text, err := os.ReadFile(d.cmd.Config)
	if err != nil {
		return err
	}
	cfg, err := config.Parse(d.cmd.Config, text, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	if err != nil {
		return fmt.Errorf("the configuration has faults:\n%w", err)
	}
	keys := devissuer.OpenKeys(keysBeside(cfg))
	up, err := selectTenants(cfg, []string{"acme", "globex"})
	if err != nil {
		return err
	}
	issuer, err := devissuer.NewIssuer(up, keys, false)
	if err != nil {
		return err
	}
	d.tenants = map[string]*devissuer.Tenant{}
	for _, t := range cfg.Tenants {
		if d.tenants[t.ID], err = devissuer.NewTenant(t, keys, time.Now); err != nil {
			return err
		}
	}
	d.serve(ctx, issuer, l)
	return nil
}

// serve answers on l until ctx ends.
func (d *demo) serve(ctx context.Context, h http.Handler, l net.Listener) {
	ended := make(chan error, 1)
	d.serving = append(d.serving, ended)
	go func() { ended <- serve(ctx, h, []net.Listener{l}, io.Discard) }()
}

// stop ends everything that start began, Envoy first.
func (d *demo) stop(end context.CancelFunc) error {
	var errs []error
	if d.stack != nil {
		errs = append(errs, d.stack.Stop())
	}
	end()
	for _, ended := range d.serving {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// listenNear listens on an address, or where it is taken on another port.
func listenNear(address string) (net.Listener, error) {
	if l, err := net.Listen("tcp", address); err == nil {
		return l, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("looking for a free port: %w", err)
	}
	return l, nil
}

// tour sends every step and prints its answer. It returns how many were not
// the expected ones.
func (d *demo) tour(ctx context.Context) (failed int, err error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	tokens, err := d.mintAll()
	if err != nil {
		return 0, err
	}
	out := newTable(d.streams.Out)
	out.header(d.stack.Edge, d.tokensFile())
	for n, step := range tour.Steps() {
		var token string
		if step.Token != nil {
			token = tokens[step.Token.Name]
		}
		req, err := step.Request(d.stack.Edge, token, n+1)
		if err != nil {
			return failed, err
		}
		answer, err := tour.Do(client, req.WithContext(ctx))
		if err != nil {
			return failed, err
		}
		answer.Seen = d.recorder.Take(n + 1)
		wrong := step.Check(answer)
		if wrong != nil {
			failed++
		}
		out.row(n+1, step, answer, wrong, step.Curl(d.stack.Edge))
	}
	out.footer(len(tour.Steps()), failed)
	return failed, nil
}

func (d *demo) tokensFile() string { return filepath.Join(d.dir, "tokens.env") }

// mintAll mints each token of the story and writes them to a file that a shell
// can read, for the curl lines.
func (d *demo) mintAll() (map[string]string, error) {
	tokens := map[string]string{}
	var lines strings.Builder
	for _, step := range tour.Steps() {
		t := step.Token
		if t == nil || tokens[t.Name] != "" {
			continue
		}
		tenant := d.tenants[t.Tenant]
		token, err := tenant.Mint(t.Claims("https://sso."+t.Tenant+".example", "posts", time.Now()), "")
		if err != nil {
			return nil, fmt.Errorf("minting for %s: %w", t.Name, err)
		}
		tokens[t.Name] = token
		fmt.Fprintf(&lines, "%s=%s\n", t.Name, token)
	}
	if err := os.WriteFile(d.tokensFile(), []byte(lines.String()), 0o600); err != nil {
		return nil, fmt.Errorf("writing the tokens: %w", err)
	}
	return tokens, nil
}
