package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

var alice = &tour.Token{Tenant: "acme", Subject: "user:alice", Workspace: "ws_1", Scopes: []string{"read:posts"}}

// Nobody to ask: nobody gets in, and clients are told that it is not them.
func TestServiceKilledAndBack(t *testing.T) {
	w := start(t)
	me := tour.Step{Host: "acme.example", Path: "/me", Token: alice}
	if a := w.do(t, me, 1); a.Status != http.StatusOK {
		t.Fatalf("before: %d %s", a.Status, a.Body)
	}
	w.AuthzProcess().Kill()
	for n := range 20 {
		for _, step := range []tour.Step{me, {Host: "acme.example", Path: "/"}} {
			if a := w.do(t, step, n); a.Status != http.StatusServiceUnavailable || a.Seen != nil {
				t.Fatalf("%s without the service: %d, reached the application: %v", step.Path, a.Status, a.Seen != nil)
			}
		}
	}
	if err := w.StartAuthz(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return w.do(t, me, 1).Status == http.StatusOK })
}

// eventually polls for what Envoy's health check decides in its own time.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("it never came true")
		case <-tick.C:
		}
	}
}

// An issuer that is down or slow costs the others nothing, and keys that were
// fetched before go on.
func TestIssuerDown(t *testing.T) {
	w := start(t)
	step := func(tenant string) tour.Step {
		return tour.Step{Host: tenant + ".example", Path: "/me", Token: &tour.Token{Tenant: tenant, Subject: "user:a"}}
	}
	for _, tenant := range []string{"acme", "globex"} {
		if a := w.do(t, step(tenant), 1); a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", tenant, a.Status, a.Body)
		}
	}
	w.servers["acme"].SetDown(true)
	for n := range 50 {
		for tenant, want := range map[string]int{"acme": 200, "globex": 200, "initech": 503} {
			if a := w.do(t, step(tenant), n); a.Status != want {
				t.Fatalf("%s: %d %s, want %d", tenant, a.Status, a.Body, want)
			}
		}
	}
}

// A rotated key is found without a restart, by one fetch.
func TestRotation(t *testing.T) {
	w := start(t)
	me := tour.Step{Host: "acme.example", Path: "/me", Token: alice}
	if a := w.do(t, me, 1); a.Status != http.StatusOK {
		t.Fatalf("before: %d %s", a.Status, a.Body)
	}
	before := w.servers["acme"].Fetches()
	if err := w.issuers["acme"].Rotate(true); err != nil {
		t.Fatal(err)
	}
	if a := w.do(t, me, 1); a.Status != http.StatusOK {
		t.Errorf("after: %d %s", a.Status, a.Body)
	}
	if got := w.servers["acme"].Fetches() - before; got != 1 {
		t.Errorf("%d fetches, want 1", got)
	}
}

// More checks at once than the configured bound are shed, and never allowed.
func TestOverload(t *testing.T) {
	w := start(t, withPolicy("limits: {max_in_flight: 1}\n"))
	slow := tour.Step{Host: "initech.example", Path: "/me", Token: &tour.Token{Tenant: "initech", Subject: "a"}}
	token := w.token(t, slow.Token)
	statuses := make(chan string, 400)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 50 {
				req, err := slow.Request(w.Edge, token, 1)
				if err != nil {
					t.Error(err)
					return
				}
				a, err := tour.Do(w.client, req)
				if err != nil {
					t.Error(err)
					return
				}
				statuses <- fmt.Sprint(a.Status, " ", a.Reason())
			}
		})
	}
	workers.Wait()
	close(statuses)
	count := map[string]int{}
	for s := range statuses {
		count[s]++
	}
	if count["503 overloaded"] == 0 || count["503 overloaded"]+count["503 keys_unavailable"] != 400 {
		t.Errorf("answers: %v", count)
	}
}
