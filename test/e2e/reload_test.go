package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ussoio/ussoauthz/internal/stack"
	"github.com/ussoio/ussoauthz/internal/tour"
)

// A policy and a configuration are changed under a running service, behind a
// running Envoy; a broken one changes nothing.
func TestReloadBehindEnvoy(t *testing.T) {
	var dir string
	w := start(t, withPolicy(""), func(_ *world, c *stack.Config) { dir = c.Dir })
	replace := func(name, old, new string) {
		t.Helper()
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), old) {
			t.Fatalf("%s has no %q", name, old)
		}
		if err := os.WriteFile(path+".new", []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	reason := func(path string) string {
		return w.do(t, tour.Step{Host: "acme.example", Path: path, Token: alice}, 1).Reason()
	}
	if got := reason("/policy/denied"); got != "policy_denied" {
		t.Fatal(got)
	}
	replace("e2e.rego", `"detail": "Not today"`, `"reason": "not_today"`)
	eventually(t, func() bool { return reason("/policy/denied") == "not_today" })

	replace("e2e.rego", "default decision :=", "default decision := :=") // broken
	if err := w.AuthzProcess().Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		text, err := os.ReadFile(w.Log("ussoauthz.log"))
		return err == nil && strings.Contains(string(text), "the reload failed")
	})
	if got := reason("/policy/denied"); got != "not_today" {
		t.Errorf("a broken policy took effect: %s", got)
	}
	replace("e2e.rego", "default decision := :=", "default decision :=")

	replace("ussoauthz.yaml", "match: /policy/\n", "match: /elsewhere/\n")
	replace("e2e.rego", `if not startswith(input.request.path, "/policy/")`, `if true`)
	eventually(t, func() bool { return reason("/policy/nothing") == "no_route" })
}

// A new policy and the way back to the old one, under load: every request is
// answered, by one of the two, and after the way back by the old one alone.
func TestRollbackUnderLoad(t *testing.T) {
	var dir string
	w := start(t, withPolicy(""), func(_ *world, c *stack.Config) { dir = c.Dir })
	write := func(text string) {
		t.Helper()
		path := filepath.Join(dir, "e2e.rego")
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	token := w.token(t, alice)
	ask := func(path string) (int, string) {
		req, err := tour.Step{Host: "acme.example", Path: path, Token: alice}.Request(w.Edge, token, 1)
		if err != nil {
			return 0, err.Error()
		}
		a, err := tour.Do(w.client, req)
		if err != nil {
			return 0, err.Error()
		}
		return a.Status, a.Reason()
	}
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				status, body := ask("/me")
				refused, reason := ask("/policy/denied")
				if status != 200 || refused != 403 || reason != "policy_denied" && reason != "not_today" {
					t.Errorf("after %d: %d %s, and %d %s", served.Load(), status, body, refused, reason)
					return
				}
				served.Add(2)
			}
		})
	}
	settles := func(want string) {
		t.Helper()
		eventually(t, func() bool { _, reason := ask("/policy/denied"); return reason == want })
		for range 50 {
			if _, reason := ask("/policy/denied"); reason != want {
				t.Errorf("%s after it was %s", reason, want)
			}
		}
	}
	defer workers.Wait()
	defer stop()
	settles("policy_denied")
	for range 3 {
		write(strings.Replace(policyFile, `"detail": "Not today"`, `"reason": "not_today"`, 1))
		settles("not_today")
		write(policyFile)
		settles("policy_denied")
	}
	if served.Load() < 100 {
		t.Errorf("only %d requests were served", served.Load())
	}
}
