// Command floor is what the bench compares with: the least that an external
// authorization service in Go can be. It reads each CheckRequest with the
// generated types, looks at nothing, and returns a fixed OK.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "host:port, or unix:///path")
	admin := flags.String("admin", "127.0.0.1:0", "host:port of /readyz and /metrics")
	if err := flags.Parse(args); err != nil {
		return err
	}
	network, address := "tcp", *listen
	if path, ok := strings.CutPrefix(*listen, "unix://"); ok {
		network, address = "unix", path
	}
	checks, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	debug, err := net.Listen("tcp", *admin)
	if err != nil {
		return errors.Join(err, checks.Close())
	}
	return serve(ctx, checks, debug)
}

func serve(ctx context.Context, checks, debug net.Listener) error {
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintf(w, "go_memstats_mallocs_total %d\n", m.Mallocs)
	})
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	web := &http.Server{}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, floor{})
	failed := make(chan error, 2)
	go func() { failed <- web.Serve(debug) }()
	go func() { failed <- server.Serve(checks) }()
	defer server.Stop()
	defer func() { _ = web.Close() }() // the process ends
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

type floor struct {
	authv3.UnimplementedAuthorizationServer
}

// allowed is made once: a floor that builds its answer is a higher one.
var allowed = &authv3.CheckResponse{
	Status:       &status.Status{},
	HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
}

func (floor) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return allowed, nil
}
