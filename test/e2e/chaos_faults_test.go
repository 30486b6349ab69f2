package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
)

// pause waits, and reports whether there is still time.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// between draws a time of milliseconds.
func between(r *rand.Rand, low, high int) time.Duration {
	return time.Duration(low+r.IntN(high-low)) * time.Millisecond
}

// breakIssuer breaks one tenant's issuer again and again. A fault ends when
// both replicas have fetched its keys again: until then its answers are owed to
// the fault.
func (c *chaos) breakIssuer(ctx context.Context, t *testing.T, tenant string, r *rand.Rand) {
	server := c.servers[tenant]
	for pause(ctx, between(r, 500, 3000)) {
		whole := make(chan struct{})
		kinds := []struct {
			kind    string
			handler http.HandlerFunc
		}{
			{"issuer refuses", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }},
			{"issuer hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
			{"issuer is slow", func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-whole:
				case <-r.Context().Done():
				}
				panic(http.ErrAbortHandler) // a late answer would be of the time before
			}},
			{"issuer answers with a page", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, "<html><body>We will be back soon</body></html>") // the fetcher went away
			}},
			{issuerEmpty, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys": []}`) }},
			{issuerLies, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(c.imposters[tenant].JWKS()) }},
		}
		k := kinds[r.IntN(len(kinds))]
		forged := k.kind == issuerEmpty || k.kind == issuerLies
		if forged { // not while the keys on disk can't follow
			c.kept.RLock()
		}
		f := c.ledger.begin(k.kind, tenant)
		server.SetHandler(k.handler)
		pause(ctx, between(r, 1000, 6000))
		server.SetHandler(nil)
		close(whole)
		restored := time.Now()
		err := c.fetchedSince(tenant, restored)
		if forged {
			c.kept.RUnlock()
		}
		if err != nil {
			t.Errorf("%s of %s: %v", k.kind, tenant, err)
			return
		}
		c.ledger.end(f)
	}
}

// fetchedSince waits until both replicas have keys of after a moment.
func (c *chaos) fetchedSince(tenant string, moment time.Time) error {
	limit := time.Now().Add(40 * time.Second)
	for _, s := range c.replicas {
		for !fetched(s.AuthzAdmin, tenant, moment) {
			if time.Now().After(limit) {
				return fmt.Errorf("no new keys after 40 s")
			}
			pause(context.Background(), 20*time.Millisecond)
		}
	}
	return nil
}

func fetched(admin, tenant string, moment time.Time) bool {
	for _, s := range stateOf(admin).Tenants {
		if s.ID == tenant {
			return s.Keys > 0 && s.Error == "" && s.Fetched.After(moment)
		}
	}
	return false
}

// replicaState is what a replica tells of itself.
type replicaState struct {
	Tenants []struct {
		ID      string
		Keys    int
		Fetched time.Time
		Error   string
	}
	Revocation []struct {
		Source    string
		Available bool
		LastSync  time.Time `json:"last_sync"`
	}
}

// stateOf is zero while the replica is being replaced.
func stateOf(admin string) (s replicaState) {
	res, err := http.Get(admin + "/readyz?verbose")
	if err != nil {
		return s
	}
	defer func() { _ = res.Body.Close() }() // it was read
	if json.NewDecoder(res.Body).Decode(&s) != nil {
		return replicaState{}
	}
	return s
}

// stepClock sets an issuer's clock back and forth.
func (c *chaos) stepClock(ctx context.Context, r *rand.Rand) {
	for pause(ctx, between(r, 1000, 3000)) {
		tenant := chaosTenants[r.IntN(len(chaosTenants))]
		step := []time.Duration{5 * time.Minute, -5 * time.Minute}[r.IntN(2)]
		f := c.ledger.begin(fmt.Sprintf("issuer's clock is off by %v", step), "")
		c.skew[tenant].Store(int64(step))
		pause(ctx, between(r, 1000, 3000))
		c.skew[tenant].Store(0)
		c.ledger.end(f)
	}
}

// breakFiles breaks what the replicas load, and mends it, and changes it
// without breaking it.
func (c *chaos) breakFiles(ctx context.Context, t *testing.T, r *rand.Rand) {
	for n := 0; pause(ctx, between(r, 500, 2000)); n++ {
		kinds := []struct{ kind, name, old, new string }{
			{"policy broken", "chaos.rego", "default decision :=", "default decision := :="},
			{"policy cut", "chaos.rego", "package chaos", "package"},
			{"configuration broken", "ussoauthz.yaml", "leeway: 2s", "leway: 2s"},
			{"configuration with a wrong type", "ussoauthz.yaml", "leeway: 2s", "leeway: [2s]"},
			{"policy changed", "chaos.rego", "package chaos", fmt.Sprintf("# edition %d\npackage chaos", n)},
			{"configuration changed", "ussoauthz.yaml", "leeway: 2s", fmt.Sprintf("leeway: 2s # edition %d", n)},
		}
		k := kinds[r.IntN(len(kinds))]
		c.files.Lock() // a replica that starts now would be right to refuse
		f := c.ledger.begin(k.kind, "")
		path := filepath.Join(c.dir, k.name)
		whole, err := os.ReadFile(path)
		if err == nil {
			err = replaceFile(path, []byte(strings.Replace(string(whole), k.old, k.new, 1)))
		}
		pause(ctx, between(r, 1000, 3000))
		if err == nil {
			err = replaceFile(path, whole)
		}
		if err != nil {
			t.Error(err)
		}
		c.ledger.end(f)
		c.files.Unlock()
	}
}

func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// breakProcesses replaces, kills and starts programs, one at a time: with both
// replicas gone nobody is left to ask.
func (c *chaos) breakProcesses(ctx context.Context, t *testing.T, r *rand.Rand) {
	for pause(ctx, between(r, 500, 2000)) {
		s := c.replicas[r.IntN(len(c.replicas))]
		var err error
		switch r.IntN(3) {
		case 0:
			// Drained, then another in its place: nothing is excused.
			f := c.ledger.begin(replicaReplaced, "")
			if err = s.AuthzProcess().Stop(30 * time.Second); err == nil {
				err = c.startReplica(s)
			}
			c.ledger.end(f)
		case 1:
			f := c.ledger.begin(replicaKilled, "")
			s.AuthzProcess().Kill()
			pause(ctx, between(r, 0, 1000))
			err = c.startReplica(s)
			c.ledger.end(f)
		case 2:
			f := c.ledger.begin(envoyStopped, "")
			if err = c.front.EnvoyProcess().Stop(30 * time.Second); err == nil {
				err = c.front.StartEnvoy(context.Background())
			}
			if err == nil {
				err = c.bothHealthy()
			}
			c.ledger.end(f)
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// startReplica starts a replica and waits until Envoy asks it.
func (c *chaos) startReplica(s *stack.Stack) error {
	c.files.Lock()
	f := c.ledger.begin(replicaStarted, "")
	err := s.StartAuthz(context.Background())
	c.files.Unlock()
	if err == nil {
		err = c.bothHealthy()
	}
	c.ledger.end(f)
	return err
}

// bothHealthy waits until Envoy's health checks know both replicas as well.
func (c *chaos) bothHealthy() error {
	limit := time.Now().Add(30 * time.Second)
	for {
		healthy := 0
		if res, err := http.Get(c.front.EnvoyAdmin + "/clusters"); err == nil {
			text, err := io.ReadAll(res.Body)
			_ = res.Body.Close() // it was read
			for _, s := range c.replicas {
				if err == nil && strings.Contains(string(text), "ussoauthz::"+s.Authz+"::health_flags::healthy\n") {
					healthy++
				}
			}
		}
		if healthy == len(c.replicas) {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("Envoy does not find both replicas healthy within 30 s")
		}
		pause(context.Background(), 20*time.Millisecond)
	}
}
