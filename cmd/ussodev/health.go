package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
)

type healthCmd struct {
	URL     string
	Timeout time.Duration
}

// command is "health" of the command line.
func (c *healthCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health URL",
		Short: "Ask a page, for the health check of a container.",
		Long: `Exit code 0 where the page is answered with 200, 1 where it is not: the health check of
a container that has no other program for it.`,
		Example: `  ussodev health http://127.0.0.1:8080/health`,
		Args:    cobra.ExactArgs(1),
		PreRun:  func(_ *cobra.Command, args []string) { c.URL = args[0] },
		RunE:    cli.RunE(c.run),
	}
	cmd.Flags().DurationVar(&c.Timeout, "timeout", 2*time.Second, "How long to wait for an answer.")
	return cmd
}

// run asks the page once.
func (c *healthCmd) run(ctx context.Context, s cli.Streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close() // the status is all
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", c.URL, response.Status)
	}
	fmt.Fprintln(s.Out, response.Status)
	return nil
}
