package service_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/internal/watch"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// Tenants come and go; those that stay keep their keys.
func TestReloadTenants(t *testing.T) {
	r := startReloading(t)
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.globex.example"})
	if err != nil {
		t.Fatal(err)
	}
	server := jwttest.NewServer(issuer)
	t.Cleanup(server.Close)
	token := mint(t, issuer, nil)
	globex := `  globex: {hosts: [globex.example], issuer: "https://sso.globex.example", audience: app, jwks_url: "` + server.JWKSURL() + `"}` + "\n"

	r.answersHost(t, "globex.example", token, "invalid_tenant")
	for round := 1; round <= 2; round++ {
		r.configure(t, globex+"routes: [{match: /}]")
		r.answersHost(t, "globex.example", token, "allowed")
		r.answersHost(t, "globex.example", r.token, "token_invalid")
		r.answers(t, "allowed")
		if n := server.Fetches(); n != round {
			t.Errorf("globex's keys were fetched %d times, want once each time that it came", n)
		}
		r.configure(t, "routes: [{match: /}]")
		r.answersHost(t, "globex.example", token, "invalid_tenant")
	}
	if n := r.server.Fetches(); n != 1 {
		t.Errorf("acme's keys were fetched %d times, though nothing about it changed", n)
	}
}

// A policy on disk: new rules and data are taken, a broken one and a missing
// one are not.
func TestReloadPolicy(t *testing.T) {
	r := startReloading(t)
	own := func(text string) {
		t.Helper()
		r.put(t, "policies/own.rego", "package own\n"+text)
	}
	if err := os.Mkdir(filepath.Join(r.dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	own(`decision := {"allowed": false, "reason": data.why}`)
	r.put(t, "policies/data.json", `{"why": "first"}`)
	r.configure(t, "routes: [{match: /}]\npolicy: {entrypoint: own/decision, paths: [policies]}")
	r.answers(t, "first")
	r.put(t, "policies/data.json", `{"why": "second"}`)
	r.answers(t, "second")

	for text, want := range map[string]string{
		"decision := {": "own.rego:2",
		"decision := data.usso.no_such_function(1)": "no_such_function",
		"other := true": `entrypoint "own/decision"`,
	} {
		own(text)
		r.reloaded(t, func(s reloadState) bool { return strings.Contains(s.Error, want) })
		r.answers(t, "second")
		eventually(t, func() bool { return strings.Contains(r.log.String(), "the reload failed: what was in force stays") },
			func() string { return "the fault is not in the log\n" + r.log.String() })
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "policies")); err != nil {
		t.Fatal(err)
	}
	r.reloaded(t, func(s reloadState) bool { return strings.Contains(s.Error, "policy.paths[0]") })
	r.answers(t, "second")
	if err := os.Mkdir(filepath.Join(r.dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	own(`decision := {"allowed": false, "reason": "back"}`)
	r.answers(t, "back")
	r.reloaded(t, func(s reloadState) bool { return s.Error == "" }) // it is set after the snapshot
}

// The descriptor set is watched: a new method is read, a broken set changes nothing.
func TestReloadDescriptors(t *testing.T) {
	r := startReloading(t)
	put := func(proto string) {
		t.Helper()
		raw, err := os.ReadFile(prototest.Write(t, prototest.Set(prototest.Compile(t, proto))))
		if err != nil {
			t.Fatal(err)
		}
		r.put(t, "api/set.pb", string(raw))
	}
	const first = `syntax = "proto3"; package p; service S { rpc First(M) returns (M); } message M {}`
	if err := os.Mkdir(filepath.Join(r.dir, "api"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(first)
	r.configure(t, "routes: [{match: /}]\npolicy: {proto_descriptor: api/set.pb}")
	r.answers(t, "allowed")
	before := r.state(t).Generation
	put(strings.Replace(first, "First", "Second", 1))
	r.reloaded(t, func(s reloadState) bool { return s.Generation > before && s.Error == "" })
	r.put(t, "api/set.pb", "syntax")
	r.reloaded(t, func(s reloadState) bool {
		return strings.Contains(s.Error, "policy.proto_descriptor: ") && strings.Contains(s.Error, "is no descriptor set")
	})
	r.answers(t, "allowed")
}

// What a broken configuration waits for may be nothing that is watched: it is
// tried again, and the same fault is told once.
func TestReloadIsTriedAgain(t *testing.T) {
	r := startPatient(t, watch.Config{Quiet: time.Millisecond, Poll: 20 * time.Millisecond})
	r.configure(t, "routes: [{match: /}]\npolicy: {entrypoint: own/decision, paths: [elsewhere/own.rego]}")
	var last time.Time
	for range 3 { // three tries
		before := last
		r.reloaded(t, func(s reloadState) bool {
			last = s.Last
			return strings.Contains(s.Error, "policy.paths[0]") && s.Last.After(before)
		})
	}
	if n := strings.Count(r.log.String(), "the reload failed"); n != 1 {
		t.Errorf("the fault was told %d times", n)
	}
	r.put(t, "elsewhere/own.rego", `package own
decision := {"allowed": false, "reason": "mine"}`)
	r.answers(t, "mine")
}

// A tenant's key file is watched: a key that leaves it verifies nothing more.
func TestReloadKeyFile(t *testing.T) {
	r := startReloading(t)
	r.put(t, "keys.json", string(r.issuer.JWKS()))
	settings := func(tenant string) string {
		return `  files: {hosts: [files.example], issuer: "https://sso.example", audience: app, jwks_file: ` + tenant + "}\nroutes: [{match: /}]"
	}
	token := mint(t, r.issuer, map[string]any{"tenant_id": "files"})
	r.configure(t, settings("keys.json"))
	r.answersHost(t, "files.example", token, "allowed")
	if err := r.issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	r.put(t, "keys.json", string(r.issuer.JWKS()))
	r.answersHost(t, "files.example", token, "token_invalid")
	r.answersHost(t, "files.example", mint(t, r.issuer, map[string]any{"tenant_id": "files"}), "allowed")
	r.put(t, "keys.json", `{"keys": []}`)
	r.reloaded(t, func(s reloadState) bool { return strings.Contains(s.Error, "tenants.files.jwks_file") })
	r.answersHost(t, "files.example", mint(t, r.issuer, map[string]any{"tenant_id": "files"}), "allowed")
}

// What a running process can't change is told; the rest is taken.
func TestReloadOfWhatIsFixed(t *testing.T) {
	r := startReloading(t)
	before := r.Address().String()
	r.put(t, "ussoauthz.yaml", `listen: 127.0.0.1:1
admin: {listen: 127.0.0.1:0}
limits: {max_in_flight: 7}
log: {level: error, format: text}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, jwks_url: "`+r.server.JWKSURL()+`"}
routes: [{match: /other}]
`)
	r.answers(t, "no_route")
	r.reloaded(t, func(s reloadState) bool { return s.Generation == 2 })
	if got := r.Address().String(); got != before {
		t.Errorf("it listens on %s, was %s", got, before)
	}
	if r.level.Level().String() != "ERROR" {
		t.Errorf("log.level is not followed: %v", r.level.Level())
	}
	r.configure(t, "listen: x") // doubled: a fault, for the log's sake
	r.reloaded(t, func(s reloadState) bool { return s.Error != "" })
	r.configure(t, "limits: {max_in_flight: 8}\nroutes: [{match: /other}]")
	r.reloaded(t, func(s reloadState) bool { return s.Generation == 3 })
	eventually(t, func() bool { return strings.Contains(r.log.String(), `msg="a change needs a restart" key=limits`) }, r.log.String)
	if log := r.log.String(); !strings.Contains(log, "level=ERROR msg=\"the reload failed") || strings.Contains(log, "key=log.level") {
		t.Errorf("log:\n%s", log)
	}
}

// A ConfigMap holds configuration and policy, and is swapped as a whole.
func TestReloadOfAKubernetesMount(t *testing.T) {
	r := startReloading(t)
	text, err := os.ReadFile(filepath.Join(r.dir, "ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	version := func(name, reason string) {
		t.Helper()
		r.put(t, name+"/ussoauthz.yaml", strings.Replace(string(text), "routes:", "policy: {entrypoint: own/decision, paths: [sub]}\nroutes:", 1))
		r.put(t, name+"/sub/own.rego", "package own\ndecision := {\"allowed\": false, \"reason\": \""+reason+"\"}")
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(r.dir, ".tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(r.dir, ".tmp"), filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", "one")
	version("..2", "two")
	version("..3", "three")
	link("..1", "..data")
	link("..data/sub", "sub")
	link("..data/ussoauthz.yaml", "ussoauthz.yaml")
	r.answers(t, "one")
	for _, next := range []struct{ name, reason string }{{"..2", "two"}, {"..3", "three"}} {
		link(next.name, "..data")
		r.answers(t, next.reason)
	}
}

// No check sees half of a change, a broken change is no change, and what is
// replaced is let go.
func TestManyReloadsUnderLoad(t *testing.T) {
	const reloads = 200
	const patient = "\npolicy: {timeout: 5s}" // builds and checks compete for this machine
	r := startReloading(t)
	r.configure(t, "routes: [{match: /}]"+patient)
	r.reloaded(t, func(s reloadState) bool { return s.Generation == 2 })
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for ctx.Err() == nil {
				if got, err := check(t, r.conn, r.token); err != nil || got != "allowed" && got != "no_route" {
					t.Errorf("%s %v\n%s", got, err, r.log.faults())
					return
				}
			}
		})
	}
	routes := [2]string{"allowed", "no_route"}
	inForce, early := "allowed", uint64(0)
	for i := range reloads {
		before := r.state(t)
		if i%2 == 0 {
			r.configure(t, []string{"routes: [{match: /}]", "routes: [{match: /other}]"}[i/2%2]+patient+"\n# "+strings.Repeat(".", i))
			inForce = routes[i/2%2]
			r.reloaded(t, func(s reloadState) bool { return s.Error == "" && s.Last.After(before.Last) })
		} else {
			r.configure(t, []string{"routes: {", "routes: [{mach: /}]", "routes: [{match: /}]\npolicy: {paths: [x]}"}[i%3])
			r.reloaded(t, func(s reloadState) bool { return s.Error != "" && s.Last.After(before.Last) })
			if s := r.state(t); s.Generation != before.Generation {
				t.Fatalf("a broken configuration was taken: %+v", s)
			}
		}
		if got, err := check(t, r.conn, r.token); err != nil || got != inForce {
			t.Fatalf("after reload %d: %s %v, want %s", i, got, err, inForce)
		}
		if i == reloads/10 {
			early = heap()
		}
	}
	late := heap()
	stop()
	workers.Wait()
	t.Logf("heap %d KiB after %d reloads, %d KiB after %d", early>>10, reloads/10, late>>10, reloads)
	if late > early+8<<20 {
		t.Errorf("the heap grows with reloads: %d KiB, then %d KiB", early>>10, late>>10)
	}
	if n := r.server.Fetches(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers let go
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
