package envoycheck_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
)

func findEnvoy(t *testing.T) string {
	t.Helper()
	binary, err := envoybin.Find(t.Context(), "../../.cache", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// refusedByEnvoy are the broken files that Envoy does not start with; all others it
// takes without a word, which is why somebody else has to say it.
var refusedByEnvoy = []string{"transport_version"}

func TestEnvoyTakesTheBrokenFiles(t *testing.T) {
	binary := findEnvoy(t)
	tried := 0
	for _, b := range readBroken(t) {
		name := strings.TrimSuffix(filepath.Base(b.name), ".yaml")
		if !strings.Contains(b.text, "\nstatic_resources:") && !strings.HasPrefix(b.text, "static_resources:") || name == "yaml" {
			continue
		}
		tried++
		file := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), binary, "--mode", "validate", "--log-level", "error", "-c", file).CombinedOutput()
		if refused := slices.Contains(refusedByEnvoy, name); (err != nil) != refused {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if tried < 30 {
		t.Errorf("%d files", tried)
	}
}

// denier denies every check with 412, which Envoy has no reason of its own for.
type denier struct {
	authv3.UnimplementedAuthorizationServer
}

func (denier) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{Status: status.New(codes.PermissionDenied, "").Proto(), HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode_PreconditionFailed},
	}}}, nil
}

// TestBrokenFilesInEnvoy runs files that open or break in the real Envoy, before a
// service that denies everything.
func TestBrokenFilesInEnvoy(t *testing.T) {
	binary := findEnvoy(t)
	const alive, gone = true, false
	for _, tt := range []struct {
		file     string
		service  bool
		listener string
		path     string
		host     string
		status   int
		passes   bool // to the application
	}{
		{"good/edge", alive, "edge", "/", "a", 412, false},
		{"good/edge", gone, "edge", "/", "a", 503, false},
		{"good/rbac_of_everything", alive, "edge", "/", "api.acme.example:80", 412, false},
		{"broken/failure_mode_allow", gone, "edge", "/", "a", 200, true},
		{"broken/shadow_mode", alive, "edge", "/", "a", 200, true},
		{"broken/route_disables", alive, "edge", "/public/x", "a", 200, true},
		{"broken/route_disables", alive, "edge", "/assets/x", "a", 200, true},
		{"broken/route_disables", alive, "edge", "/", "a", 412, false},
		{"broken/host_disables", alive, "edge", "/", "a", 200, true},
		{"broken/filter_disabled", alive, "edge", "/", "a", 200, true},
		{"broken/no_filter", alive, "edge", "/", "a", 200, true},
		{"broken/unguarded", alive, "inside", "/", "a", 200, true},
		{"broken/unguarded", alive, "tunnel", "/", "a", 200, true},
		{"broken/rbac_of_a_host", alive, "edge", "/", "other.example", 200, true},
		{"broken/no_http2", alive, "edge", "/", "a", 503, false},
		{"broken/null_http2", alive, "edge", "/", "a", 503, false},
		{"broken/tls_to_plaintext", alive, "edge", "/", "a", 503, false},
		{"broken/http_service", alive, "edge", "/", "a", 415, false},
		{"broken/cluster_missing", alive, "edge", "/", "a", 503, false},
		{"broken/status_on_error", gone, "edge", "/", "a", 403, false},
	} {
		t.Run(tt.file+" "+tt.listener+tt.path, func(t *testing.T) {
			var hits atomic.Int32
			app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
			defer app.Close()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer()
			authv3.RegisterAuthorizationServer(server, denier{})
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			defer func() { server.Stop(); <-served }()
			if !tt.service {
				server.Stop()
			}
			text := "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n" + read(t, "testdata/"+tt.file+".yaml")
			for port, address := range map[string]string{"9191": listener.Addr().String(), "8080": strings.TrimPrefix(app.URL, "http://"), "10000": "127.0.0.1:0", "10001": "127.0.0.1:0", "10002": "127.0.0.1:0"} {
				text = strings.ReplaceAll(text, "port_value: "+port+"}", "port_value: "+address[strings.LastIndexByte(address, ':')+1:]+"}")
			}
			process, err := envoybin.Start(t.Context(), binary, []byte(text), io.Discard, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := process.Close(); err != nil {
					t.Error(err)
				}
			}()
			address, err := process.Listener(t.Context(), tt.listener)
			if err != nil {
				t.Fatal(err)
			}
			if got := get(t, "http://"+address+tt.path, tt.host); got != tt.status || (hits.Load() > 0) != tt.passes {
				t.Errorf("status %s, %d requests at the application, want %d and %t", strconv.Itoa(got), hits.Load(), tt.status, tt.passes)
			}
		})
	}
}

func get(t *testing.T, url, host string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
