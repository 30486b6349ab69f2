package envoy_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ussoio/ussoauthz/envoy"
	"github.com/ussoio/ussoauthz/internal/envoybin"
	"github.com/ussoio/ussoauthz/internal/upstream"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
)

// checks is a Check server that allows with given changes to the request, and
// remembers what it was asked.
type checks struct {
	authv3.UnimplementedAuthorizationServer
	mu    sync.Mutex
	allow *authv3.OkHttpResponse
	last  *authv3.AttributeContext
	times int           // asked since answer
	pause time.Duration // before each answer
}

func (c *checks) Check(ctx context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = req.GetAttributes()
	c.times++
	select {
	case <-time.After(c.pause):
	case <-ctx.Done():
	}
	return &authv3.CheckResponse{
		Status:       status.New(0, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: c.allow},
	}, nil
}

// answer changes what the next checks answer.
func (c *checks) answer(set, remove []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.times, c.pause = nil, 0, 0
	c.allow = &authv3.OkHttpResponse{HeadersToRemove: remove}
	for _, pair := range set {
		name, value, _ := strings.Cut(pair, ": ")
		c.allow.Headers = append(c.allow.Headers, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
}

// takes makes the next checks take that long.
func (c *checks) takes(pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pause = pause
}

func (c *checks) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

func (c *checks) asked() *authv3.AttributeContext {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// edge is the shipped configuration in a real Envoy.
type edge struct {
	url    string
	checks *checks
	stop   func() // ends the Check server
}

func newEdge(t *testing.T) *edge {
	t.Helper()
	binary, err := envoybin.Find(t.Context(), "../.cache", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(upstream.New(httpauth.FromHeaders(httpauth.DefaultHeaders())))
	t.Cleanup(app.Close)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{checks: &checks{}}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, e.checks)
	healthy := health.NewServer()
	healthy.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, healthy)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	e.stop = sync.OnceFunc(func() { server.Stop(); <-served })
	t.Cleanup(e.stop)

	config, err := envoy.Config(envoy.Ports{
		Edge: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Authz: listener.Addr().String(), Upstream: strings.TrimPrefix(app.URL, "http://"),
	})
	if err != nil {
		t.Fatal(err)
	}
	process, err := envoybin.Start(t.Context(), binary, config, io.Discard, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Close(); err != nil {
			t.Error(err)
		}
	})
	address, err := process.Listener(t.Context(), "edge")
	if err != nil {
		t.Fatal(err)
	}
	e.url = "http://" + address
	return e
}

// send sends a GET through Envoy and returns the status and what reached the
// application.
func (e *edge) send(t *testing.T, path, host string, headers ...string) (int, upstream.Echo) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("X-Echo", "1")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header[name] = append(req.Header[name], value) // the spelling as given
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got upstream.Echo
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, got
}

// TestEdge runs the file in a real Envoy, with a Check server that says what
// each case needs.
func TestEdge(t *testing.T) {
	e := newEdge(t)

	t.Run("identity headers are ours", func(t *testing.T) {
		e.checks.answer([]string{"x-user-id: user:1", "x-company-id: c1"}, []string{"x-roles", "x_roles", "x.roles", "x-company~id", "x-tenant-id", "authorization", "cookie", "x-envoy-auth-headers-to-remove"})
		status, got := e.send(t, "/", "a.example", "X-User-Id: admin", "X-Roles: admin", "X-Company-Id: evil", "X.Roles: admin", "X-Company~Id: evil",
			"X-Tenant-Id: acme", "Authorization: Bearer t", "Cookie: access_token=t", "X-Envoy-Auth-Failure-Mode-Allowed: true")
		if status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		for name, want := range map[string]string{"x-user-id": "user:1", "x-company-id": "c1"} {
			if !slices.Equal(got.Headers[name], []string{want}) {
				t.Errorf("%s: %q, want %q alone", name, got.Headers[name], want)
			}
		}
		for _, name := range []string{"x-roles", "x.roles", "x-company~id", "x-tenant-id", "authorization", "cookie", "x-envoy-auth-failure-mode-allowed"} {
			if values, there := got.Headers[name]; there {
				t.Errorf("%s: %q reached the application", name, values)
			}
		}
		sent := map[string]string{}
		for _, h := range e.checks.asked().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
			sent[h.GetKey()] += string(h.GetRawValue())
		}
		if sent["x-user-id"]+sent["x-roles"]+sent["x-company-id"] != "" || sent["x-tenant-id"] != "acme" || sent["authorization"] != "Bearer t" {
			t.Errorf("Check got %v: want raw headers, the selecting ones and no spoofed identity", sent)
		}
	})

	t.Run("the pinned host", func(t *testing.T) {
		for host, want := range map[string]string{"pinned.acme.localhost": "acme", "Pinned.Acme.localhost.:80": "acme", "other.localhost": ""} {
			e.checks.answer(nil, nil)
			status, _ := e.send(t, "/", host)
			if got := e.checks.asked().GetContextExtensions()["tenant"]; status != http.StatusOK || got != want {
				t.Errorf("%s: status %d, extension %q, want %q", host, status, got, want)
			}
		}
	})

	t.Run("mutations that are not listed", func(t *testing.T) {
		for _, set := range []string{"x-other: 1", ":path: /admin", "host: evil.example", "x-user-id: a\nb"} {
			e.checks.answer([]string{set}, nil)
			if status, _ := e.send(t, "/", "a.example"); status != http.StatusInternalServerError {
				t.Errorf("set %q: status %d, want 500", set, status)
			}
		}
		e.checks.answer(nil, []string{"x-other"})
		if status, _ := e.send(t, "/", "a.example", "X-Other: 1"); status != http.StatusInternalServerError {
			t.Errorf("remove x-other: status %d, want 500", status)
		}
	})

	t.Run("one spelling", func(t *testing.T) {
		for path, want := range map[string]string{"/a/../b": "/b", "//a//b": "/a/b", "/%61": "/a", "/a%2Fb": "", "/a%00b": ""} {
			e.checks.answer(nil, nil)
			status, got := e.send(t, path, "a.example")
			if want == "" {
				if status != http.StatusBadRequest || e.checks.asked() != nil {
					t.Errorf("%s: status %d, want 400 without a check", path, status)
				}
				continue
			}
			if checked := e.checks.asked().GetRequest().GetHttp().GetPath(); got.Target != want || checked != want {
				t.Errorf("%s: checked %s, reached %s, want %s", path, checked, got.Target, want)
			}
		}
		e.checks.answer(nil, nil)
		if status, _ := e.send(t, "/", "a.example", "x_user_id: admin"); status != http.StatusBadRequest {
			t.Errorf("x_user_id: status %d, want 400", status)
		}
	})

	// As one that waits for the keys of a kid that was never seen.
	t.Run("a check that takes its time", func(t *testing.T) {
		e.checks.answer(nil, nil)
		e.checks.takes(300 * time.Millisecond)
		status, _ := e.send(t, "/", "a.example")
		if times := e.checks.count(); status != http.StatusOK || times != 1 {
			t.Errorf("status %d after %d checks, want 200 after one", status, times)
		}
	})

	// The last one: nobody answers any more.
	t.Run("nobody to ask", func(t *testing.T) {
		e.checks.answer(nil, nil)
		e.stop()
		if status, _ := e.send(t, "/health", "a.example"); status != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", status)
		}
	})
}
