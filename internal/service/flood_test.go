//go:build !race

package service_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// floods are a caller's ways to send what was never seen before. Each names the
// only answers that it may get.
var floods = []struct {
	name    string
	reason  string
	or      string // of the first of them, which are looked for
	request func(i int, good string) *authv3.AttributeContext_HttpRequest
}{
	{"tokens", "token_invalid", "", func(i int, good string) *authv3.AttributeContext_HttpRequest {
		forged := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%064d", i)) // a signature's length
		return asked("flooded.example", "/", good[:strings.LastIndexByte(good, '.')+1]+forged)
	}},
	{"kids", "keys_unavailable", "token_invalid", func(i int, good string) *authv3.AttributeContext_HttpRequest {
		header := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"EdDSA","kid":"k%d"}`, i))
		_, rest, _ := strings.Cut(good, ".")
		return asked("flooded.example", "/", header+"."+rest)
	}},
	{"tenants", "invalid_tenant", "", func(i int, good string) *authv3.AttributeContext_HttpRequest {
		r := asked("flooded.example", "/", good)
		r.Headers["x-tenant-id"] = fmt.Sprint("t", i)
		return r
	}},
	{"hosts", "invalid_tenant", "", func(i int, good string) *authv3.AttributeContext_HttpRequest {
		return asked(fmt.Sprintf("h%d.example", i), "/", good)
	}},
	{"paths", "no_route", "", func(i int, good string) *authv3.AttributeContext_HttpRequest {
		return asked("flooded.example", fmt.Sprint("/path/", i), good)
	}},
}

// twoTenants is a service with a tenant that is flooded and one that is not.
func twoTenants(t *testing.T, issuer *jwttest.Issuer, server *jwttest.Server) *running {
	t.Helper()
	text := `
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
caches: {tokens: 8MiB, decisions: 8MiB}
defaults: {audience: app, issuer: "https://sso.example", jwks_url: "` + server.JWKSURL() + `"}
tenants:
  flooded: {hosts: [flooded.example]}
  calm: {hosts: [calm.example]}
routes:
  - match: "/{$}"
`
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "ussoauthz.yaml"), []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

// 100,000 requests that were never seen before, each of another token, kid,
// tenant, host or path, leave memory, goroutines, fetches and metrics as they
// were. The other tenant's checks take no longer than those of a service beside
// it that nobody floods: both share the processor with the flood, so that what
// differs is what the flood does to caches and locks.
func TestFloods(t *testing.T) {
	const size, callers = 100_000, 8
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	defer server.Close()
	flooded, calm := twoTenants(t, issuer, server), twoTenants(t, issuer, server)
	token := func(tenant string) string { return mint(t, issuer, map[string]any{"tenant_id": tenant}) }
	attack, own, hot := token("flooded"), dial(t, flooded.Address(), insecure.NewCredentials()), asked("calm.example", "/", token("calm"))
	conns := []*grpc.ClientConn{dial(t, calm.Address(), insecure.NewCredentials()), dial(t, flooded.Address(), insecure.NewCredentials())}
	for _, conn := range append(conns, own) {
		for _, request := range []*authv3.AttributeContext_HttpRequest{hot, asked("flooded.example", "/", attack)} {
			for limit := time.Now().Add(10 * time.Second); ; { // until the keys are there
				if got, err := sendCheck(conn, request); got == "allowed" {
					break
				} else if time.Now().After(limit) {
					t.Fatal(got, err)
				}
			}
		}
	}
	var next atomic.Int64
	flood := func(until int64) {
		var workers sync.WaitGroup
		for range callers {
			workers.Go(func() {
				for i := next.Add(1); i <= until; i = next.Add(1) {
					f := floods[i%int64(len(floods))]
					if got, err := sendCheck(own, f.request(int(i), attack)); err != nil || got != f.reason && got != f.or {
						t.Errorf("%s %d: %s %v", f.name, i, got, err)
						return
					}
				}
				next.Add(-1)
			})
		}
		workers.Wait()
	}
	flood(size / 10)
	memory, goroutines, fetches, begun := heap(), runtime.NumGoroutine(), server.Fetches(), time.Now()
	_, metrics := get(t, "http://"+flooded.AdminAddress().String()+"/metrics")

	done := make(chan struct{})
	go func() {
		defer close(done)
		flood(size)
	}()
	took := [2][]time.Duration{}
	for running := true; running; {
		for i, conn := range conns {
			start := time.Now()
			if got, err := sendCheck(conn, hot); err != nil || got != "allowed" {
				t.Errorf("the other tenant: %s %v", got, err)
			}
			took[i] = append(took[i], time.Since(start))
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	var median [2]time.Duration
	for i := range took {
		slices.Sort(took[i])
		median[i] = took[i][len(took[i])/2]
	}
	grown := int64(heap()) - int64(memory)
	_, after := get(t, "http://"+flooded.AdminAddress().String()+"/metrics")
	t.Logf("%d hot checks: median %v calm, %v flooded; %d KiB more of heap", len(took[0]), median[0], median[1], grown>>10)
	if float64(median[1]) > 1.5*float64(median[0]) {
		t.Errorf("the flood makes the other tenant wait: %v, calm %v", median[1], median[0])
	}
	if grown > 4<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	if n := runtime.NumGoroutine(); n > goroutines+20 {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	// Unknown kids may cause one in 30 seconds.
	if n, most := server.Fetches()-fetches, 2+int(time.Since(begun)/(30*time.Second)); n > most {
		t.Errorf("%d fetches of keys, want %d at most", n, most)
	}
	if a, b := strings.Count(after, "\n"), strings.Count(metrics, "\n"); a > b+20 {
		t.Errorf("%d lines of metrics, %d before", a, b)
	}
}
