package metamorphic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
)

// running is the real service with its file, its gRPC listener and its reload.
type running struct {
	dir      string
	number   int            // of the configurations so far
	config   map[string]any // the last of them, marked
	service  *service.Service
	checks   authv3.AuthorizationClient
	shutdown func()
}

// use starts the service with the configuration of a step, or puts it in the
// place of the file and waits until it is in force.
func (r *running) use(ctx context.Context, st step) error {
	r.number++
	st.Config = cloneTree(st.Config).(map[string]any)
	st.Config["listen"], st.Config["admin"] = "127.0.0.1:0", map[string]any{"listen": "127.0.0.1:0"}
	policy := map[string]any{"timeout": "5s"} // the machine may be busy
	if given, ok := st.Config["policy"].(map[string]any); ok {
		maps.Copy(policy, given)
	}
	st.Config["policy"] = policy
	// A tenant that no request means, to see what is in force.
	marker := fmt.Sprintf("number-%d", r.number)
	tenants := maps.Clone(st.Config["tenants"].(map[string]any))
	tenants[marker] = map[string]any{"issuer": "https://nobody.example", "audience": "nobody", "key": strings.Repeat("nobody's secret ", 3) + marker, "type": "HS256"}
	st.Config["tenants"] = tenants
	r.config = st.Config
	text, err := yamlText(st.Config)
	if err != nil {
		return err
	}
	// Names of their own: what is in force keeps its files until the swap.
	for name, content := range st.allFiles() {
		own := fmt.Sprintf("%d-%s", r.number, name)
		text = strings.ReplaceAll(text, name, own)
		if err := os.WriteFile(filepath.Join(r.dir, own), []byte(content), 0o600); err != nil {
			return err
		}
	}
	file := filepath.Join(r.dir, "ussoauthz.yaml")
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	if r.service == nil {
		return r.start(ctx, file)
	}
	r.service.Reload()
	for {
		if inForce, err := r.serves(ctx, marker); err != nil || inForce {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the new configuration did not come into force")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (r *running) start(ctx context.Context, file string) error {
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	if r.service, err = service.New(ctx, cfg, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	conn, err := grpc.NewClient(r.service.Address().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	r.checks = authv3.NewAuthorizationClient(conn)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- r.service.Run(running) }()
	r.shutdown = func() {
		_ = conn.Close() // nobody asks any more
		stop()
		<-ended
	}
	return nil
}

// serves tells whether the configuration in force has a tenant.
func (r *running) serves(ctx context.Context, tenant string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/readyz?verbose", r.service.AdminAddress()), nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	var state struct{ Tenants []struct{ ID string } }
	err = json.NewDecoder(response.Body).Decode(&state)
	return slices.ContainsFunc(state.Tenants, func(t struct{ ID string }) bool { return t.ID == tenant }), err
}

// The same scenarios for the real service: what is between the file and the
// decision, and between the socket and the decision, has a part in them too.
func TestRunningServiceIsSpecification(t *testing.T) {
	limit, first := settings(t)
	limit /= 4
	t.Logf("METAMORPHIC_SEED=%d", first)
	ctx := t.Context()
	r, check := &running{dir: t.TempDir()}, newRunner(t.TempDir(), t.TempDir())
	defer func() {
		if r.shutdown != nil {
			r.shutdown()
		}
	}()
	keys, requests := signers(), 0
	seed := first
	for start := time.Now(); time.Since(start) < limit || r.number < 3 && seed < first+1000; seed++ {
		s := newGenerator(seed, keys, time.Now().Truncate(time.Second)).scenario()
		if d, err := check.run(s); d != nil || errors.Is(err, errConfig) {
			continue // TestServiceIsSpecification tells of the first
		} else if err != nil {
			t.Fatal(err)
		}
		for _, st := range s.Steps {
			if st.Config == nil {
				continue // nobody sets the clock of a running service
			}
			if err := r.use(ctx, st); err != nil {
				t.Fatalf("METAMORPHIC_SEED=%d: %v", seed, err)
			}
			requests += r.compare(t, s, st, seed)
		}
	}
	t.Logf("%d configurations, %d requests", r.number, requests)
	if r.number < 3 || requests < 50 {
		t.Error("that is next to nothing: METAMORPHIC_TIME is too short")
	}
}

// compare leaves out what a second of time makes another answer.
func (r *running) compare(t *testing.T, s *scenario, st step, seed uint64) (compared int) {
	t.Helper()
	now := time.Now()
	spec, err := specify(s, step{Config: r.config, Files: st.Files, After: now.Sub(s.Now)})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range st.Requests {
		response, err := r.checks.Check(t.Context(), q.check())
		if err != nil {
			t.Fatalf("METAMORPHIC_SEED=%d: a gRPC error: %v", seed, err)
		}
		got, err := answerOf(response)
		if err != nil {
			t.Fatalf("METAMORPHIC_SEED=%d: %v", seed, err)
		}
		want := spec.Decide(q.oracle(), time.Now())
		steady := func(at time.Duration) bool { return equal(want, spec.Decide(q.oracle(), time.Now().Add(at))) }
		if !slices.ContainsFunc([]time.Duration{-5 * time.Second, -time.Second, time.Second}, func(d time.Duration) bool { return !steady(d) }) {
			if compared++; !equal(got, want) {
				t.Fatalf("METAMORPHIC_SEED=%d: %+v\n  the specification says %+v\n  the service says       %+v", seed, q, want, got)
			}
		}
	}
	return compared
}
