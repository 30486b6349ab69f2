package service_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// A mount is swapped every 100 ms under steady checks, and every other one is
// broken. Each holds its number three times, in the configuration, in a policy
// and in its data: an answer that mixes two of them saw half of a change.
//
// USSOAUTHZ_SOAK says for how long; `make soak` runs it for a minute.
func TestReloadSoak(t *testing.T) {
	length := soakLength(t, 3*time.Second)
	m := newMounts(t)
	r := startReloading(t)
	m.adopt(t, r)
	m.swap(t, m.good(t, 1))
	r.answers(t, generation(1))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var workers sync.WaitGroup
	var checks atomic.Int64
	inForce, newest := new(atomic.Int64), new(atomic.Int64)
	inForce.Store(1)
	newest.Store(1)
	for range 4 {
		workers.Go(func() {
			steady := time.NewTicker(2 * time.Millisecond)
			defer steady.Stop()
			for ctx.Err() == nil {
				oldest := inForce.Load()
				got, err := check(t, r.conn, r.token)
				if ctx.Err() != nil {
					return
				}
				n, whole := readGeneration(got)
				if err != nil || !whole || n < oldest || n > newest.Load() {
					t.Errorf("it answered %q, %v while %d to %d were in force\n%s", got, err, oldest, newest.Load(), r.log.faults())
					return
				}
				checks.Add(1)
				<-steady.C
			}
		})
	}
	var early uint64
	swaps, end := 0, time.Now().Add(length)
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for n := int64(2); time.Now().Before(end) && !t.Failed(); n++ {
		<-pace.C
		swaps++
		if n%2 != 0 {
			m.swap(t, m.broken(t, n))
			continue
		}
		before := r.state(t).Generation
		newest.Store(n)
		m.swap(t, m.good(t, n))
		r.reloaded(t, func(s reloadState) bool { return s.Generation > before })
		inForce.Store(n)
		if early == 0 && time.Until(end) < length*9/10 {
			early = heap()
		}
	}
	late := heap()
	stop()
	workers.Wait()
	t.Logf("%d swaps and %d checks in %v; heap %d KiB, then %d KiB", swaps, checks.Load(), length, early>>10, late>>10)
	if late > early+8<<20 {
		t.Errorf("the heap grows with reloads: %d KiB, then %d KiB", early>>10, late>>10)
	}
	if checks.Load() < int64(swaps) {
		t.Errorf("only %d checks in %d swaps", checks.Load(), swaps)
	}
	if !strings.Contains(r.log.String(), "the reload failed") {
		t.Error("no broken mount was noticed")
	}
	if n := r.server.Fetches(); n != 1 {
		t.Errorf("the keys were fetched %d times, though their source never changed", n)
	}
}

// A reload that reads while the mount is swapped must not mix the two.
func TestReloadDuringSwaps(t *testing.T) {
	m := newMounts(t)
	r := startReloading(t)
	m.adopt(t, r)
	const mounts = 100
	names := make([]string, mounts)
	for n := range names {
		names[n] = m.good(t, int64(n))
	}
	ctx, stop := context.WithTimeout(t.Context(), soakLength(t, 2*time.Second))
	defer stop()
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			link(t, names[n%mounts], filepath.Join(m.dir, "..data"))
			r.Reload()
			time.Sleep(time.Duration(n%5) * time.Millisecond) // somewhere in a reload
		}
	})
	for ctx.Err() == nil {
		got, err := check(t, r.conn, r.token)
		if _, whole := readGeneration(got); err != nil || !whole {
			t.Fatalf("it answered %q, %v", got, err)
		}
	}
	swapping.Wait()
	link(t, names[7], filepath.Join(m.dir, "..data"))
	r.answers(t, generation(7))
}

// soakLength is how long a soak lasts: usual, unless USSOAUTHZ_SOAK says more.
func soakLength(t *testing.T, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("USSOAUTHZ_SOAK")
	if text == "" {
		return usual
	}
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		t.Fatalf("USSOAUTHZ_SOAK is %q: write a duration like 60s", text)
	}
	return length
}

// generation is the reason of the n-th mount's answers: the configuration's
// number, the data's and the policy's.
func generation(n int64) string { return fmt.Sprintf("g%d_%d_%d", n, n, n) }

var generationReason = regexp.MustCompile(`^g(\d+)_(\d+)_(\d+)$`)

func readGeneration(reason string) (n int64, whole bool) {
	parts := generationReason.FindStringSubmatch(reason)
	if parts == nil || parts[1] != parts[2] || parts[2] != parts[3] {
		return 0, false
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	return n, err == nil
}

// mounts writes folders as Kubernetes mounts them: a new one beside the old
// one, and one link that is renamed.
type mounts struct {
	dir    string
	server *jwttest.Server
	last   string
}

func newMounts(*testing.T) *mounts { return &mounts{} }

// adopt turns the folder of a running service into a mount.
func (m *mounts) adopt(t *testing.T, r *reloading) {
	t.Helper()
	m.dir, m.server = r.dir, r.server
	m.swap(t, m.good(t, 0))
	link(t, "..data/policies", filepath.Join(m.dir, "policies"))
	link(t, "..data/ussoauthz.yaml", filepath.Join(m.dir, "ussoauthz.yaml"))
	r.answers(t, generation(0))
}

func (m *mounts) good(t *testing.T, n int64) string {
	return m.write(t, n, fmt.Sprintf("reason := sprintf(\"g%%s_%%d_%d\", [input.route.access, data.n])", n))
}

// broken breaks the configuration, the policy or the data in turn.
func (m *mounts) broken(t *testing.T, n int64) string {
	name := m.write(t, n, "reason := \"half\"")
	target, text := "policies/own.rego", "package own\ndecision := {"
	switch n / 2 % 3 {
	case 1:
		target, text = "ussoauthz.yaml", "tenants: {"
	case 2:
		target, text = "policies/data.json", `{"n": `
	}
	put(t, filepath.Join(m.dir, name, target), text)
	return name
}

func (m *mounts) write(t *testing.T, n int64, reason string) (name string) {
	t.Helper()
	name = fmt.Sprintf("..%d", n)
	put(t, filepath.Join(m.dir, name, "ussoauthz.yaml"), fmt.Sprintf(`listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, jwks_url: %q}
policy: {entrypoint: own/decision, paths: [policies], timeout: 5s}
routes: [{match: /, access: "%d"}]
`, m.server.JWKSURL(), n))
	put(t, filepath.Join(m.dir, name, "policies/own.rego"), "package own\ndecision := {\"allowed\": false, \"reason\": reason}\n"+reason)
	put(t, filepath.Join(m.dir, name, "policies/data.json"), fmt.Sprintf(`{"n": %d}`, n))
	return name
}

func (m *mounts) swap(t *testing.T, name string) {
	t.Helper()
	link(t, name, filepath.Join(m.dir, "..data"))
	if m.last != "" {
		if err := os.RemoveAll(filepath.Join(m.dir, m.last)); err != nil {
			t.Fatal(err)
		}
	}
	m.last = name
}

// link makes or replaces a link in one step.
func link(t *testing.T, target, name string) {
	t.Helper()
	beside := name + ".new"
	if err := os.Symlink(target, beside); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, name); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
