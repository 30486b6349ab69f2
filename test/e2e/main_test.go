// Package e2e tests the whole way of a request: a real Envoy in front of the real binary,
// with real issuers and a real application, all on loopback and on free ports.
package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
	"github.com/ussoio/ussoauthz/internal/dev/upstream"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// version is what the binary of the tests calls itself.
const version = "v0.0.0-e2e"

// binaries are made once for all tests.
var binaries struct{ ussoauthz, envoy string }

func TestMain(m *testing.M) {
	code, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the end-to-end tests:", err)
		code = 1
	}
	os.Exit(code)
}

func prepare(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "ussoauthz-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans its folder too
	binaries.envoy, err = envoybin.Find(context.Background(), filepath.Join(root(), ".cache"), os.Stderr)
	if err != nil {
		return 1, err
	}
	binaries.ussoauthz = filepath.Join(dir, "ussoauthz")
	if out, err := buildService(binaries.ussoauthz, version); err != nil {
		return 1, fmt.Errorf("building ussoauthz: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func buildService(binary, version string) ([]byte, error) {
	build := exec.Command("go", "build", "-ldflags", "-X github.com/ussoio/ussoauthz/internal/buildinfo.version="+version, "-o", binary, "./cmd/ussoauthz")
	build.Dir = root()
	return build.CombinedOutput()
}

func root() string { return filepath.Join("..", "..") }

func file(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root(), name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// world is the demo's tenants with issuers of the test, and the application.
type world struct {
	*stack.Stack
	issuers  map[string]*jwttest.Issuer
	servers  map[string]*jwttest.Server
	recorder *tour.Recorder
	client   *http.Client
	drains   bool // the service takes its time to end
}

// start starts the whole stack; change may edit the stack's configuration.
func start(t testing.TB, change ...func(*world, *stack.Config)) *world {
	t.Helper()
	w := &world{issuers: map[string]*jwttest.Issuer{}, servers: map[string]*jwttest.Server{}, recorder: &tour.Recorder{}}
	for _, tenant := range []string{"acme", "globex", "initech"} {
		issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso." + tenant + ".example"})
		if err != nil {
			t.Fatal(err)
		}
		server := jwttest.NewServer(issuer)
		t.Cleanup(server.Close)
		w.issuers[tenant], w.servers[tenant] = issuer, server
	}
	w.servers["initech"].SetDown(true)
	app := httptest.NewServer(w.recorder.Wrap(upstream.New(httpauth.FromHeaders(httpauth.DefaultHeaders()))))
	t.Cleanup(app.Close)
	cfg := stack.Config{
		Ussoauthz: binaries.ussoauthz, Envoy: binaries.envoy,
		File: file(t, "demo/ussoauthz.yaml"), Dir: t.TempDir(), Upstream: strings.TrimPrefix(app.URL, "http://"),
		Env: []string{"ACME_SSO=" + w.servers["acme"].URL(), "GLOBEX_SSO=" + w.servers["globex"].URL(), "INITECH_SSO=" + w.servers["initech"].URL()},
	}
	for _, f := range change {
		f(w, &cfg)
	}
	if !w.drains {
		cfg.Env = append(cfg.Env, "USSOAUTHZ_DRAIN=0s")
	}
	s, err := stack.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Stack = s
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	w.client = &http.Client{Transport: transport, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stopAndSearch(t, s)
		if t.Failed() {
			for _, name := range []string{"ussoauthz.log", "envoy.log"} {
				text, err := os.ReadFile(s.Log(name)) // the error is shown
				t.Logf("%s (%v):\n%s", name, err, text[max(0, len(text)-4<<10):])
			}
		}
	})
	return w
}

// token mints for a step.
func (w *world) token(t testing.TB, token *tour.Token) string {
	t.Helper()
	if token == nil {
		return ""
	}
	return w.mint(t, token.Tenant, token.Claims("https://sso."+token.Tenant+".example", "posts", time.Now()))
}

func (w *world) mint(t testing.TB, tenant string, claims map[string]any) string {
	t.Helper()
	text, err := w.issuers[tenant].Mint(claims, jwttest.WithAlgorithm(jwtverify.EdDSA))
	if err != nil {
		t.Fatal(err)
	}
	return minted.token(text)
}

// do sends step n and returns the answer with what the application saw.
func (w *world) do(t testing.TB, s tour.Step, n int) tour.Answer {
	t.Helper()
	req, err := s.Request(w.Edge, w.token(t, s.Token), n)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := tour.Do(w.client, req.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	answer.Seen = w.recorder.Take(n)
	return answer
}
