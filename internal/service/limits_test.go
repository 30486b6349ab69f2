package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// asSent sends bytes as they are.
type asSent struct{ encoding.CodecV2 }

func (c asSent) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Bytes that are no check are answered with a denial: an error would hand the
// decision to Envoy's failure_mode_allow.
func TestBytesThatAreNoCheck(t *testing.T) {
	s := start(t, parse(t, newIssuer(t), ""))
	conn := dial(t, s.Address(), insecure.NewCredentials())
	good, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "acme.example", Path: "/", Headers: map[string]string{"x-a": "v"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		message    []byte
	}{
		{"a whole check", "token_not_found", good},
		{"nothing", "invalid_request", nil},
		{"noise", "invalid_request", bytes.Repeat([]byte{0xff}, 64)},
		{"text", "invalid_request", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"half a check", "invalid_request", good[:len(good)/2]},
		{"a header that is not UTF-8", "invalid_request", bytes.Replace(good, []byte("v"), []byte{0xff}, 1)},
		{"a length beyond the end", "invalid_request", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		{"an unknown field and no check", "invalid_request", []byte{0xf8, 0x07, 0x01}},
	} {
		var response authv3.CheckResponse
		err := conn.Invoke(t.Context(), "/"+serviceName+"/Check", tt.message, &response, grpc.ForceCodecV2(asSent{encoding.GetCodecV2("proto")}))
		if got := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); err != nil || got != tt.want {
			t.Errorf("%s: %q %v: want %s", tt.name, got, err, tt.want)
		}
		if response.GetStatus().GetCode() == int32(codes.OK) || response.GetOkResponse() != nil {
			t.Errorf("%s: allowed", tt.name)
		}
	}
}

// What the transport refuses, before anything of it is read.
func TestTransportRefusals(t *testing.T) {
	s := start(t, parse(t, newIssuer(t), "limits: {max_request_bytes: 64KiB}"))
	conn := dial(t, s.Address(), insecure.NewCredentials())
	ask := func(size int) error {
		_, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "POST", Host: "acme.example", Path: "/", Body: strings.Repeat("x", size)},
		}}})
		return err
	}
	for _, tt := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"a message within the limit", ask(63 << 10), codes.OK},
		{"one beyond it", ask(64 << 10), codes.ResourceExhausted},
		{"one far beyond it", ask(8 << 20), codes.ResourceExhausted},
		{"another method", conn.Invoke(t.Context(), "/"+serviceName+"/Allow", &authv3.CheckRequest{}, &authv3.CheckResponse{}), codes.Unimplemented},
		{"the connection serves on", ask(1), codes.OK},
	} {
		if status.Code(tt.err) != tt.want {
			t.Errorf("%s: %v: want %v", tt.name, tt.err, tt.want)
		}
	}
}

func TestHealthBeforeRun(t *testing.T) {
	s, err := service.New(t.Context(), parse(t, newIssuer(t), ""), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"", serviceName} {
		if got, err := s.Health(t.Context(), name); err != nil || got != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("%q: %v %v", name, got, err)
		}
	}
}

// A start that fails half way closes what it had opened.
func TestAFailedStartLeavesNoListener(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }() // it was only held
	socket := filepath.Join(t.TempDir(), "authz.sock")
	cfg := parse(t, newIssuer(t), "listen: unix://"+socket+"\nadmin: {listen: "+taken.Addr().String()+"}")
	if s, err := service.New(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || s != nil {
		t.Fatalf("%v %v", s, err)
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the gRPC socket is still there: %v", err)
	}
}

// A caller that only connects can't make the service hold any number of
// connections.
func TestConnectionsAreBounded(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := service.Bounded(tcp, 2, slog.New(slog.DiscardHandler))
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	connect := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // a second time for some
		return conn
	}
	connect()
	first := <-accepted
	connect()
	second := <-accepted
	refused := connect()
	if err := refused.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := refused.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the third connection: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	connect()
	third := <-accepted // in the first one's place
	for _, conn := range []net.Conn{second, third} {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-accepted
}

func TestAdminMethodsAndPaths(t *testing.T) {
	s := start(t, parse(t, newIssuer(t), ""))
	defer http.DefaultClient.CloseIdleConnections()
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/livez", 200},
		{"HEAD", "/livez", 200},
		{"POST", "/livez", 405},
		{"POST", "/readyz", 405},
		{"DELETE", "/readyz", 405},
		{"GET", "/", 404},
		{"GET", "/livez/", 404},
		{"GET", "/readyz/verbose", 404},
	} {
		request, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+s.AdminAddress().String()+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Error(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if response.StatusCode != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, response.StatusCode, tt.want)
		}
	}
}

func TestAdminSwitchedOff(t *testing.T) {
	issuer := newIssuer(t)
	s := start(t, parse(t, issuer, `admin: {listen: ""}`))
	if s.AdminAddress() != nil {
		t.Errorf("it listens on %v", s.AdminAddress())
	}
	if got, err := check(t, dial(t, s.Address(), insecure.NewCredentials()), mint(t, issuer, nil)); err != nil || got != "allowed" {
		t.Errorf("%s %v", got, err)
	}
}

// The keys' state is shown, and nothing that opens a door: no key, and no
// part of a URL that may be a secret.
func TestVerboseShowsKeysAndNoSecret(t *testing.T) {
	issuer := newIssuer(t)
	good, bad := jwttest.NewServer(issuer), jwttest.NewServer(issuer)
	defer good.Close()
	defer bad.Close()
	bad.SetDown(true)
	const secret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
	text := `
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
defaults: {audience: app}
tenants:
  good: {hosts: [good.example], issuer: "https://good.example", jwks_url: "` + good.JWKSURL() + `"}
  bad: {hosts: [bad.example], issuer: "https://bad.example", jwks_url: "` + bad.JWKSURL() + `?key=` + secret + `"}
  own: {hosts: [own.example], issuer: "https://own.example", key: "` + secret + `", type: HS256}
routes:
  - match: /
`
	path := filepath.Join(t.TempDir(), "ussoauthz.yaml")
	cfg, err := config.Parse(path, []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, cfg)
	type tenant struct {
		ID, Source, Error string
		Keys              int
		Fetched           *time.Time
	}
	var state struct{ Tenants []tenant }
	body := ""
	for limit := time.Now().Add(20 * time.Second); ; {
		_, body = get(t, "http://"+s.AdminAddress().String()+"/readyz?verbose")
		if err := json.Unmarshal([]byte(body), &state); err != nil {
			t.Fatal(err)
		}
		if len(state.Tenants) == 3 && state.Tenants[0].Error != "" && state.Tenants[1].Keys > 0 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("never settled: %s", body)
		}
	}
	bad0, good0, own := state.Tenants[0], state.Tenants[1], state.Tenants[2]
	if bad0.ID != "bad" || bad0.Source != "remote" || bad0.Keys != 0 || bad0.Fetched != nil {
		t.Errorf("bad: %+v", bad0)
	}
	if good0.ID != "good" || good0.Source != "remote" || good0.Error != "" || good0.Fetched == nil {
		t.Errorf("good: %+v", good0)
	}
	if own.ID != "own" || own.Source != "static" || own.Error != "" {
		t.Errorf("own: %+v", own)
	}
	if strings.Contains(body, secret) {
		t.Errorf("a secret: %s", body)
	}
}

// A watch of the health does not hold the end up: Envoy's and Kubernetes'
// probes may keep one open.
func TestAHealthWatchDoesNotOutliveTheGrace(t *testing.T) {
	s := start(t, parse(t, newIssuer(t), "shutdown: {drain: 0s, grace: 300ms}"))
	watch, err := grpc_health_v1.NewHealthClient(dial(t, s.Address(), insecure.NewCredentials())).Watch(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	s.end(t)
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("the end took %v", d)
	}
	for err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
}
