package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
	"github.com/ussoio/ussoauthz/internal/testkit/grpctest"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
)

// raw sends bytes as they are over a connection of their own and returns the
// answer. Go's client would refuse to send most of them.
func (w *world) raw(t testing.TB, request string) (int, string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(w.Edge, "http://"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // the answer was read
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// headersJoined has Envoy hand the headers on as a map, in which those of one
// name are joined, and not as they came.
func headersJoined(_ *world, c *stack.Config) {
	c.Edit = func(text []byte) []byte {
		return []byte(strings.Replace(string(text), "encode_raw_headers: true", "encode_raw_headers: false", 1))
	}
}

// inBothForms runs a test behind each form in which Envoy hands the headers on.
func inBothForms(t *testing.T, test func(t *testing.T, w *world, rawHeaders bool)) {
	t.Run("encode_raw_headers true", func(t *testing.T) { test(t, start(t), true) })
	t.Run("encode_raw_headers false", func(t *testing.T) { test(t, start(t, headersJoined), false) })
}

// attempt is what a client tries. reason "" is an answer of Envoy's own.
type attempt struct {
	name, line string // HTTP/1.1 where line names no other
	headers    []string
	status     int
	reason     string
}

// try sends the attempt, and fails the test where the answer is another.
func (w *world) try(t *testing.T, tt attempt) tour.Answer {
	t.Helper()
	line := tt.line
	if !strings.Contains(line, " HTTP/") {
		line += " HTTP/1.1"
	}
	status, body := w.raw(t, line+"\r\n"+strings.Join(append(tt.headers, tour.StepHeader+": 1"), "\r\n")+"\r\n\r\n")
	a := tour.Answer{Status: status, Body: body, Seen: w.recorder.Take(1)}
	reason := a.Reason()
	if reason == "envoy" {
		reason = ""
	}
	if status != tt.status || reason != tt.reason {
		t.Errorf("%d %q, want %d %q (%s)", status, reason, tt.status, tt.reason, body)
	}
	return a
}

// What a client can put on the wire, in both forms in which Envoy hands the
// headers to us.
func TestHostileClients(t *testing.T) {
	inBothForms(t, func(t *testing.T, w *world, _ bool) {
		token := w.token(t, alice)
		other := w.token(t, &tour.Token{Tenant: "acme", Subject: "user:bob"})
		auth := "Authorization: Bearer " + token
		for _, tt := range []attempt{
			{"a good request", "GET /me", []string{"Host: acme.example", auth}, 200, "allowed"},
			{"two Authorization lines", "GET /me", []string{"Host: acme.example", auth, "Authorization: Bearer " + other}, 401, "token_invalid"},
			{"the same line twice", "GET /me", []string{"Host: acme.example", auth, auth}, 401, "token_invalid"},
			{"header and another cookie", "GET /me", []string{"Host: acme.example", auth, "Cookie: access_token=" + other}, 400, "invalid_request"},
			{"two cookies of the name", "GET /me", []string{"Host: acme.example", "Cookie: access_token=" + token + "; access_token=" + other}, 400, "invalid_request"},
			{"two Host lines", "GET /me", []string{"Host: acme.example", "Host: globex.example", auth}, 400, "invalid_request"},
			{"an empty Host", "GET /me", []string{"Host: ", auth}, 400, "invalid_request"},
			{"a user part", "GET /me", []string{"Host: user@acme.example", auth}, 400, "invalid_request"},
			{"another spelling of the host", "GET /me", []string{"Host: ACME.Example.:443", auth}, 200, "allowed"},
			{"two X-Tenant-ID lines", "GET /me", []string{"Host: api.internal", "X-Tenant-ID: acme", "X-Tenant-ID: acme", auth}, 400, "invalid_tenant"},
			{"an empty X-Tenant-ID", "GET /me", []string{"Host: acme.example", "X-Tenant-ID:", auth}, 400, "invalid_tenant"},
			{"dot segments, resolved by Envoy", "GET /posts/../me", []string{"Host: acme.example", auth}, 200, "allowed"},
			{"path parameters on dots, resolved by Envoy", "GET /posts/..;x/me", []string{"Host: acme.example", auth}, 200, "allowed"},
			{"a cut escape", "GET /me%", []string{"Host: acme.example", auth}, 400, "invalid_request"},
			{"a double escape", "GET /posts%252f..", []string{"Host: acme.example", auth}, 400, "invalid_request"},
			{"an encoded slash", "GET /me%2f", []string{"Host: acme.example", auth}, 400, ""},
			{"NUL", "GET /me%00", []string{"Host: acme.example", auth}, 400, ""},
			{"an underscore header", "GET /me", []string{"Host: acme.example", auth, "X_User_Id: root"}, 400, ""},
			{"a byte above ASCII in the token", "GET /me", []string{"Host: acme.example", "Authorization: Bearer \xff" + token}, 401, "token_invalid"},
			{"an absolute form", "GET http://globex.example/me", []string{"Host: acme.example", auth}, 401, "token_invalid"},
			{"a nominated identity header", "GET /me", []string{"Host: acme.example", auth, "Connection: close, x-user-id"}, 200, "allowed"},
			{"a spoofed failure mode", "GET /me", []string{"Host: acme.example", "X-Envoy-Auth-Failure-Mode-Allowed: true"}, 401, "token_not_found"},
			{"TRACE with a token", "TRACE /me", []string{"Host: acme.example", auth}, 400, "invalid_request"},
			{"CONNECT", "CONNECT acme.example:443", []string{"Host: acme.example"}, 404, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				a := w.try(t, tt)
				if got := a.Seen.Get("X-User-Id"); a.Seen != nil && got != "user:alice" {
					t.Errorf("the application took %q for the user", got)
				}
			})
		}
	})
}

// Over HTTP/2 Envoy lets methods through that HTTP/1 has not.
func TestHTTP2(t *testing.T) {
	w := start(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	w.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for method, want := range map[string]string{"GET": "allowed", "get": "invalid_request", "FOO": "no_route"} {
		if a := w.do(t, tour.Step{Method: method, Host: "acme.example", Path: "/me", Token: alice}, 1); a.Reason() != want {
			t.Errorf("%s: %d %s", method, a.Status, a.Body)
		}
	}
}

// The story is the same where Envoy joins header lines.
func TestTourWithJoinedHeaders(t *testing.T) {
	w := start(t, headersJoined)
	for n, step := range tour.Steps() {
		if err := step.Check(w.do(t, step, n+1)); err != nil {
			t.Errorf("%s: %v", step.Title, err)
		}
	}
}

// A fault of ours is a denial with a body, even if Envoy is told to let
// requests through when the authorization service fails.
func TestInternalIsNeverOpened(t *testing.T) {
	server := grpc.NewServer(extauthz.ServerOptions()...)
	extauthz.NewServer(extauthz.ServerConfig{}).Register(server) // nothing is loaded: it can't decide
	state := health.NewServer()
	state.SetServingStatus("envoy.service.auth.v3.Authorization", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, state)
	conn := grpctest.Serve(t, server)
	w := start(t, func(_ *world, c *stack.Config) {
		c.Authz = conn.Target()
		c.Edit = func(text []byte) []byte {
			return []byte(strings.Replace(string(text), "failure_mode_allow: false", "failure_mode_allow: true", 1))
		}
	})
	a := w.do(t, tour.Step{Host: "acme.example", Path: "/me", Token: alice}, 1)
	if a.Status != http.StatusInternalServerError || a.Reason() != "internal" || a.Seen != nil {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
