package service_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// reloading is a service of a configuration file that a test rewrites.
type reloading struct {
	*running
	conn   *grpc.ClientConn
	dir    string
	issuer *jwttest.Issuer
	server *jwttest.Server
	token  string
}

func startReloading(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{dir: t.TempDir(), issuer: newIssuer(t)}
	r.server = jwttest.NewServer(r.issuer)
	t.Cleanup(func() {
		r.server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	r.configure(t, "routes: [{match: /}]")
	cfg, err := config.Load(filepath.Join(r.dir, "ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r.running = start(t, cfg)
	r.conn = dial(t, r.Address(), insecure.NewCredentials())
	r.token = mint(t, r.issuer, nil)
	r.answers(t, "allowed")
	return r
}

// configure writes the file as a deployment does: beside it, and then over it.
func (r *reloading) configure(t *testing.T, rest string) {
	t.Helper()
	r.put(t, "ussoauthz.yaml", `listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, jwks_url: "`+r.server.JWKSURL()+`"}
`+rest+"\n")
}

func (r *reloading) put(t *testing.T, name, text string) {
	t.Helper()
	beside := filepath.Join(r.dir, ".new")
	if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, filepath.Join(r.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// answers waits until a check is answered as it should be.
func (r *reloading) answers(t *testing.T, want string) {
	t.Helper()
	var got string
	var err error
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); runtime.Gosched() {
		if got, err = check(t, r.conn, r.token); err == nil && got == want {
			return
		}
	}
	t.Fatalf("it still answers %s %v, not %s", got, err, want)
}

type reloadState struct {
	Generation int
	Error      string
}

func (r *reloading) state(t *testing.T) reloadState {
	t.Helper()
	_, body := get(t, "http://"+r.AdminAddress().String()+"/readyz?verbose")
	var state struct{ Reload reloadState }
	if err := json.Unmarshal([]byte(body), &state); err != nil {
		t.Fatal(err)
	}
	return state.Reload
}

// reloaded waits for the next reload, good or bad.
func (r *reloading) reloaded(t *testing.T, done func(reloadState) bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); runtime.Gosched() {
		if done(r.state(t)) {
			return
		}
	}
	t.Fatalf("no such reload: %+v", r.state(t))
}

func TestReload(t *testing.T) {
	r := startReloading(t)
	r.configure(t, "routes: [{match: /other}]")
	r.answers(t, "no_route")
	r.configure(t, "routes: [{match: /}]\npolicy: {entrypoint: own/decision, paths: [own.rego]}")
	r.reloaded(t, func(s reloadState) bool { return strings.Contains(s.Error, "own.rego") })
	r.answers(t, "no_route") // the file that it names is not there: nothing changed
	r.put(t, "own.rego", "package own\ndecision := {\"allowed\": false, \"reason\": \"mine\"}")
	r.Reload() // a missing file is not watched: a fault names it, and SIGHUP asks again
	r.answers(t, "mine")
	r.put(t, "own.rego", "package own\ndecision := true")
	r.answers(t, "allowed")
	if n := r.server.Fetches(); n != 1 {
		t.Errorf("the keys were fetched %d times, though their source never changed", n)
	}
}

// What is broken changes nothing, and is told.
func TestBrokenReload(t *testing.T) {
	r := startReloading(t)
	for text, want := range map[string]string{
		"routes: [{match: }]":                            "routes[0].match",
		"routes: [{mach: /}]":                            "routes[0].mach",
		"routes: [{match: /}]\npolicy: {paths: [x]}":     "policy.paths[0]",
		"routes: [{match: /}]\ntls: {cert_file: x}":      "tls",
		"routes: [{match: '/a/{x}'}, {match: '/{y}/b'}]": "conflicts",
		"routes: [{match: /}]\nadmin: {listen: x:y:z":    "did not find",
	} {
		before := r.state(t).Generation
		r.configure(t, text)
		r.reloaded(t, func(s reloadState) bool { return strings.Contains(s.Error, want) })
		if s := r.state(t); s.Generation != before {
			t.Errorf("%s: generation %d, was %d", text, s.Generation, before)
		}
		r.answers(t, "allowed")
	}
	r.configure(t, "routes: [{match: /other}]")
	r.answers(t, "no_route")
	if s := r.state(t); s.Error != "" {
		t.Errorf("the fault stays: %s", s.Error)
	}
}

// No check sees half of a change, whatever is written meanwhile.
func TestReloadUnderLoad(t *testing.T) {
	r := startReloading(t)
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				if got, err := check(t, r.conn, r.token); err != nil || got != "allowed" && got != "no_route" {
					t.Errorf("%s %v", got, err)
					return
				}
			}
		})
	}
	for i := range 40 {
		r.configure(t, []string{"routes: [{match: /}]", "routes: [{mach: /}]", "routes: [{match: /other}]", "routes: {"}[i%4])
		r.Reload()
	}
	r.configure(t, "routes: [{match: /}]")
	r.Reload()
	r.answers(t, "allowed")
	stop()
	workers.Wait()
	if n := r.server.Fetches(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

// The environment can't change under a process.
func TestReloadWithoutAFile(t *testing.T) {
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
	s.Reload()
	if got, err := check(t, dial(t, s.Address(), insecure.NewCredentials()), ""); err != nil || got != "invalid_tenant" && got != "token_not_found" {
		t.Errorf("%s %v", got, err)
	}
}
