package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ussoio/ussoauthz/internal/buildinfo"
	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/collector"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/linebuffer"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
)

type serveCmd struct {
	Config string
}

// command is "serve" of the command line.
func (c *serveCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer Envoy's checks.",
		Long: `Serves until SIGINT or SIGTERM, then drains: NOT_SERVING first, so that Envoy looks
elsewhere, then a graceful stop. Watches the files that it was made from and takes a
change that has no fault; SIGHUP makes it read them at once.`,
		Example: `  ussoauthz serve -c ussoauthz.yaml
  USSO_LISTEN=unix:///run/ussoauthz.sock USSO_JWKS_URL=… USSO_ISSUER=… USSO_AUDIENCE=… ussoauthz serve`,
		Args: cli.NoArgs,
		RunE: cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Config, "config", "c", "", "The configuration `FILE`. Without one: a single tenant from USSO_JWKS_URL, USSO_ISSUER and USSO_AUDIENCE.")
	return cmd
}

// run serves.
func (c *serveCmd) run(ctx context.Context, s cli.Streams) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // at once: it would end a service that still starts
	defer signal.Stop(hangups)
	cfg, err := load(c.Config, s)
	if err != nil {
		return err
	}
	var level slog.LevelVar
	lines := linebuffer.NewWriter(s.Err, logBuffer)
	defer closeLog(ctx, lines)
	log := newLogger(cfg.Log, &level, lines)
	for _, w := range cfg.Warnings {
		log.Warn(w.Error())
	}
	collector.Fit(ctx, log)
	loaded := terminal.Progress(s.Err, "loading policies and keys")
	svc, err := service.New(ctx, cfg, log)
	loaded()
	if err != nil {
		return err
	}
	svc.FollowLog(&level, lines.Dropped)
	defer reloadOn(ctx, hangups, svc)()
	return svc.Run(ctx)
}

// logBuffer bounds the lines of the log that wait for standard error, in bytes.
const logBuffer = 1 << 20

// closeLog writes the last lines. Nobody reads them where that takes longer.
func closeLog(ctx context.Context, lines *linebuffer.Writer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = lines.Close(ctx) // there is nowhere left to tell it
}

// reloadOn makes SIGHUP mean what it means to other servers. The function that
// it returns ends that.
func reloadOn(ctx context.Context, hangups <-chan os.Signal, svc *service.Service) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				svc.Reload()
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// load reads the file, or the environment where none is named, and prints the
// faults of either, one a line.
func load(path string, s cli.Streams) (*config.Config, error) {
	var cfg *config.Config
	var err error
	if path == "" {
		cfg, err = config.FromEnvironment(os.Getenv)
	} else {
		cfg, err = config.Load(path)
	}
	var faults config.Errors
	if errors.As(err, &faults) {
		printErrors(s.Err, faults)
		return nil, cli.ErrReported
	}
	return cfg, err
}

func printErrors(w io.Writer, faults config.Errors) {
	for _, f := range faults {
		fmt.Fprintln(w, f.Error())
	}
	fmt.Fprintln(w, terminal.Red.Paint(terminal.Colored("auto", w), count(len(faults), "fault")))
}

// newLogger returns the service's log. level is what it obeys from then on.
func newLogger(cfg config.Log, level *slog.LevelVar, w io.Writer) *slog.Logger {
	var configured slog.Level
	if configured.UnmarshalText([]byte(cfg.Level)) == nil { // else info; the configuration was checked
		level.Set(configured)
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type healthCmd struct {
	Address string
	Timeout time.Duration
}

// command is "health" of the command line.
func (c *healthCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running service whether it answers checks.",
		Long: `Exit code 0 where the service answers checks, 1 where it does not: a container's
health check. It speaks plaintext.`,
		Example: `  ussoauthz health -a unix:///run/ussoauthz.sock`,
		Args:    cli.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return c.validate() },
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Address, "address", "a", "127.0.0.1:9191", "The `ADDRESS` where the service listens: host:port, or unix:///path.")
	flags.DurationVar(&c.Timeout, "timeout", 2*time.Second, "How long to wait for an answer.")
	return cmd
}

// validate finds what is wrong with the command line.
func (c *healthCmd) validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout is %v: write a duration above 0, like 2s", c.Timeout)
	}
	return nil
}

// run asks the gRPC health service.
func (c *healthCmd) run(ctx context.Context, s cli.Streams) error {
	target := c.Address
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("dialing %s: %w", c.Address, err)
	}
	defer func() { _ = conn.Close() }() // the answer is known by then
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request := &grpc_health_v1.HealthCheckRequest{Service: extauthz.ServiceName}
	done := terminal.Progress(s.Err, "asking "+c.Address)
	response, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, request)
	done()
	if err != nil {
		why := status.Convert(err).Message()
		if _, dialing, ok := strings.Cut(why, "Error while dialing: "); ok { // gRPC wraps it twice
			why = strings.TrimSuffix(dialing, `"`)
		}
		return fmt.Errorf("asking %s: %s", c.Address, why)
	}
	style, err := terminal.Green, error(nil)
	if response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		style, err = terminal.Red, cli.ErrReported
	}
	fmt.Fprintln(s.Out, style.Paint(terminal.Colored("auto", s.Out), response.GetStatus().String()))
	return err
}

// versionCommand prints the version.
func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version.",
		Example: "  ussoauthz version",
		Args:    cli.NoArgs,
		RunE: cli.RunE(func(_ context.Context, s cli.Streams) error {
			fmt.Fprintf(s.Out, "ussoauthz %s (%s)\n", buildinfo.Version(), runtime.Version())
			return nil
		}),
	}
}
