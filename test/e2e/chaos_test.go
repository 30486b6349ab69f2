package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/testkit/redistest"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// chaos is a world in which things break: an Envoy, two replicas, two issuers
// on the network and one in a file, a Redis and a file of revocations, and the
// disks on which the replicas keep keys.
type chaos struct {
	dir       string
	edge      string
	client    *http.Client
	front     *stack.Stack // with Envoy, and the first replica
	replicas  []*stack.Stack
	issuers   map[string]*jwttest.Issuer
	imposters map[string]*jwttest.Issuer // with the kids of the issuers
	servers   map[string]*jwttest.Server
	skew      map[string]*atomic.Int64 // of an issuer's clock, in nanoseconds
	ledger    *ledger
	files     sync.Mutex // held while the files are broken
	redis     *redistest.Server
	revoked   revocations
	disks     []*disk
	kept      sync.RWMutex // held while a disk is broken; for reading while an issuer withdraws its keys
}

const chaosPolicy = `package chaos

default decision := {"allowed": false}

decision := data.usso.authz.decision if input.request.path != "/policy"

decision := {"allowed": false, "reason": "policy_denied"} if input.request.path == "/policy"
`

const chaosConfig = `listen: ${env:USSOAUTHZ_LISTEN}
admin: {listen: "${env:USSOAUTHZ_ADMIN}"}
shutdown: {drain: 4s} # longer than Envoy needs to see it
policy: {entrypoint: chaos/decision, paths: [chaos.rego]}
jwks_dir: "${env:KEPT}"
revocation:
  file: revoked.jsonl
  redis: {url: "${env:REDIS}", resync: 3s}
defaults:
  audience: posts
  leeway: 2s
  jwks_cache: {ttl: 2s}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.acme.example", jwks_url: "${env:ACME}"}
  globex: {hosts: [globex.example], issuer: "https://sso.globex.example", jwks_url: "${env:GLOBEX}"}
  hooli: {hosts: [hooli.example], issuer: "https://sso.hooli.example", jwks_file: hooli.json}
routes:
  - {match: "GET /{$}", public: true}
  - {match: "GET /me"}
  - {match: "GET /policy"}
  - {match: "GET /posts", scopes: [read:posts]}
  - {match: "DELETE /posts/{id}", scopes: [delete:posts]}
  - {match: "GET /admin", roles: [admin]}
  - {match: "GET /workspaces/{id}", workspace: "{id}"}
`

// TestChaos breaks everything around the service, several things at a time,
// under steady traffic, and judges every single answer: no request is allowed
// that must not be, and none is refused for a reason that its faults do not
// give. USSOAUTHZ_CHAOS says how long, USSOAUTHZ_CHAOS_SEED repeats the faults
// of a run, though not their moments.
//
// The clocks that step are the issuers': the system's own is not ours to set,
// and no process here can have another. pkg/extauthz steps the service's.
func TestChaos(t *testing.T) {
	d, err := time.ParseDuration(cmp.Or(os.Getenv("USSOAUTHZ_CHAOS"), "30s"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("USSOAUTHZ_CHAOS_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("USSOAUTHZ_CHAOS_SEED=%d", seed)
	c := startChaos(t)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	stream := uint64(0)
	random := func() *rand.Rand {
		stream++
		return rand.New(rand.NewPCG(seed, stream))
	}
	// Traffic goes on until everything is whole again.
	asking, stop := context.WithCancel(t.Context())
	defer stop()
	var count tally
	var askers, faults sync.WaitGroup
	for range 4 {
		a := &asker{chaos: c, rand: random(), long: map[string]bearer{}}
		askers.Go(func() { a.ask(asking, t, &count) })
	}
	for _, r := range []func(*rand.Rand){
		func(r *rand.Rand) { c.breakIssuer(ctx, t, "acme", r) },
		func(r *rand.Rand) { c.breakIssuer(ctx, t, "globex", r) },
		func(r *rand.Rand) { c.stepClock(ctx, r) },
		func(r *rand.Rand) { c.breakFiles(ctx, t, r) },
		func(r *rand.Rand) { c.breakProcesses(ctx, t, r) },
		func(r *rand.Rand) { c.breakRedis(ctx, t, r) },
		func(r *rand.Rand) { c.breakDisks(ctx, t, r) },
		func(r *rand.Rand) { c.revoke(ctx, t, r) },
	} {
		own := random()
		faults.Go(func() { r(own) })
	}
	faults.Wait()
	pause(asking, time.Second)
	stop()
	askers.Wait()
	c.report(t, &count)
}

func startChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{
		dir: t.TempDir(), ledger: &ledger{count: map[string]int{}},
		issuers: map[string]*jwttest.Issuer{}, imposters: map[string]*jwttest.Issuer{}, servers: map[string]*jwttest.Server{}, skew: map[string]*atomic.Int64{},
	}
	for _, tenant := range chaosTenants {
		c.skew[tenant] = new(atomic.Int64)
		for _, set := range []map[string]*jwttest.Issuer{c.issuers, c.imposters} {
			issuer, err := jwttest.NewIssuer(jwttest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			set[tenant] = issuer
		}
		c.servers[tenant] = jwttest.NewServer(c.issuers[tenant])
		t.Cleanup(c.servers[tenant].Close)
	}
	for name, text := range map[string][]byte{"chaos.rego": []byte(chaosPolicy), "ussoauthz.yaml": []byte(chaosConfig), "hooli.json": c.issuers["hooli"].JWKS(), "revoked.jsonl": nil} {
		if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.redis = redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	app := httptest.NewServer(http.HandlerFunc(chaosApplication))
	t.Cleanup(app.Close)
	cfg := stack.Config{
		Ussoauthz: binaries.ussoauthz, Envoy: binaries.envoy, File: filepath.Join(c.dir, "ussoauthz.yaml"), Upstream: strings.TrimPrefix(app.URL, "http://"),
		Env: []string{"ACME=" + c.servers["acme"].JWKSURL(), "GLOBEX=" + c.servers["globex"].JWKSURL(), "REDIS=" + c.redis.URL},
	}
	twin, front := cfg, cfg
	for _, replica := range []*stack.Config{&twin, &front} {
		d := newDisk(t)
		c.disks = append(c.disks, d)
		replica.Dir, replica.Env = t.TempDir(), append(slices.Clone(cfg.Env), "KEPT="+d.keys)
	}
	second, err := stack.StartService(t.Context(), twin)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, second)
	front.Edit = addEndpoint(second.Authz)
	if c.front, err = stack.Start(t.Context(), front); err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, c.front)
	c.replicas = []*stack.Stack{c.front, second}
	c.edge = c.front.Edge
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for _, tenant := range []string{"acme", "globex"} {
		if err := c.fetchedSince(tenant, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.bothHealthy(); err != nil {
		t.Fatal(err)
	}
	return c
}

func stopAtEnd(t *testing.T, s *stack.Stack) { t.Cleanup(func() { stopAndSearch(t, s) }) }

// report tells what was asked and broken. A run that broke nothing, or in which
// a reload that must fail did not, proves nothing.
func (c *chaos) report(t *testing.T, count *tally) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d wrong allows, %d wrong refusals\n", count.asked.Load(), count.wrongAllows.Load(), count.wrongRefusals.Load())
	for i, reason := range chaosReasons {
		if n := count.byReason[i].Load(); n > 0 {
			fmt.Fprintf(&b, "  %-20s %d\n", reason, n)
		}
	}
	fmt.Fprintf(&b, "%d tokens, sessions and users revoked\nfaults:\n", c.revoked.written.Load())
	broken := 0
	for _, kind := range slices.Sorted(maps.Keys(c.ledger.count)) {
		fmt.Fprintf(&b, "  %-36s %d\n", kind, c.ledger.count[kind])
		if strings.HasSuffix(kind, "broken") {
			broken += c.ledger.count[kind]
		}
	}
	t.Log(b.String())
	refused, unkept := 0, 0
	for _, s := range c.replicas {
		text, err := os.ReadFile(s.Log("ussoauthz.log"))
		if err != nil {
			t.Error(err)
		}
		refused += strings.Count(string(text), "the reload failed")
		unkept += strings.Count(string(text), "key sets can't be stored on disk")
		for _, word := range []string{"panic", "DATA RACE"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s has %q", s.Log("ussoauthz.log"), word)
			}
		}
	}
	if broken > 0 && refused == 0 {
		t.Error("files were broken, and no reload failed")
	}
	if c.ledger.count[diskGone]+c.ledger.count[diskFull] >= 3 && unkept == 0 {
		t.Error("disks were broken, and nobody noticed")
	}
	if count.byReason[1].Load() == 0 || c.revoked.written.Load() == 0 {
		t.Error("nobody was revoked")
	}
	if count.byReason[0].Load() == 0 || len(c.ledger.count) == 0 {
		t.Error("nobody was let in, or nothing was broken")
	}
}
