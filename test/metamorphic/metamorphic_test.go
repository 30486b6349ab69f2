// Package metamorphic gives random configurations and hostile requests to the
// service and to its specification (test/oracle): both must answer alike, with
// caches and without, in any order, at once, and over reloads. What differs is
// made small and written to testdata/failures, where it is replayed for ever.
package metamorphic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func yamlText(v any) (string, error) {
	text, err := yaml.Marshal(v)
	return string(text), err
}

// scenario makes one of up to three configurations, and moments after them.
func (g *generator) scenario() *scenario {
	s := &scenario{Now: g.now}
	w := g.world(entrypoints)
	for i := range 1 + g.IntN(3) {
		st := step{Config: w.config, Files: w.files}
		switch {
		case i == 0:
		case g.chance(50):
			st.Config, st.Files = nil, nil
			st.After = s.Steps[i-1].After + pick(g, time.Second, 30*time.Second, 10*time.Minute)
		default:
			policy := w.policy
			w = g.world([]string{policy})
			st.Config, st.Files, st.After = w.config, w.files, s.Steps[i-1].After
		}
		for range 25 {
			if len(st.Requests) > 0 && g.chance(35) {
				st.Requests = append(st.Requests, g.neighbour(w, pick(g, st.Requests...)))
			} else {
				st.Requests = append(st.Requests, g.request(w))
			}
		}
		if st.Config == nil { // those from before, at another time
			st.Requests = append(st.Requests[:5], s.Steps[i-1].Requests...)
		}
		s.Steps = append(s.Steps, st)
	}
	return s
}

// settings of a run: METAMORPHIC_TIME and METAMORPHIC_SEED.
func settings(t *testing.T) (limit time.Duration, seed uint64) {
	limit, seed = 30*time.Second, uint64(time.Now().UnixNano()) // #nosec G115 -- any number
	if v := os.Getenv("METAMORPHIC_TIME"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatalf("METAMORPHIC_TIME: %v", err)
		}
		limit = d
	}
	if v := os.Getenv("METAMORPHIC_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("METAMORPHIC_SEED: %v", err)
		}
		seed = n
	}
	return limit, seed
}

func TestServiceIsSpecification(t *testing.T) {
	limit, first := settings(t)
	t.Logf("METAMORPHIC_SEED=%d METAMORPHIC_TIME=%v", first, limit)
	r := newRunner(t.TempDir(), t.TempDir())
	keys, now := signers(), time.Now().Truncate(time.Second)
	var ran, refused, requests int
	for start := time.Now(); time.Since(start) < limit; ran++ {
		seed := first + uint64(ran) // #nosec G115 -- counted from 0
		s := newGenerator(seed, keys, now).scenario()
		d, err := r.run(s)
		switch {
		case errors.Is(err, errConfig):
			if refused++; testing.Verbose() && refused < 10 {
				t.Log(err)
			}
			continue
		case err != nil:
			t.Fatalf("METAMORPHIC_SEED=%d: %v", seed, err)
		case d != nil:
			t.Fatalf("METAMORPHIC_SEED=%d: %v\n%s", seed, d, report(t, s, d, seed))
		}
		for _, st := range s.Steps {
			requests += len(st.Requests)
		}
	}
	if ran-refused < 20 {
		t.Errorf("only %d scenarios: METAMORPHIC_TIME is too short", ran-refused)
	}
	for _, reason := range []string{"allowed", "invalid_request", "invalid_tenant", "token_not_found", "token_expired", "token_invalid", "token_revoked",
		"insufficient_scope", "insufficient_role", "workspace_mismatch", "no_route", "policy_denied", "policy_error"} {
		if r.reasons[reason] == 0 {
			t.Errorf("no request was to be answered with %s", reason)
		}
	}
	t.Logf("%d scenarios, %d of them refused as configurations; %d requests, which were answered %v", ran, refused, requests, r.reasons)
}

// report makes a difference small, writes it down, and says what to do.
func report(t *testing.T, s *scenario, d *difference, seed uint64) string {
	t.Helper()
	r := newRunner(t.TempDir(), t.TempDir())
	r.fresh = true
	if again, err := r.run(s); err != nil || again == nil {
		return "a service that has seen nothing before does not differ: it takes the scenarios from the first seed to this one"
	}
	small := r.shrink(s, d)
	small.Why = fmt.Sprintf("seed %d: %s, not %s: say here who is right, and why", seed, d.got.Reason, d.want.Reason)
	for i, st := range small.Steps {
		spec, err := specify(small, small.inForce(i))
		if err != nil {
			return err.Error()
		}
		for j := range st.Requests {
			st.Requests[j].Want = spec.Decide(st.Requests[j].oracle(), small.Now.Add(st.After)).Reason
		}
	}
	file := filepath.Join("testdata", "failures", fmt.Sprintf("seed-%d.yaml", seed))
	if err := small.write(file); err != nil {
		return err.Error()
	}
	return "written to test/metamorphic/" + file + ", which TestFailuresStayFixed replays"
}

// What differed once is replayed for ever.
func TestFailuresStayFixed(t *testing.T) {
	files, err := filepath.Glob("testdata/failures/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 15 {
		t.Errorf("found %d cases: some were lost", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := readScenario(file)
			if err != nil {
				t.Fatal(err)
			}
			d, err := newRunner(t.TempDir(), t.TempDir()).run(s)
			if err != nil {
				t.Fatal(err)
			}
			if d != nil {
				t.Errorf("%s: %v", s.Why, d)
			}
			for i, st := range s.Steps {
				spec, err := specify(s, s.inForce(i))
				if err != nil {
					t.Fatal(err)
				}
				for _, q := range st.Requests {
					if got := spec.Decide(q.oracle(), s.Now.Add(st.After)).Reason; got != q.Want {
						t.Errorf("%s: the specification says %s, the case %s", s.Why, got, q.Want)
					}
				}
			}
		})
	}
}

// A case that says nothing, or that nobody can read, is no case.
func TestUnreadableCasesFail(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"no steps":         "why: x\nnow: 2026-01-01T00:00:00Z\n",
		"no requests":      "why: x\nnow: 2026-01-01T00:00:00Z\nsteps: [{config: {routes: []}}]\n",
		"no reason":        "why: x\nnow: 2026-01-01T00:00:00Z\nsteps: [{config: {routes: []}, requests: [{method: GET}]}]\n",
		"no why":           "now: 2026-01-01T00:00:00Z\nsteps: [{config: {routes: []}, requests: [{method: GET, want: allowed}]}]\n",
		"no time":          "why: x\nsteps: [{config: {routes: []}, requests: [{method: GET, want: allowed}]}]\n",
		"no configuration": "why: x\nnow: 2026-01-01T00:00:00Z\nsteps: [{requests: [{method: GET, want: allowed}]}]\n",
		"an unknown key":   "why: x\nnow: 2026-01-01T00:00:00Z\nsteps: [{config: {routes: []}, requests: [{verb: GET, want: allowed}]}]\n",
		"no YAML":          "\t{",
	} {
		file := filepath.Join(t.TempDir(), "case.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readScenario(file); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}
