package extauthz_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// seen is what an observer copies of a record.
type seen struct {
	reason       answers.Reason
	path, tenant string
	route        int
	ends         [extauthz.Stages]time.Duration
	token        jwtverify.Lookup
	input        bool
}

type watcher struct {
	mu   sync.Mutex
	seen []seen
}

func (w *watcher) Observe(_ context.Context, r *extauthz.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := seen{reason: r.Answer.Reason, path: r.Path(), route: r.Route, ends: r.Ends, token: r.TokenCache, input: r.Input != nil}
	if r.Tenant != nil {
		s.tenant = r.Tenant.ID
	}
	w.seen = append(w.seen, s)
}

// last returns the one record that a check made.
func (w *watcher) last(t *testing.T, check func()) seen {
	t.Helper()
	w.seen = nil
	check()
	if len(w.seen) != 1 {
		t.Fatalf("%d records of one check", len(w.seen))
	}
	return w.seen[0]
}

// Each check is told once, with as much of the road as it walked.
func TestObserver(t *testing.T) {
	w := newWorld(t)
	var watch watcher
	s := extauthz.NewServer(extauthz.ServerConfig{Observer: &watch})
	if got := watch.last(t, func() { s.Check(t.Context(), w.check("/me", "alice")) }); got.reason != answers.Internal || got.route != -1 {
		t.Errorf("before a configuration: %+v", got)
	}
	s.Use(w.authorizer(t, policy.Config{}))
	parse, verify, all := extauthz.StageParse, extauthz.StageVerify, extauthz.StagePolicy
	for _, c := range []struct {
		name, target, token string
		reason              answers.Reason
		tenant, path        string
		route               int
		last                extauthz.Stage // the last stage before the answer; -1: none
		lookup              jwtverify.Lookup
	}{
		{"first use of a token", "/me?secret=1", "bob", answers.Allowed, "acme", "/me", 1, all, jwtverify.Miss},
		{"second use", "/me", "bob", answers.Allowed, "acme", "/me", 1, all, jwtverify.Hit},
		{"no token", "/me", "", answers.TokenNotFound, "acme", "/me", 1, all, jwtverify.NoLookup},
		{"no route", "/nothing", "bob", answers.NoRoute, "acme", "/nothing", -1, all, jwtverify.Hit},
		{"expired", "/me", "expired", answers.TokenExpired, "acme", "/me", -1, extauthz.StageSelect, jwtverify.Miss},
		{"malformed", "/me/../x", "bob", answers.InvalidRequest, "", "/me/../x", -1, -1, jwtverify.NoLookup},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := w.check(c.target, c.token)
			if c.token == "" {
				check.Attributes.Request.Http.HeaderMap = nil
			}
			got := watch.last(t, func() { s.Check(t.Context(), check) })
			if got.reason != c.reason || got.tenant != c.tenant || got.path != c.path || got.route != c.route || got.token != c.lookup {
				t.Errorf("%+v", got)
			}
			if got.input != (c.last >= verify) {
				t.Errorf("the input is there: %t", got.input)
			}
			before := time.Duration(0)
			for stage := parse; stage < extauthz.Stages; stage++ {
				reached := stage <= c.last || stage == extauthz.StageEncode
				if end := got.ends[stage]; (end > 0) != reached || reached && end < before {
					t.Errorf("stage %v ended after %v, the one before it after %v", stage, end, before)
				}
				before = max(before, got.ends[stage])
			}
		})
	}
	if got := watch.last(t, func() { extauthz.CheckBytes(s, []byte("no message")) }); got.reason != answers.InvalidRequest || got.path != "" {
		t.Errorf("bytes that are no check: %+v", got)
	}
	if n := s.InFlight(); n != 0 {
		t.Errorf("%d checks in flight after the last one", n)
	}
}

type broken struct{}

func (broken) Observe(context.Context, *extauthz.Record) { panic("a fault of the observer") }

// What goes wrong while a check is told of changes no answer.
func TestObserverPanics(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	s := extauthz.NewServer(extauthz.ServerConfig{Observer: broken{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s.Use(w.authorizer(t, policy.Config{}))
	response, err := s.Check(t.Context(), w.check("/me", "alice"))
	if err != nil || reasonOf(response) != answers.Allowed {
		t.Errorf("%v %v", response, err)
	}
	if !bytes.Contains(log.Bytes(), []byte(`an observer panicked`)) {
		t.Errorf("the log does not tell: %s", &log)
	}
}

type idle struct{}

func (idle) Observe(context.Context, *extauthz.Record) {}

func BenchmarkObserved(b *testing.B) {
	w := newWorld(b)
	a := w.authorizer(b, policy.Config{})
	for name, o := range map[string]extauthz.Observer{"off": nil, "idle": idle{}} {
		s := extauthz.NewServer(extauthz.ServerConfig{Observer: o})
		s.Use(a)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var check *authv3.CheckRequest = w.check("/nothing", "alice")
			for b.Loop() {
				s.Check(context.Background(), check)
			}
		})
	}
}
