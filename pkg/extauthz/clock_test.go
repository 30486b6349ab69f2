package extauthz_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// The service's clock steps back and forth by 5 minutes under checks: a token
// that is remembered is judged by the time that it is, at every check.
func TestClockSteps(t *testing.T) {
	start := time.Now()
	var step atomic.Int64
	cache, err := jwtverify.NewCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	routes, faults := tenants.NewRoutes([]tenants.Route{{Match: "/"}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	issuer := newIssuer(t, "acme")
	cfg := config(issuer, "acme", "acme.example")
	tenant, err := cfg.Build("", tenants.Shared{Routes: routes, Cache: cache, Now: func() time.Time { return start.Add(time.Duration(step.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	directory, err := tenants.NewDirectory(tenants.Selection{}, []*tenants.Tenant{tenant})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{directory: directory, tokens: map[string]string{"now": mint(t, issuer, claims(map[string]any{
		"nbf": start.Add(-time.Minute).Unix(), "exp": start.Add(time.Minute).Unix(),
	}))}}
	a := w.authorizer(t, policy.Config{})
	for range 20 {
		for by, want := range map[time.Duration]string{0: "allowed", 5 * time.Minute: "token_expired", -5 * time.Minute: "token_invalid"} {
			step.Store(int64(by))
			var checks sync.WaitGroup
			for range 8 {
				checks.Go(func() {
					for range 20 {
						if got := a.Authorize(t.Context(), w.ask("GET", "/me", "now")); string(got.Reason) != want && (want != "allowed" || !got.Allowed) {
							t.Errorf("a clock off by %v: %s, want %s", by, got.Reason, want)
							return
						}
					}
				})
			}
			checks.Wait()
		}
	}
}
