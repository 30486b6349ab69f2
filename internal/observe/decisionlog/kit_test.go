package decisionlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a console that tests read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// open starts a log of the defaults with a change. What it has to say about
// itself goes to journal.
func open(t testing.TB, console io.Writer, journal io.Writer, change func(c *config.DecisionLog)) *decisionlog.Log {
	t.Helper()
	c := config.Default().DecisionLog
	change(&c)
	if journal == nil {
		journal = io.Discard
	}
	l, err := decisionlog.New(c, decisionlog.Options{
		Console: console, Log: slog.New(slog.NewTextHandler(journal, nil)), Labels: map[string]any{"id": "replica-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { flush(t, l) })
	return l
}

func toConsole(c *config.DecisionLog) { c.Console = true }

// flush closes a log, which is bound to succeed.
func flush(t testing.TB, l *decisionlog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

// stats returns what became of the records of the only writer.
func stats(t testing.TB, l *decisionlog.Log) decisionlog.Stats {
	t.Helper()
	list := l.Stats()
	if len(list) != 1 {
		t.Fatalf("%d writers", len(list))
	}
	return list[0]
}

// denial is a record as the server makes it.
func denial(id string) *extauthz.Record {
	return &extauthz.Record{
		Answer: &extauthz.Answer{
			Reason: answers.InsufficientScope, Status: 403, DecisionID: id, Tenant: "acme", Subject: "user:alice",
			WorkspaceID: "ws_1", Route: "GET /posts/{id}", PolicyRevision: "abc",
		},
		Start: time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC),
		Ends:  [extauthz.Stages]time.Duration{1000, 1500, 4000, 4200, 9000, 10000},
		Message: &extauthz.Message{Method: "GET", Host: "acme.example:443", Target: "/posts/42?token=s3cret",
			Headers: tenants.Headers{{Name: "authorization", Value: "Bearer s3cret"}}},
		TokenCache: jwtverify.Hit, DecisionCache: jwtverify.Miss,
	}
}

func allow(id string) *extauthz.Record {
	r := denial(id)
	r.Answer.Allowed, r.Answer.Reason, r.Answer.Status = true, answers.Allowed, 0
	return r
}

var trace = tracecontext.Of(tenants.Headers{{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})

// withInput gives a record what the policy saw, credentials included.
func withInput(t testing.TB, e *policy.Engine, r *extauthz.Record) *extauthz.Record {
	t.Helper()
	r.Policy = e
	r.Tenant = &tenants.Tenant{ID: "acme", Token: tenants.TokenSource{Header: "X-Access-Token", Cookie: "session"}}
	r.Input = &policy.Input{
		TenantID: "acme", Method: "GET", Host: "acme.example", Segments: []string{"posts", "42"}, RawQuery: "a=1",
		Identity: &jwtverify.Identity{Subject: "user:alice", UserID: "user:alice", Claims: jwtverify.NewClaims(map[string]any{"plan": "gold"})},
		Headers: []policy.Header{
			{Name: "authorization", Value: "Bearer s3cret"}, {Name: "x-access-token", Value: "s3cret"},
			{Name: "cookie", Value: "session=s3cret"}, {Name: "proxy-authorization", Value: "Basic s3cret"}, {Name: "accept", Value: "*/*"},
		},
	}
	return r
}

func engine(t testing.TB, mask string) *policy.Engine {
	t.Helper()
	cfg := policy.Config{Timeout: 10 * time.Second}
	if mask != "" {
		name := filepath.Join(t.TempDir(), "mask.rego")
		if err := os.WriteFile(name, []byte("package system.log\n"+mask), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.Paths = []string{name}
	}
	e, err := policy.New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// parse reads lines, each of which must be an object.
func parse(t testing.TB, text string) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, record)
	}
	return list
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal(what)
		}
	}
}

// replaced is a writer that tests change under the log.
type replaced struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *replaced) set(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w = w
}

func (r *replaced) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.w.Write(p)
}
