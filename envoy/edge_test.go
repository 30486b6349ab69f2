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
	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/dev/upstream"
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

// edge is the shipped configuration in a real Envoy, with edits: pairs of what
// stands in the file and what stands there instead.
type edge struct {
	url    string
	checks *checks
	stop   func() // ends the Check server
}

func newEdge(t *testing.T, edits ...string) *edge {
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
	text := string(config)
	for i := 0; i < len(edits); i += 2 {
		if strings.Count(text, edits[i]) != 1 {
			t.Fatalf("envoy.yaml has %q %d times", edits[i], strings.Count(text, edits[i]))
		}
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	process, err := envoybin.Start(t.Context(), binary, []byte(text), io.Discard, t.Output())
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
		for _, set := range []string{
			"other: 1", ":path: /admin", ":method: DELETE", "host: evil.example", "x-user-id: a\nb", "content-length: 1", "transfer-encoding: chunked", "te: trailers",
			"x-envoy-original-path: /admin", "x-envoy-upstream-rq-timeout-ms: 1", "X-Envoy-Retry-On: 5xx", "x-envoy-attempt-count: 1", "x_envoy.max~retries: 9",
			"x-original-url: /admin", "x-rewrite-url: /admin", "x-http-method-override: DELETE", "x-method-override: DELETE", "x-forwarded-for: 1", "X.Forwarded.Host: evil.example", "x-real-ip: 1", "x-request-id: 1",
		} {
			e.checks.answer([]string{set}, nil)
			if status, _ := e.send(t, "/", "a.example"); status != http.StatusInternalServerError {
				t.Errorf("set %q: status %d, want 500", set, status)
			}
		}
		for _, name := range []string{"other", "x-request-id", "x-forwarded-for"} {
			e.checks.answer(nil, []string{name})
			if status, _ := e.send(t, "/", "a.example", name+": 1"); status != http.StatusInternalServerError {
				t.Errorf("remove %s: status %d, want 500", name, status)
			}
		}
	})

	// As identity_headers.claims and policies name theirs.
	t.Run("headers of claims", func(t *testing.T) {
		e.checks.answer([]string{"x-email: a@example", "x-groups: a,b", "X-User-Name: Ann", "x-authenticated: 1", "x-realm: r", "x-hosting: h", "x-methodology: m"}, []string{"x.email", "x-plan", "x-envoy-auth-failure-mode-allowed"})
		status, got := e.send(t, "/", "a.example", "X-Email: evil@example", "X.Email: evil@example", "X-Plan: gold")
		if status != http.StatusOK || !slices.Equal(got.Headers["x-email"], []string{"a@example"}) || got.Headers["x-groups"] == nil || got.Headers["x-user-name"] == nil {
			t.Errorf("status %d, %v", status, got.Headers)
		}
		for _, name := range []string{"x.email", "x-plan"} {
			if values, there := got.Headers[name]; there {
				t.Errorf("%s: %q reached the application", name, values)
			}
		}
	})

	// A framework that serves what one of these says would serve something that
	// nobody checked.
	t.Run("headers that say another URL, method or host", func(t *testing.T) {
		e.checks.answer(nil, nil)
		rewriting := []string{
			"X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Http-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method", "X-Forwarded-Prefix",
			"X-Forwarded-Host", "X-Forwarded-Uri", "X-Envoy-Original-Path", "X-Host", "X-Original-Host", "X-HTTP-Host-Override", "X-Http-Destinationurl", "Forwarded", "X.Original.Url", "x-original~url",
		}
		var lines []string
		for _, name := range rewriting {
			lines = append(lines, name+": /admin")
		}
		status, got := e.send(t, "/", "a.example", append(lines, "X-Original-Title: a book", "X-Hosting: 1")...)
		for _, name := range rewriting {
			if values, there := got.Headers[strings.ToLower(name)]; there {
				t.Errorf("%s: %q reached the application", name, values)
			}
		}
		for _, name := range []string{"x-original-title", "x-hosting"} {
			if got.Headers[name] == nil {
				t.Errorf("status %d: %s is gone, which rewrites nothing", status, name)
			}
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

// What the file says about bodies. A partial message is held in the buffers that
// the listener and its HTTP/2 streams have.
func TestEdgeWithBodies(t *testing.T) {
	on := func(partial string, more ...string) []string {
		return append(more,
			"                      # with_request_body:\n", "                      with_request_body:\n",
			"                      #   max_request_bytes: 262144\n", "                        max_request_bytes: 262144\n",
			"                      #   allow_partial_message: false\n", "                        allow_partial_message: "+partial+"\n",
			"                      #   pack_as_bytes: true\n", "                        pack_as_bytes: true\n")
	}
	raised := []string{
		"      per_connection_buffer_limit_bytes: 32768\n      filter_chains:", "      per_connection_buffer_limit_bytes: 262144\n      filter_chains:",
		"initial_stream_window_size: 65536", "initial_stream_window_size: 262144",
	}
	const kib = 1 << 10
	for name, tt := range map[string]struct {
		edits []string
		seen  map[int]int // bytes sent, and those of the check; 0: Envoy answers 413
	}{
		"whole":                           {on("false"), map[int]int{20 * kib: 20 * kib, 128 * kib: 128 * kib, 250 * kib: 250 * kib, 300 * kib: 0}},
		"partial, the limits as they are": {on("true"), map[int]int{20 * kib: 20 * kib, 128 * kib: 0, 300 * kib: 0}},
		"partial, the limits raised":      {on("true", raised...), map[int]int{20 * kib: 20 * kib, 128 * kib: 128 * kib, 250 * kib: 250 * kib, 300 * kib: 256 * kib}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, tt.edits...)
			for size, want := range tt.seen {
				for _, http2 := range []bool{false, true} {
					e.checks.answer(nil, nil)
					status := put(t, e.url+"/", http2, size)
					got := len(e.checks.asked().GetRequest().GetHttp().GetRawBody())
					if got != want || (want == 0) != (status == http.StatusRequestEntityTooLarge) {
						t.Errorf("%d bytes, HTTP/2 %t: status %d, %d bytes in the check, want %d", size, http2, status, got, want)
					}
				}
			}
		})
	}
}

// put sends a body and returns the status.
func put(t *testing.T, url string, http2 bool, size int) int {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
