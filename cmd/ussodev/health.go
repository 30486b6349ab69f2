package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/ussoio/ussoauthz/internal/cli"
)

type healthCmd struct {
	URL     string        `arg:"" placeholder:"URL" help:"The page to ask."`
	Timeout time.Duration `default:"2s" help:"How long to wait for an answer. (${default})"`
}

func (healthCmd) Help() string {
	return `Exit code 0 where the page is answered with 200, 1 where it is not: the health check of
a container that has no other program for it.

Example:
  ussodev health http://127.0.0.1:8080/health`
}

// Run asks the page once.
func (c healthCmd) Run(ctx context.Context, s cli.Streams) error {
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
