package service_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/internal/watch"
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
	log    *journal
	level  slog.LevelVar
}

// journal keeps the service's log but for its decisions, of which there are many
// and only the failed ones tell something.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("msg=decision")) && !bytes.Contains(p, []byte("level=ERROR")) {
		return len(p), nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// faults are the checks that the service itself failed.
func (j *journal) faults() string {
	var lines []string
	for line := range strings.Lines(j.String()) {
		if strings.Contains(line, "level=ERROR msg=decision") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// startReloading starts with a route for everything. The patience is a short
// one; where a reload is to come of itself, events must bring it, not polls.
func startReloading(t *testing.T) *reloading {
	t.Helper()
	return startPatient(t, watch.Config{Quiet: time.Millisecond, Poll: time.Hour})
}

func startPatient(t *testing.T, patience watch.Config) *reloading {
	t.Helper()
	r := &reloading{dir: t.TempDir(), issuer: newIssuer(t), log: &journal{}}
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
	s, err := service.NewPatient(t.Context(), cfg, slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: &r.level})), patience)
	if err != nil {
		t.Fatal(err)
	}
	s.FollowLog(&r.level, nil)
	r.running = run(t, s)
	r.conn = dial(t, r.Address(), insecure.NewCredentials())
	r.token = mint(t, r.issuer, nil)
	r.answers(t, "allowed")
	return r
}

// eventually polls for what a reload brings in its own time.
func eventually(t testing.TB, ok func() bool, what func() string) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatal(what())
		case <-tick.C:
		}
	}
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
	if err := os.MkdirAll(filepath.Dir(filepath.Join(r.dir, name)), 0o700); err != nil {
		t.Fatal(err)
	}
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
	r.answersHost(t, "acme.example", r.token, want)
}

func (r *reloading) answersHost(t *testing.T, host, token, want string) {
	t.Helper()
	var got string
	var err error
	eventually(t, func() bool {
		got, err = checkHost(t, r.conn, host, token)
		return err == nil && got == want
	}, func() string { return fmt.Sprintf("it still answers %s %v, not %s\n%s", got, err, want, r.log) })
}

type reloadState struct {
	Generation int
	Last       time.Time
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

// reloaded waits for a reload, good or bad.
func (r *reloading) reloaded(t *testing.T, done func(reloadState) bool) {
	t.Helper()
	eventually(t, func() bool { return done(r.state(t)) }, func() string { return fmt.Sprintf("no such reload: %+v", r.state(t)) })
}

func TestReload(t *testing.T) {
	r := startReloading(t)
	r.configure(t, "routes: [{match: /other}]")
	r.answers(t, "no_route")
	r.configure(t, "routes: [{match: /}]\npolicy: {entrypoint: own/decision, paths: [own.rego]}")
	r.reloaded(t, func(s reloadState) bool { return strings.Contains(s.Error, "own.rego") })
	r.answers(t, "no_route") // the file that it names is not there: nothing changed
	r.put(t, "own.rego", "package own\ndecision := {\"allowed\": false, \"reason\": \"mine\"}")
	r.Reload() // a file that no good configuration named is not watched: SIGHUP, or a poll
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
