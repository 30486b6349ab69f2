package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// tenantsFile writes a configuration of n tenants whose issuers are all at
// dead, and one more, "live", at a real one.
func tenantsFile(t *testing.T, n int, dead, live string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("listen: ${env:USSOAUTHZ_LISTEN}\nadmin: {listen: \"${env:USSOAUTHZ_ADMIN}\"}\nshutdown: {drain: 0s}\ndefaults: {audience: posts}\ntenants:\n")
	for i := range n {
		fmt.Fprintf(&b, "  t%d: {hosts: [t%d.example], issuer: \"https://t%d.example\", jwks_url: \"%s/t%d/jwks.json\"}\n", i, i, i, dead, i)
	}
	fmt.Fprintf(&b, "  live: {hosts: [live.example], issuer: \"https://live.example\", jwks_url: \"%s\"}\nroutes:\n  - match: /\n", live)
	path := filepath.Join(t.TempDir(), "ussoauthz.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// silent accepts connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // it ends the accepting below
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }() // at the end of the test
		}
	}()
	return "http://" + l.Addr().String()
}

// Ready in time, small, and open for the one tenant whose issuer lives, with
// however many dead ones beside it.
func TestStartAndSize(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		tenants int
		dead    string
		ready   time.Duration
		mib     int
	}{
		{"2 tenants", 1, refused, time.Second, 150},
		{"10,000 tenants, refused connections", 10_000, refused, 5 * time.Second, 150},
		{"10,000 tenants, silent issuers", 10_000, silent(t), 5 * time.Second, 150},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://live.example"})
			if err != nil {
				t.Fatal(err)
			}
			server := jwttest.NewServer(issuer)
			t.Cleanup(server.Close)
			file := tenantsFile(t, tt.tenants, tt.dead, server.JWKSURL())
			start := time.Now()
			s, err := stack.StartService(t.Context(), stack.Config{Ussoauthz: binaries.ussoauthz, File: file, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			stopAtEnd(t, s)
			ready := time.Since(start)
			served := firstAllow(t, s.Authz, issuer, start)
			size := settledSize(t, s.AuthzProcess().PID())
			t.Logf("ready after %v, the live tenant served after %v, resident %d MiB", ready.Round(time.Millisecond), served.Round(time.Millisecond), size)
			if ready > tt.ready {
				t.Errorf("ready after %v, want %v at most", ready, tt.ready)
			}
			if served > ready+2*time.Second {
				t.Errorf("the live tenant waited %v for its keys", served-ready)
			}
			if size > tt.mib {
				t.Errorf("%d MiB resident, want %d at most", size, tt.mib)
			}
		})
	}
}

// firstAllow asks for the live tenant until it is let in.
func firstAllow(t *testing.T, address string, issuer *jwttest.Issuer, start time.Time) time.Duration {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // the answer was read
	token, err := issuer.Mint(map[string]any{"sub": "user:1", "aud": "posts", "tenant_id": "live", "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	check := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
		Method: http.MethodGet, Host: "live.example", Path: "/", Headers: map[string]string{"authorization": "Bearer " + token},
	}}}}
	eventually(t, func() bool {
		response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), check)
		if err != nil {
			t.Fatal(err)
		}
		return response.GetOkResponse() != nil
	})
	return time.Since(start)
}

// settledSize is a process's resident size in MiB once it stopped growing.
func settledSize(t *testing.T, pid int) int {
	t.Helper()
	last, same := 0, 0
	eventually(t, func() bool {
		size := residentMiB(t, pid)
		if size > last {
			last, same = size, 0
		} else {
			same++
		}
		return same > 50
	})
	return last
}

func residentMiB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmRSS in %s", text)
	}
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// Compressed checks are refused by the transport: a small message that becomes
// a large one would pass the limit.
func TestCompressedChecks(t *testing.T) {
	s, err := stack.StartService(t.Context(), stack.Config{
		Ussoauthz: binaries.ussoauthz, File: tenantsFile(t, 1, "http://127.0.0.1:1", "http://127.0.0.1:1/jwks.json"), Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(s.Authz, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		stopAndSearch(t, s)
	})
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/", Headers: map[string]string{"authorization": "Bearer " + ownToken(t, "a secret of nobody's")}},
	}}}
	_, err = authv3.NewAuthorizationClient(conn).Check(t.Context(), request, grpc.UseCompressor(gzip.Name))
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}
