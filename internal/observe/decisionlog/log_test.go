package decisionlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
)

// What was written is found again, whole and without a credential.
func TestFind(t *testing.T) {
	name := filepath.Join(t.TempDir(), "decisions.jsonl")
	l := open(t, nil, nil, func(c *config.DecisionLog) { c.File.Path = name })
	l.Record(denial("first"), tracecontext.Context{})
	l.Record(denial("second"), trace)
	l.Record(allow("third"), trace)
	flush(t, l)
	got, err := decisionlog.Find(name, "second")
	if err != nil {
		t.Fatal(err)
	}
	want := &decisionlog.Record{
		Time: time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC), DecisionID: "second", TraceID: "0af7651916cd43dd8448eb211c80319c",
		Tenant: "acme", Subject: "user:alice", WorkspaceID: "ws_1", Method: "GET", Host: "acme.example:443", Path: "/posts/42",
		Route: "GET /posts/{id}", Reason: "insufficient_scope", Status: 403, TookNS: 10000,
		StagesNS:   map[string]int64{"parse": 1000, "select": 500, "verify": 2500, "match": 200, "policy": 4800, "encode": 1000},
		TokenCache: "hit", DecisionCache: "miss", PolicyRevision: "abc",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := decisionlog.Find(name, "third"); err != nil || !got.Allowed || got.Status != 200 {
		t.Errorf("%+v %v", got, err)
	}
	if text, _ := os.ReadFile(name); bytes.Contains(text, []byte("s3cret")) {
		t.Errorf("a secret is in it: %s", text)
	}
}

// A foreign or torn line hides nothing behind it.
func TestFindAmongJunk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "decisions.jsonl")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("{\"decision_id\":\"x\",\n\n[\"x\"]\n{\"decision_id\":\"not x\"}\n{\"decision_id\":\"x\",\"reason\":\"allowed\"}")
	if r, err := decisionlog.Find(name, "x"); err != nil || r.Reason != "allowed" {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := decisionlog.Find(name, "y"); !errors.Is(err, decisionlog.ErrNotFound) {
		t.Errorf("%v", err)
	}
	put(strings.Repeat("x", 3<<20))
	if _, err := decisionlog.Find(name, "x"); err == nil || !strings.Contains(err.Error(), "is no decision log") {
		t.Errorf("%v", err)
	}
	if _, err := decisionlog.Find(name+".absent", "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// What a client chose neither breaks a line nor fills the disk.
func TestHostileText(t *testing.T) {
	var console buffer
	l := open(t, &console, nil, toConsole)
	r := denial("id")
	r.Message.Method, r.Message.Host = "GET\n{}", "\xff\x00\""
	r.Message.Target = "/" + strings.Repeat("ä", 1<<20) + "?q"
	r.Answer.Err = errors.New("why\nnot")
	l.Record(r, trace)
	empty := denial("no message")
	empty.Message = nil
	l.Record(empty, tracecontext.Context{})
	flush(t, l)
	list := parse(t, console.String())
	if len(list) != 2 || len(console.String()) > 8<<10 {
		t.Fatalf("%d records in %d bytes", len(list), len(console.String()))
	}
	if got := list[0]; got["method"] != "GET\n{}" || got["host"] != "\ufffd\x00\"" || got["error"] != "why\nnot" || !strings.HasSuffix(got["path"].(string), "ä…") {
		t.Errorf("%.300v", got)
	}
}

func TestSampling(t *testing.T) {
	for share, want := range map[float64][2]int{0: {0, 0}, 0.5: {400, 600}, 1: {1000, 1000}} {
		var console buffer
		l := open(t, &console, nil, func(c *config.DecisionLog) { c.Console, c.SampleAllows = true, share })
		for range 1000 {
			l.Record(allow("a"), trace)
		}
		for range 10 {
			l.Record(denial("d"), trace)
		}
		flush(t, l)
		allows := strings.Count(console.String(), `"allowed":true`)
		if allows < want[0] || allows > want[1] || strings.Count(console.String(), `"allowed":false`) != 10 {
			t.Errorf("a share of %v wrote %d of 1000 allows", share, allows)
		}
	}
}

// The input is there for who asks for it, and no credential in it.
func TestInput(t *testing.T) {
	var console buffer
	l := open(t, &console, nil, func(c *config.DecisionLog) { c.Console, c.Input = true, true })
	e := engine(t, "")
	l.Record(withInput(t, e, denial("whole")), trace)
	large := withInput(t, e, denial("large"))
	large.Input.Segments[0] = strings.Repeat("x", 2<<20)
	l.Record(large, trace)
	l.Record(denial("refused before the policy"), trace)
	flush(t, l)
	if strings.Contains(console.String(), "s3cret") {
		t.Errorf("a credential is in the log: %.2000s", console.String())
	}
	list := parse(t, console.String())
	input, _ := list[0]["input"].(map[string]any)
	request, _ := input["request"].(map[string]any)
	if diff := cmp.Diff(map[string]any{
		"accept": "*/*", "authorization": "(masked)", "cookie": "session=(masked)", "proxy-authorization": "(masked)", "x-access-token": "(masked)",
	}, request["headers"]); diff != "" || request["path"] != "/posts/42" {
		t.Errorf("%v\n%s", request, diff)
	}
	if list[1]["input"] != nil || list[1]["input_omitted"] != true || list[2]["input"] != nil || list[2]["input_omitted"] != nil {
		t.Errorf("%.300v", list[1:])
	}
}

// stuck is a console that nobody reads, until it is.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return len(p), nil
}

// A writer that hangs costs records, counted, and no check any time.
func TestStuckWriter(t *testing.T) {
	s := stuck{make(chan struct{})}
	l := open(t, s, nil, func(c *config.DecisionLog) { c.Console, c.Buffer = true, 64*config.KiB })
	const all = 5000
	start := time.Now()
	for range all {
		l.Record(denial("id"), trace)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%d records took %v", all, took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "console") {
		t.Errorf("%v", err)
	}
	close(s.release)
	flush(t, l)
	got := stats(t, l)
	if full := got.Dropped["full"]; full == 0 || got.Written+full != all {
		t.Errorf("%+v", got)
	}
	l.Record(denial("after the end"), trace)
	if again := stats(t, l); again.Dropped["full"] != got.Dropped["full"]+1 {
		t.Errorf("a record after Close is not counted: %+v", again)
	}
}

// A full disk costs records, counted, and two lines: when it began and ended.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full on this system")
	}
	defer full.Close()
	disk := &replaced{w: full}
	var journal buffer
	l := open(t, disk, &journal, toConsole)
	for i := range int64(3) {
		l.Record(denial("id"), trace)
		eventually(t, "the loss is not counted", func() bool { return stats(t, l).Dropped["failed"] == i+1 })
	}
	if n := strings.Count(journal.String(), "the decision log loses records"); n != 1 || !strings.Contains(journal.String(), "no space left") {
		t.Errorf("told %d times: %s", n, journal.String())
	}
	disk.set(io.Discard)
	l.Record(denial("id"), trace)
	eventually(t, "it is not written again", func() bool { return stats(t, l).Written == 1 })
	flush(t, l)
	if !strings.Contains(journal.String(), "written again") || !strings.Contains(journal.String(), "lost=3") {
		t.Errorf("%s", journal.String())
	}
}

func TestOff(t *testing.T) {
	l, err := decisionlog.New(config.Default().DecisionLog, decisionlog.Options{})
	if l != nil || err != nil {
		t.Fatalf("%v %v", l, err)
	}
	l.Use(nil)
	l.Record(denial("id"), trace)
	if l.Stats() != nil || l.Close(t.Context()) != nil {
		t.Error("a log that is off has something to say")
	}
}

// A record costs no allocation.
func TestAllocations(t *testing.T) {
	l := open(t, io.Discard, nil, func(c *config.DecisionLog) { c.Console, c.Buffer = true, 64*config.MiB })
	r := allow("b5a9c1de-8d53-4f3c-9c39-0d7f6a6f3b52")
	l.Record(r, trace)
	if n := testing.AllocsPerRun(1000, func() { l.Record(r, trace) }); n > 0.1 { // the buffer grows now and then
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	l := open(b, io.Discard, nil, func(c *config.DecisionLog) { c.Console, c.Buffer = true, 64*config.MiB })
	r := allow("b5a9c1de-8d53-4f3c-9c39-0d7f6a6f3b52")
	b.ReportAllocs()
	for b.Loop() {
		l.Record(r, trace)
	}
	b.ReportMetric(float64(stats(b, l).Dropped["full"])/float64(b.N), "dropped/op")
}

// FuzzLine: whatever a client sends, a record is one line of JSON.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"/posts", "/\n\r", "\xff\xfe", `"\`, "/" + strings.Repeat("ä", 2000), "\u2028"} {
		f.Add(seed, "GET")
	}
	f.Fuzz(func(t *testing.T, target, method string) {
		var console buffer
		l := open(t, &console, nil, toConsole)
		r := denial("id")
		r.Message.Target, r.Message.Method, r.Message.Host, r.Answer.Subject = target, method, target, method
		r.Answer.Err = fmt.Errorf("%s", target)
		l.Record(r, trace)
		flush(t, l)
		if list := parse(t, console.String()); len(list) != 1 || list[0]["decision_id"] != "id" {
			t.Errorf("%q", console.String())
		}
	})
}
