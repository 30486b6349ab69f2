package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

// Tenants take turns, and requests of one tenant are in order.
func TestTurns(t *testing.T) {
	turn := &turns{free: 1}
	if w := turn.enter("first"); w != nil {
		t.Fatal("a free turn is not given")
	}
	type named struct {
		name string
		*waiting
	}
	var all []named
	for _, name := range []string{"flood 1", "flood 2", "flood 3", "flood 4", "calm 1", "other 1", "calm 2"} {
		all = append(all, named{name, turn.enter(name[:len(name)-2])})
	}
	if !turn.leave("flood", all[2].waiting) || turn.leave("flood", all[2].waiting) || turn.leave("nobody", all[0].waiting) {
		t.Error("a place is given up once, by who has it")
	}
	if !turn.leave("other", all[5].waiting) || len(turn.lines) != 2 {
		t.Errorf("%d lines", len(turn.lines))
	}
	var order []string
	for range 5 {
		turn.end()
		for i, w := range all {
			select {
			case <-w.granted:
				order = append(order, w.name)
				all = slices.Delete(all, i, i+1)
			default:
				continue
			}
			break
		}
	}
	if want := []string{"flood 1", "calm 1", "flood 2", "calm 2", "flood 4"}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	if turn.end(); turn.free != 1 || len(turn.lines) != 0 {
		t.Errorf("%d free, %d lines", turn.free, len(turn.lines))
	}
}

// Who waits too long, or has gone, gives its place up.
func TestTurnsEnd(t *testing.T) {
	turn := &turns{}
	if _, err := turn.wait(t.Context(), "a", time.Millisecond); !errors.Is(err, errNoTurn) {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turn.wait(gone, "a", time.Hour); !errors.Is(err, errNoTurn) || len(turn.lines) != 0 {
		t.Errorf("%v, %d lines", err, len(turn.lines))
	}
	go func() {
		for {
			turn.mu.Lock()
			waits := len(turn.lines) > 0
			turn.mu.Unlock()
			if waits {
				turn.end()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if waited, err := turn.wait(t.Context(), "a", time.Minute); err != nil || waited <= 0 {
		t.Errorf("after %v: %v", waited, err)
	}
}

// A large request takes a turn and ends it, whatever becomes of it; a small one,
// and one whose policy does not read what is large, needs none.
func TestLargeRequestsTakeTurns(t *testing.T) {
	if n := newTurns().free; n < 1 || n > max(1, runtime.GOMAXPROCS(0)/2) {
		t.Errorf("%d turns", n)
	}
	large := strings.Repeat("a", inlineBytes+1)
	for _, tt := range []struct {
		rego, body string
		allowed    bool
		reason     answers.Reason // while no turn is free
	}{
		{`decision if input.parsed_body.text != ""`, fmt.Sprintf(`{"text":%q}`, large), true, answers.Overloaded},
		{`decision if time.now_ns() > 0; decision if input.parsed_body.text != ""`, fmt.Sprintf(`{"text":%q}`, large), true, answers.Overloaded},
		{`decision if input.parsed_body.text != ""`, "{" + large, false, answers.Overloaded},
		{`decision if input.parsed_body.text != ""`, `{"text":"a"}`, true, answers.Allowed},
		{`decision if input.request.method == "POST"`, fmt.Sprintf(`{"text":%q}`, large), true, answers.Allowed},
	} {
		path := filepath.Join(t.TempDir(), "test.rego")
		if err := os.WriteFile(path, []byte("package test\n"+strings.ReplaceAll(tt.rego, "; ", "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := New(t.Context(), Config{Entrypoint: "test/decision", Paths: []string{path}, Timeout: 5 * time.Second, DecisionCache: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		in := &Input{TenantID: "acme", Method: "POST", Host: "acme.example", Body: Body{ContentType: "application/json", Bytes: []byte(tt.body)}}
		e.turns.free = 1
		for range 3 {
			if d := e.Decide(t.Context(), in); d.Allowed != tt.allowed || e.turns.free != 1 {
				t.Errorf("%s: %s (%v), %d free", tt.rego, d.Reason, d.Err, e.turns.free)
			}
		}
		e.turns.free = 0
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if d := e.Decide(ctx, in); d.Reason != tt.reason || d.Allowed != (tt.reason == answers.Allowed) || e.turns.free != 0 {
			t.Errorf("%s: %s (%v) without a turn, want %s", tt.rego, d.Reason, d.Err, tt.reason)
		}
		cancel()
	}
}
