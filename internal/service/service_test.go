package service_test

import (
	"context"
	"encoding/json"
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
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse reads a configuration of one tenant, acme, with the keys of issuer.
func parse(t testing.TB, issuer *jwttest.Issuer, settings string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), issuer.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	text := settings + `
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, jwks_file: keys.json}
routes:
  - match: /
`
	if !strings.HasPrefix(settings, "listen: ") && !strings.Contains(settings, "\nlisten: ") { // admin has one too
		text = "listen: 127.0.0.1:0\n" + text
	}
	if !strings.Contains(settings, "admin:") {
		text = "admin: {listen: 127.0.0.1:0}\n" + text
	}
	if !strings.Contains(settings, "shutdown:") {
		text = "shutdown: {drain: 0s}\n" + text
	}
	cfg, err := config.Parse(filepath.Join(dir, "ussoauthz.yaml"), []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newIssuer(t testing.TB) *jwttest.Issuer {
	t.Helper()
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.example"})
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// running is a service under test.
type running struct {
	*service.Service
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, cfg *config.Config) *running {
	t.Helper()
	s, err := service.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

func run(t testing.TB, s *service.Service) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Service: s, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(func() { r.end(t) })
	return r
}

func (r *running) end(t testing.TB) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil // for a second call
}

func dial(t testing.TB, address net.Addr, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	target := "passthrough:///" + address.String()
	if address.Network() == "unix" {
		target = "unix://" + address.String()
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func check(t testing.TB, conn *grpc.ClientConn, token string) (string, error) {
	t.Helper()
	return checkHost(t, conn, "acme.example", token)
}

func checkHost(t testing.TB, conn *grpc.ClientConn, host, token string) (string, error) {
	t.Helper()
	response, err := respond(t, conn, host, token)
	return response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), err
}

func respond(t testing.TB, conn *grpc.ClientConn, host, token string) (*authv3.CheckResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	headers := map[string]string{}
	if token != "" {
		headers["authorization"] = "Bearer " + token
	}
	return authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: host, Path: "/", Headers: headers}},
	}})
}

func mint(t testing.TB, issuer *jwttest.Issuer, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"sub": "user:1", "aud": "app", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	token, err := issuer.Mint(all, jwttest.WithAlgorithm(jwtverify.EdDSA))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// healthOf waits for a status, since serving begins a moment after Run.
func healthOf(t testing.TB, conn *grpc.ClientConn, name string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	for {
		response, err := watch.Recv()
		if err != nil {
			t.Fatalf("%q is not %v: %v", name, want, err)
		}
		if response.GetStatus() == want {
			return
		}
	}
}

const serviceName = "envoy.service.auth.v3.Authorization"

func TestServes(t *testing.T) {
	issuer := newIssuer(t)
	s := start(t, parse(t, issuer, ""))
	conn := dial(t, s.Address(), insecure.NewCredentials())
	for _, name := range []string{"", serviceName} {
		healthOf(t, conn, name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "another"}); status.Code(err) != codes.NotFound {
		t.Errorf("another service: %v", err)
	}
	for token, want := range map[string]string{mint(t, issuer, nil): "allowed", "": "token_not_found", "a.b.c": "token_invalid"} {
		if got, err := check(t, conn, token); err != nil || got != want {
			t.Errorf("%q: %s %v, want %s", token, got, err, want)
		}
	}
	if err := conn.Invoke(t.Context(), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection: %v", err)
	}
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // it was read
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	defer server.Close()
	s := start(t, parse(t, issuer, `defaults: {leeway: 5s}`))
	admin := "http://" + s.AdminAddress().String()
	healthOf(t, dial(t, s.Address(), insecure.NewCredentials()), "", grpc_health_v1.HealthCheckResponse_SERVING)
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/nothing": 404, "/metrics": 200, "/debug/pprof/": 404} {
		if code, body := get(t, admin+path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	_, body := get(t, admin+"/readyz?verbose")
	var state struct {
		State          string
		PolicyRevision string `json:"policy_revision"`
		Tenants        []map[string]any
	}
	if err := json.Unmarshal([]byte(body), &state); err != nil {
		t.Fatal(err)
	}
	if state.State != "ready" || state.PolicyRevision == "" || len(state.Tenants) != 1 || state.Tenants[0]["id"] != "acme" {
		t.Errorf("%s", body)
	}
}

// Envoy is told before anything stops; what is under way ends well.
func TestDrain(t *testing.T) {
	issuer := newIssuer(t)
	s := start(t, parse(t, issuer, "shutdown: {drain: 2s, grace: 5s}"))
	conn := dial(t, s.Address(), insecure.NewCredentials())
	healthOf(t, conn, serviceName, grpc_health_v1.HealthCheckResponse_SERVING)
	s.stop()
	healthOf(t, conn, serviceName, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if code, _ := get(t, "http://"+s.AdminAddress().String()+"/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %d while draining", code)
	}
	if got, err := check(t, conn, mint(t, issuer, nil)); err != nil || got != "allowed" {
		t.Errorf("a check while draining: %s %v", got, err)
	}
	s.end(t)
	if _, err := net.Dial("tcp", s.Address().String()); err == nil {
		t.Error("it still listens")
	}
}

// A failed bind fails the start, and leaves nothing behind: TestMain looks for
// goroutines.
func TestTakenPorts(t *testing.T) {
	issuer := newIssuer(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }() // it was only held
	for _, settings := range []string{"listen: " + taken.Addr().String(), "admin: {listen: " + taken.Addr().String() + "}"} {
		_, err := service.New(t.Context(), parse(t, issuer, settings), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
			t.Errorf("%s: %v", settings, err)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	issuer := newIssuer(t)
	path := filepath.Join(t.TempDir(), "authz.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false) // as a killed process leaves it
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, issuer, "listen: unix://"+path)
	s := start(t, cfg)
	conn := dial(t, s.Address(), insecure.NewCredentials())
	healthOf(t, conn, "", grpc_health_v1.HealthCheckResponse_SERVING)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if _, err := service.New(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a second service on the same socket: %v", err)
	}
	s.end(t)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays behind: %v", err)
	}
	if err := os.WriteFile(path, []byte("a letter"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := service.New(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("on a file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "a letter" {
		t.Errorf("the file is gone: %v", err)
	}
}

// Without a file there is one tenant: nothing selects another, and every path
// needs a token that the issuer signed for us, whatever its tenant_id.
func TestOneTenantMode(t *testing.T) {
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	defer server.Close()
	env := map[string]string{
		"USSO_JWKS_URL": server.JWKSURL(), "USSO_ISSUER": "https://sso.example", "USSO_AUDIENCE": "app",
		"USSO_LISTEN": "127.0.0.1:0", "USSO_ADMIN_LISTEN": "127.0.0.1:0",
	}
	cfg, err := config.FromEnvironment(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	cfg.Shutdown.Drain = 0
	s := start(t, cfg)
	conn := dial(t, s.Address(), insecure.NewCredentials())
	healthOf(t, conn, "", grpc_health_v1.HealthCheckResponse_SERVING)
	good := mint(t, issuer, map[string]any{"tenant_id": "org_7"})
	for _, tt := range []struct {
		host, path, tenant, token, want string
	}{
		{"any.example", "/a/b", "", good, "allowed"},
		{"any.example", "/", "globex", good, "allowed"},
		{"any.example", "/", "NOT AN ID", good, "allowed"},
		{"any.example", "/", "", "", "token_not_found"},
		{"any.example", "/health", "", "", "token_not_found"},
		{"any.example", "/", "", mint(t, issuer, map[string]any{"aud": "other"}), "token_invalid"},
		{"a,b", "/", "", good, "invalid_request"},
	} {
		headers := map[string]string{}
		if tt.token != "" {
			headers["authorization"] = "Bearer " + tt.token
		}
		if tt.tenant != "" {
			headers["x-tenant-id"] = tt.tenant
		}
		response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: tt.host, Path: tt.path, Headers: headers}},
		}})
		if got := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); err != nil || got != tt.want {
			t.Errorf("%+v: %s %v", tt, got, err)
		}
		for _, h := range response.GetOkResponse().GetHeaders() {
			if h.GetHeader().GetKey() == "x-tenant-id" && h.GetHeader().GetValue() != "default" {
				t.Errorf("x-tenant-id %q", h.GetHeader().GetValue())
			}
		}
	}
}
