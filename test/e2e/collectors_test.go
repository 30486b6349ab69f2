package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// The version that the command prints is the one that the metric tells.
func TestVersion(t *testing.T) {
	out, err := exec.Command(binaries.ussoauthz, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "ussoauthz "+version+" (") {
		t.Errorf("%v %s", err, out)
	}
	s := serviceAlone(t, tenantsFile(t, 1, "http://127.0.0.1:1", "http://127.0.0.1:1/jwks.json"))
	if page := metricsPage(t, s); !strings.Contains(page, `,version="`+version+`"} 1`) {
		t.Errorf("the metric ussoauthz_build_info does not say %s", version)
	}
}

// serviceAlone starts the service without an Envoy, with further variables.
func serviceAlone(t *testing.T, file string, env ...string) *stack.Stack {
	t.Helper()
	s, err := stack.StartService(t.Context(), stack.Config{Ussoauthz: binaries.ussoauthz, File: file, Dir: t.TempDir(), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s)
	return s
}

func metricsPage(t *testing.T, s *stack.Stack) string {
	t.Helper()
	response, err := http.Get(s.AuthzAdmin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // it is read
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// total adds up the series of a metric whose labels hold a text.
func total(page, name, labels string) (sum float64) {
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{([^}]*)\} (\S+)$`).FindAllStringSubmatch(page, -1) {
		if value, err := strconv.ParseFloat(m[2], 64); err == nil && strings.Contains(m[1], labels) {
			sum += value
		}
	}
	return sum
}

// Collectors, decision log services and Redises that nobody listens on, or that
// accept and never say a word, cost what they would have got: it is counted, and
// the log tells of it. The start does not wait for them for long, the end
// neither, and no check does at all.
func TestNobodyListens(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, at, protocol string }{
		{"refused, gRPC", refused, "grpc"},
		{"refused, HTTP", refused, "http/protobuf"},
		{"silent, gRPC", silent(t), "grpc"},
		{"silent, HTTP", silent(t), "http/protobuf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nobodyListens(t, c.at, c.protocol)
		})
	}
}

func nobodyListens(t *testing.T, at, protocol string) {
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://live.example"})
	if err != nil {
		t.Fatal(err)
	}
	server := jwttest.NewServer(issuer)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ussoauthz.yaml")
	text := fmt.Sprintf(`
listen: ${env:USSOAUTHZ_LISTEN}
admin: {listen: "${env:USSOAUTHZ_ADMIN}"}
shutdown: {drain: 0s}
decision_log: {service: {url: %q, delay: 10ms}, buffer: 64KiB}
revocation: {redis: {url: %q}}
tenants:
  live: {hosts: [live.example], issuer: "https://live.example", audience: posts, jwks_url: %q}
routes:
  - match: /
`, at, strings.Replace(at, "http://", "redis://", 1), server.JWKSURL())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s := serviceAlone(t, file, "OTEL_EXPORTER_OTLP_ENDPOINT="+at, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_EXPORTER_OTLP_INSECURE=true",
		"OTEL_BSP_MAX_QUEUE_SIZE=512", "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_BSP_EXPORT_TIMEOUT=3000")
	ready := time.Since(start)
	if ready > 15*time.Second {
		t.Errorf("ready after %v", ready)
	}
	slowest := allowAll(t, s.Authz, issuer, 1000)
	t.Logf("ready after %v, the slowest check took %v", ready.Round(time.Millisecond), slowest.Round(time.Millisecond))
	if slowest > 2*time.Second { // all that they are waited for takes longer
		t.Errorf("a check took %v", slowest)
	}
	page := metricsPage(t, s)
	for _, m := range []struct{ name, labels string }{
		{"ussoauthz_spans_dropped_total", ""},
		{"ussoauthz_decision_log_dropped_total", `writer="service"`},
	} {
		if total(page, m.name, m.labels) == 0 {
			t.Errorf("%s{%s} counts nothing", m.name, m.labels)
		}
	}
	if !strings.Contains(page, `ussoauthz_revocation_available{source="redis"} 0`) {
		t.Error("Redis counts as available")
	}
	for _, line := range []string{"spans are lost", "the decision log loses records", "revocations are unavailable"} {
		eventually(t, func() bool {
			log, err := os.ReadFile(s.Log("ussoauthz.log"))
			return err == nil && strings.Contains(string(log), line)
		})
	}
	stop := time.Now()
	if err := s.AuthzProcess().Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	if took := time.Since(stop); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

// allowAll sends checks that must be allowed, over 8 streams, and returns how
// long the slowest took.
func allowAll(t *testing.T, address string, issuer *jwttest.Issuer, each int) time.Duration {
	t.Helper()
	firstAllow(t, address, issuer, time.Now())
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // all answers were read
	token, err := issuer.Mint(map[string]any{"sub": "user:1", "aud": "posts", "tenant_id": "live", "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	check := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
		Method: http.MethodGet, Host: "live.example", Path: "/", Headers: map[string]string{
			"authorization": "Bearer " + token, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		},
	}}}}
	var workers sync.WaitGroup
	slowest := make(chan time.Duration, 8)
	for range cap(slowest) {
		workers.Go(func() {
			var longest time.Duration
			for range each {
				start := time.Now()
				response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), check)
				if err != nil || response.GetOkResponse() == nil {
					t.Errorf("%v %v", err, response)
					break
				}
				longest = max(longest, time.Since(start))
			}
			slowest <- longest
		})
	}
	workers.Wait()
	close(slowest)
	var longest time.Duration
	for d := range slowest {
		longest = max(longest, d)
	}
	return longest
}

// A standard error that nobody reads costs lines of the log, which are counted,
// and stalls no check and no end.
func TestNobodyReadsTheLog(t *testing.T) {
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://live.example"})
	if err != nil {
		t.Fatal(err)
	}
	server := jwttest.NewServer(issuer)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	socket, file := "unix://"+filepath.Join(dir, "s"), filepath.Join(dir, "ussoauthz.yaml")
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stack.Stack{AuthzAdmin: "http://" + admin.Addr().String()}
	text := fmt.Sprintf(`
listen: %q
admin: {listen: %q}
log: {level: debug} # a line for each allow
shutdown: {drain: 0s}
tenants:
  live: {hosts: [live.example], issuer: "https://live.example", audience: posts, jwks_url: %q}
routes:
  - match: /
`, socket, admin.Addr(), server.JWKSURL())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := admin.Close(); err != nil {
		t.Fatal(err)
	}
	log, stderr, err := os.Pipe() // after 64 KiB each write to it waits
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = log.Close(), stderr.Close() }()
	process, err := stack.StartProcess("ussoauthz", stderr, nil, binaries.ussoauthz, "serve", "-c", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	eventually(t, func() bool {
		response, err := http.Get(s.AuthzAdmin + "/readyz")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	if slowest := allowAll(t, socket, issuer, 2000); slowest > 2*time.Second {
		t.Errorf("a check took %v", slowest)
	}
	eventually(t, func() bool {
		return regexp.MustCompile(`(?m)^ussoauthz_log_dropped_total [1-9]`).MatchString(metricsPage(t, s))
	})
	stop := time.Now()
	if err := process.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	if took := time.Since(stop); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
}
