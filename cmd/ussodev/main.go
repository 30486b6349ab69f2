// Command ussodev is for development: tokens and keys for the tenants of a
// ussoauthz configuration, and an application to put behind Envoy. Nothing of
// it belongs on a machine that serves the world.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
