package metrics_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ussoio/ussoauthz/internal/observe/metrics"
)

// Calls are counted by method and code, streams when they end, and what no
// method takes under one name, whatever the caller made up.
func TestCalls(t *testing.T) {
	m := metrics.New(10, state{})
	server := grpc.NewServer(grpc.UnknownServiceHandler(m.UnknownMethod))
	grpc_health_v1.RegisterHealthServer(m.Registrar(server), health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := grpc_health_v1.NewHealthClient(conn)
	for service, want := range map[string]codes.Code{"": codes.OK, "nobody": codes.NotFound} {
		if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service}); status.Code(err) != want {
			t.Errorf("%q: %v", service, err)
		}
	}
	for _, name := range []string{"/envoy.service.auth.v2.Authorization/Check", "/grpc.health.v1.Health/Made-up"} {
		if err := conn.Invoke(t.Context(), name, new(emptypb.Empty), new(emptypb.Empty)); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	watch, err := client.Watch(ctx, new(grpc_health_v1.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	const started = `
# HELP grpc_server_started_total Calls that reached a handler.
# TYPE grpc_server_started_total counter
grpc_server_started_total{grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 2
grpc_server_started_total{grpc_method="List",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 0
grpc_server_started_total{grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"} 1
grpc_server_started_total{grpc_method="other",grpc_service="other",grpc_type="other"} 2
`
	counts(t, m, "grpc_server_started_total", started)
	const handled = `
# HELP grpc_server_handled_total Calls that a handler ended, by the code that it gave.
# TYPE grpc_server_handled_total counter
grpc_server_handled_total{grpc_code="NotFound",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1
grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1
grpc_server_handled_total{grpc_code="OK",grpc_method="List",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 0
grpc_server_handled_total{grpc_code="OK",grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"} 0
grpc_server_handled_total{grpc_code="Unimplemented",grpc_method="other",grpc_service="other",grpc_type="other"} 2
`
	counts(t, m, "grpc_server_handled_total", handled)
	cancel()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	server.GracefulStop() // waits for the stream
	if err := <-done; err != nil {
		t.Error(err)
	}
	counts(t, m, "grpc_server_handled_total", handled+
		`grpc_server_handled_total{grpc_code="Canceled",grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"} 1`+"\n")
}

// kept is the registrar that keeps what was registered.
type kept struct{ desc *grpc.ServiceDesc }

func (k *kept) RegisterService(desc *grpc.ServiceDesc, _ any) { k.desc = desc }

// To count a call costs no allocation; a code that gRPC does not know is
// Unknown.
func TestCallsAreCheap(t *testing.T) {
	m := metrics.New(10, state{})
	var registered kept
	var fault error
	m.Registrar(&registered).RegisterService(&grpc.ServiceDesc{ServiceName: "s", Methods: []grpc.MethodDesc{{
		MethodName: "m",
		Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
			return nil, fault
		},
	}}}, nil)
	handle := registered.desc.Methods[0].Handler
	call := func() { _, _ = handle(nil, t.Context(), nil, nil) }
	if n := testing.AllocsPerRun(99, call); n != 0 {
		t.Errorf("%v allocations", n)
	}
	fault = status.Error(codes.Code(99), "made up")
	call()
	counts(t, m, "grpc_server_handled_total", `
# HELP grpc_server_handled_total Calls that a handler ended, by the code that it gave.
# TYPE grpc_server_handled_total counter
grpc_server_handled_total{grpc_code="OK",grpc_method="m",grpc_service="s",grpc_type="unary"} 100
grpc_server_handled_total{grpc_code="Unknown",grpc_method="m",grpc_service="s",grpc_type="unary"} 1
`)
}
