package decisionlog_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// collector is a decision log service as OPA expects it.
type collector struct {
	mu       sync.Mutex
	status   int // of the answer; 0: 200
	batches  [][]map[string]any
	requests []*http.Request
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r)
	if c.status != 0 {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(c.status)
		return
	}
	body, err := gzip.NewReader(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	var batch []map[string]any
	if err := json.NewDecoder(body).Decode(&batch); err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	c.batches = append(c.batches, batch)
}

func (c *collector) answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

func (c *collector) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests)
}

func (c *collector) events() (all []map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, batch := range c.batches {
		all = append(all, batch...)
	}
	return all
}

func collect(t *testing.T, c *collector, journal *buffer, change func(c *config.DecisionService)) *decisionlog.Log {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	l := open(t, nil, journal, func(cfg *config.DecisionLog) {
		cfg.Buffer = 64 * config.KiB
		cfg.Input = true
		cfg.Service.URL, cfg.Service.Delay = server.URL, 5*time.Millisecond
		if change != nil {
			change(&cfg.Service)
		}
	})
	decisionlog.Impatient(l)
	return l
}

// A batch is as OPA sends it, in OPA's schema.
func TestService(t *testing.T) {
	var c collector
	l := collect(t, &c, &buffer{}, func(s *config.DecisionService) {
		s.URL += "/opa/"
		s.Partition, s.Token = "edge/acme", tenants.NewSecret("t0ken")
		s.Headers = map[string]tenants.Secret{"X-Key": tenants.NewSecret("k")}
	})
	l.Record(withInput(t, engine(t, ""), denial("one")), trace)
	flush(t, l)
	events := c.events()
	if len(events) != 1 || len(c.requests) != 1 {
		t.Fatalf("%d events in %d requests", len(events), len(c.requests))
	}
	r := c.requests[0]
	for name, want := range map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip", "Authorization": "Bearer t0ken", "X-Key": "k"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if r.Method != http.MethodPost || r.URL.Path != "/opa/logs/edge/acme" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
	input := events[0]["input"]
	delete(events[0], "input")
	want := map[string]any{
		"labels": map[string]any{"id": "replica-1"}, "decision_id": "one", "trace_id": "0af7651916cd43dd8448eb211c80319c",
		"revision": "abc", "path": "ussoauthz", "timestamp": "2026-11-24T12:00:00.123456789Z",
		"result": map[string]any{
			"allowed": false, "reason": "insufficient_scope", "status": 403.0, "tenant": "acme", "sub": "user:alice", "workspace_id": "ws_1",
			"method": "GET", "host": "acme.example:443", "path": "/posts/42", "route": "GET /posts/{id}", "token_cache": "hit", "decision_cache": "miss",
		},
		"metrics": map[string]any{
			"timer_server_handler_ns": 10000.0, "timer_ussoauthz_parse_ns": 1000.0, "timer_ussoauthz_select_ns": 500.0, "timer_ussoauthz_verify_ns": 2500.0,
			"timer_ussoauthz_match_ns": 200.0, "timer_ussoauthz_policy_ns": 4800.0, "timer_ussoauthz_encode_ns": 1000.0,
		},
	}
	if diff := cmp.Diff(want, events[0]); diff != "" {
		t.Error(diff)
	}
	if document, ok := input.(map[string]any); !ok || document["request"] == nil {
		t.Errorf("input %v", input)
	}
}

// An outage is told while it lasts, costs what memory can't hold, and no more.
func TestServiceOutage(t *testing.T) {
	c := collector{status: http.StatusServiceUnavailable}
	var journal buffer
	l := collect(t, &c, &journal, nil)
	l.Record(denial("first"), trace)
	eventually(t, "it does not try again", func() bool { return c.asked() >= 3 })
	const all = 1000
	for range all {
		l.Record(denial("later"), trace)
	}
	if n := strings.Count(journal.String(), "the decision log loses records"); n != 1 || !strings.Contains(journal.String(), "503") {
		t.Errorf("%s", journal.String())
	}
	c.answer(0)
	flush(t, l)
	got := stats(t, l)
	if got.Dropped["full"] == 0 || got.Dropped["failed"] != 0 || got.Written+got.Dropped["full"] != all+1 || int64(len(c.events())) != got.Written {
		t.Errorf("%+v, %d events arrived", got, len(c.events()))
	}
	if c.events()[0]["decision_id"] != "first" {
		t.Error("what waited longest is not the first")
	}
	for _, batch := range c.batches {
		if len(batch) > 1000 {
			t.Errorf("a batch of %d events", len(batch))
		}
	}
}

// A batch that the service takes exception to is not sent for ever, nor is one
// followed elsewhere with the token.
func TestServiceRefuses(t *testing.T) {
	c := collector{status: http.StatusBadRequest}
	l := collect(t, &c, &buffer{}, nil)
	l.Record(denial("id"), trace)
	eventually(t, "it is not given up", func() bool { return stats(t, l).Dropped["failed"] == 1 })
	c.answer(http.StatusTemporaryRedirect)
	l.Record(denial("id"), trace)
	eventually(t, "it is not tried again", func() bool { return c.asked() >= 3 })
	c.answer(0)
	flush(t, l)
	for _, r := range c.requests {
		if r.URL.Path != "/logs" {
			t.Errorf("%s was asked", r.URL)
		}
	}
	if got := stats(t, l); got.Written != 1 {
		t.Errorf("%+v", got)
	}
}

// The end comes in its time even where the service is down.
func TestServiceDownAtTheEnd(t *testing.T) {
	l := open(t, nil, nil, func(c *config.DecisionLog) {
		c.Service.URL, c.Service.Delay = "http://127.0.0.1:1", 5*time.Millisecond
	})
	l.Record(denial("id"), trace)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	flush(t, l)
	if got := stats(t, l); got.Dropped["failed"] != 1 {
		t.Errorf("%+v", got)
	}
}

// The service's certificate is judged by ca_file.
func TestServiceTLS(t *testing.T) {
	var c collector
	server := httptest.NewTLSServer(&c)
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"", ca} {
		var journal buffer
		l := open(t, nil, &journal, func(c *config.DecisionLog) {
			c.Service.URL, c.Service.Delay, c.Service.CAFile = server.URL, 5*time.Millisecond, file
		})
		l.Record(denial("id"), trace)
		if file == "" {
			eventually(t, "an unknown certificate is no fault", func() bool { return strings.Contains(journal.String(), "certificate") })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_ = l.Close(ctx)
			cancel()
			continue
		}
		flush(t, l)
		if len(c.events()) != 1 {
			t.Errorf("%d events: %s", len(c.events()), journal.String())
		}
	}
}
