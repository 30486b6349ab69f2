package service_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ussoio/ussoauthz/internal/service"
)

// stand serves one bundle, with ETags.
type stand struct {
	*httptest.Server
	mu     sync.Mutex
	raw    []byte // nil: there is none
	etag   string
	served int
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *stand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.raw == nil:
		w.WriteHeader(http.StatusNotFound)
	case r.Header.Get("If-None-Match") == s.etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		s.served++
		w.Header().Set("ETag", s.etag)
		_, _ = w.Write(s.raw)
	}
}

// put offers a policy whose answers have the reason, or one that is broken.
func (s *stand) put(t *testing.T, reason string) {
	t.Helper()
	roots := []string{"usso/authz"}
	text := fmt.Sprintf("package usso.authz\n\ndecision := {\"allowed\": false, \"reason\": %q}\n", reason)
	switch reason {
	case "broken":
		text = "package usso.authz\n\nother := true\n"
	case "allowed":
		text = "package usso.authz\n\ndecision := true\n"
	}
	b := bundle.Bundle{
		Manifest: bundle.Manifest{Revision: reason, Roots: &roots}, Data: map[string]any{},
		Modules: []bundle.ModuleFile{{URL: "p.rego", Path: "p.rego", Raw: []byte(text), Parsed: ast.MustParseModule(text)}},
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).Write(b); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw, s.etag = out.Bytes(), reason
}

func (s *stand) downloads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served
}

// section is policy.bundles for the stand.
func (s *stand) section(rest string) string {
	return fmt.Sprintf("policy:\n  bundles:\n    services: {stand: {url: %q}}\n    bundles: {main: {service: stand, resource: main, polling: {min_delay_seconds: 0, max_delay_seconds: 1}}}\n%s", s.URL, rest)
}

type bundleStates struct {
	State    string
	Revision string `json:"policy_revision"`
	Bundles  []struct{ Name, Revision, Error string }
	Next     []struct{ Name, Revision, Error string } `json:"next_bundles"`
}

func (r *running) bundles(t *testing.T) (status int, state bundleStates) {
	t.Helper()
	status, text := get(t, "http://"+r.AdminAddress().String()+"/readyz?verbose")
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return status, state
}

func (r *running) told(t *testing.T, what string, ok func(bundleStates) bool) {
	t.Helper()
	eventually(t, func() bool { _, state := r.bundles(t); return ok(state) }, func() string {
		_, state := r.bundles(t)
		return fmt.Sprintf("never %s: %+v", what, state)
	})
}

// TestBundlesReload: the configuration changes around the bundles.
func TestBundlesReload(t *testing.T) {
	const routes = "routes: [{match: /}]\n"
	first, second := newStand(t), newStand(t)
	r := startReloading(t)
	r.configure(t, routes+first.section(""))
	r.told(t, "the trouble of the new bundles", func(s bundleStates) bool {
		return len(s.Bundles) == 0 && len(s.Next) == 1 && strings.Contains(s.Next[0].Error, "Not Found")
	})
	r.answers(t, "allowed") // by the policy from before
	first.put(t, "one")
	r.answers(t, "one")
	if _, s := r.bundles(t); len(s.Next) != 0 || s.Bundles[0].Revision != "one" || !strings.HasPrefix(s.Revision, "main@one,") {
		t.Errorf("/readyz tells %+v", s)
	}

	// What has nothing to do with bundles downloads nothing.
	generation := r.state(t).Generation
	r.configure(t, routes+"forward_token: false\n"+first.section(""))
	r.reloaded(t, func(s reloadState) bool { return s.Generation > generation })
	r.answers(t, "one")
	if n := first.downloads(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
	first.put(t, "broken")
	r.told(t, "the fault of the bundle", func(s bundleStates) bool { return strings.Contains(s.Bundles[0].Error, "no such rule") })
	r.answers(t, "one")

	// Others are made beside them; until they have something, the old go on.
	r.configure(t, routes+second.section(""))
	r.told(t, "the next bundles", func(s bundleStates) bool { return len(s.Next) == 1 })
	first.put(t, "two")
	r.answers(t, "two")
	second.put(t, "three")
	r.answers(t, "three")
	first.put(t, "never")

	r.configure(t, routes+second.section("    keyz: {}\n"))
	r.reloaded(t, func(s reloadState) bool { return strings.Contains(s.Error, "policy.bundles.keyz: unknown key") })
	second.put(t, "four")
	r.answers(t, "four")

	r.configure(t, routes)
	r.answers(t, "allowed")
	if _, s := r.bundles(t); len(s.Bundles)+len(s.Next) != 0 {
		t.Errorf("/readyz tells %+v", s)
	}
}

// TestBundlesRevert: a change that is taken back before it came into force.
func TestBundlesRevert(t *testing.T) {
	const routes = "routes: [{match: /}]\n"
	first, second := newStand(t), newStand(t)
	r := startReloading(t)
	first.put(t, "one")
	r.configure(t, routes+first.section(""))
	r.answers(t, "one")
	r.configure(t, routes+second.section(""))
	r.told(t, "the next bundles", func(s bundleStates) bool { return len(s.Next) == 1 })
	r.configure(t, routes+first.section(""))
	r.told(t, "the old bundles alone", func(s bundleStates) bool { return len(s.Next) == 0 })
	second.put(t, "two")
	first.put(t, "three")
	r.answers(t, "three")
}

// TestStartWithoutBundles: it listens, is not ready and denies, until the bundle
// arrives.
func TestStartWithoutBundles(t *testing.T) {
	stand := newStand(t)
	issuer := newIssuer(t)
	r := start(t, parse(t, issuer, stand.section("")))
	conn := dial(t, r.Address(), insecure.NewCredentials())
	healthOf(t, conn, "", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if status, state := r.bundles(t); status != http.StatusServiceUnavailable || state.State != "not ready" || state.Revision != "none" {
		t.Errorf("/readyz answers %d: %+v", status, state)
	}
	response, err := respond(t, conn, "acme.example", mint(t, issuer, nil))
	if err != nil {
		t.Fatal(err)
	}
	denied := response.GetDeniedResponse()
	if reason := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); reason != "policy_error" || denied.GetStatus().GetCode() != 503 || response.GetStatus().GetCode() == 0 {
		t.Errorf("a check is answered by %v", response)
	}
	stand.put(t, "arrived")
	healthOf(t, conn, "", grpc_health_v1.HealthCheckResponse_SERVING)
	healthOf(t, conn, serviceName, grpc_health_v1.HealthCheckResponse_SERVING)
	if got, err := check(t, conn, mint(t, issuer, nil)); got != "arrived" || err != nil {
		t.Errorf("a check is answered by %s %v", got, err)
	}
	if status, state := r.bundles(t); status != http.StatusOK || state.State != "ready" {
		t.Errorf("/readyz answers %d: %+v", status, state)
	}
}

// TestStartFromDisk: a service that has lost its network starts with what it
// kept.
func TestStartFromDisk(t *testing.T) {
	stand := newStand(t)
	stand.put(t, "kept")
	issuer := newIssuer(t)
	section := strings.Replace(stand.section(""), "resource: main,", "resource: main, persist: true,", 1) + fmt.Sprintf("    persistence_directory: %q\n", t.TempDir())
	for range 2 {
		r := start(t, parse(t, issuer, section))
		conn := dial(t, r.Address(), insecure.NewCredentials())
		healthOf(t, conn, "", grpc_health_v1.HealthCheckResponse_SERVING)
		if got, err := check(t, conn, mint(t, issuer, nil)); got != "kept" || err != nil {
			t.Errorf("a check is answered by %s %v", got, err)
		}
		r.end(t)
		stand.Close()
	}
}

// TestOpenWithBundles: tools wait for the bundles, and say what is wrong.
func TestOpenWithBundles(t *testing.T) {
	stand := newStand(t)
	stand.put(t, "opened")
	cfg := parse(t, newIssuer(t), stand.section(""))
	snapshot, err := service.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	if revision := snapshot.Policy.Revision(); !strings.HasPrefix(revision, "main@opened,") {
		t.Errorf("the revision is %q", revision)
	}
	stand.Close()
	if _, _, err := service.Validate(t.Context(), cfg); err != nil { // needs no network
		t.Error(err)
	}
}
