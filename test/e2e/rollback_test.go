package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

// load asks the same questions over and over, by four workers at once, and has
// every answer judged.
type load struct {
	w      *world
	steps  []tour.Step
	tokens []string
	served atomic.Int64
	failed atomic.Bool
	stop   func()
}

// underLoad begins; it ends with the test, or by stop. A token that is "" is
// minted as its step says.
func underLoad(t *testing.T, w *world, steps []tour.Step, tokens []string, judge func(i int, a tour.Answer) error) *load {
	t.Helper()
	l := &load{w: w, steps: steps, tokens: tokens}
	for i := range steps {
		steps[i].Headers = append(steps[i].Headers[:len(steps[i].Headers):len(steps[i].Headers)], [2]string{"X-Echo", "1"}) // changes nothing there
		if tokens[i] == "" {
			tokens[i] = w.token(t, steps[i].Token)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := worker; ctx.Err() == nil; i++ {
				a, err := l.ask(i % len(steps))
				if err == nil {
					err = judge(i%len(steps), a)
				}
				if err != nil {
					l.failed.Store(true)
					t.Errorf("after %d answers: %s %s %s: %v", l.served.Load(), steps[i%len(steps)].Title, steps[i%len(steps)].Host, steps[i%len(steps)].Path, err)
					return
				}
				l.served.Add(1)
			}
		})
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		workers.Wait()
	})
	t.Cleanup(l.stop)
	return l
}

// numbers tell one request's arrival from another's.
var numbers atomic.Int64

func (l *load) ask(i int) (tour.Answer, error) {
	n := int(numbers.Add(1))
	req, err := l.steps[i].Request(l.w.Edge, l.tokens[i], n)
	if err != nil {
		return tour.Answer{}, err
	}
	a, err := tour.Do(l.w.client, req)
	a.Seen = l.w.recorder.Take(n)
	return a, err
}

// more waits for so many more answers.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	n += l.served.Load()
	eventually(t, func() bool { return l.served.Load() >= n || l.failed.Load() })
}

// outcome is an answer in words: who reached the application, or why nobody did.
func outcome(a tour.Answer) string {
	if a.Status == http.StatusOK {
		return fmt.Sprintf("%q of %q", a.Seen.Get("X-User-Id"), a.Seen.Get("X-Tenant-Id"))
	}
	return fmt.Sprint(a.Status, " ", a.Reason())
}

// change is a question, and its outcomes before and after something changed.
type change struct {
	step          tour.Step
	before, after string
	token         string // "": as the step says
}

// rollback goes there and back three times under load: every question is
// answered as before or as after, and once it settled only so.
func rollback(t *testing.T, w *world, changes []change, change func(back bool) error) {
	t.Helper()
	var steps []tour.Step
	var tokens []string
	for _, c := range changes {
		steps, tokens = append(steps, c.step), append(tokens, c.token)
	}
	l := underLoad(t, w, steps, tokens, func(i int, a tour.Answer) error {
		if got := outcome(a); got != changes[i].before && got != changes[i].after {
			return fmt.Errorf("%s, want %s or %s", got, changes[i].before, changes[i].after)
		}
		return nil
	})
	settled := func(i int, back bool) bool {
		a, err := l.ask(i)
		want := changes[i].after
		if back {
			want = changes[i].before
		}
		return err == nil && outcome(a) == want
	}
	settles := func(back bool) {
		t.Helper()
		for i := range changes {
			eventually(t, func() bool { return settled(i, back) })
		}
		for range 20 {
			for i := range changes {
				if !settled(i, back) {
					t.Errorf("%s %s: not what it had been already, back: %t", steps[i].Host, steps[i].Path, back)
				}
			}
		}
	}
	settles(true)
	for range 3 {
		for _, back := range []bool{false, true} {
			if err := change(back); err != nil {
				t.Fatal(err)
			}
			settles(back)
		}
	}
	l.more(t, 100)
	l.stop()
	t.Logf("%d answers", l.served.Load())
}

const me = `"user:alice" of "acme"`

// A new policy and the way back to the old one.
func TestRollbackUnderLoad(t *testing.T) {
	var dir string
	w := start(t, withPolicy(""), func(_ *world, c *stack.Config) { dir = c.Dir })
	ask := func(path string) tour.Step { return tour.Step{Host: "acme.example", Path: path, Token: alice} }
	rollback(t, w, []change{
		{ask("/me"), me, me, ""},
		{ask("/policy/denied"), "403 policy_denied", "403 not_today", ""},
	}, func(back bool) error {
		text := strings.Replace(policyFile, `"detail": "Not today"`, `"reason": "not_today"`, 1)
		if back {
			text = policyFile
		}
		return replaceFile(filepath.Join(dir, "e2e.rego"), []byte(text))
	})
}

// A new configuration and the way back to the old one: a host becomes another
// tenant's, with the same issuer, tenants get hosts, and routes come, go and
// change. What both agree on never changes.
func TestConfigurationRollbackUnderLoad(t *testing.T) {
	var path, old string
	w := start(t, withPolicy(""), func(_ *world, c *stack.Config) {
		path = c.File
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		old = string(text)
	})
	renewed := old
	for from, to := range map[string]string{
		"\n  globex:\n":          "\n  umbrella:\n",
		"hosts: [acme.example, ": "hosts: [acme.example, new.example, ",
		"match: \"GET /posts\"\n    scopes: [read:posts]": "match: \"GET /posts\"\n    scopes: [list:posts]",
		"match: \"GET /admin/users\"\n    roles: [admin]": "match: \"GET /people\"",
	} {
		if !strings.Contains(renewed, from) {
			t.Fatalf("the configuration has no %q", from)
		}
		renewed = strings.Replace(renewed, from, to, 1)
	}
	gwen := &tour.Token{Tenant: "globex", Subject: "user:gwen"}
	umbrella := w.mint(t, "globex", tour.Token{Tenant: "umbrella", Subject: "user:gwen"}.Claims("https://sso.globex.example", "posts", time.Now()))
	rollback(t, w, []change{
		{tour.Step{Host: "acme.example", Path: "/me", Token: alice}, me, me, ""},
		{tour.Step{Host: "acme.example", Path: "/"}, `"" of ""`, `"" of ""`, ""},
		{tour.Step{Host: "acme.example", Path: "/me"}, "401 token_not_found", "401 token_not_found", ""},
		{tour.Step{Host: "initech.example", Path: "/me", Token: &tour.Token{Tenant: "initech", Subject: "a"}}, "503 keys_unavailable", "503 keys_unavailable", ""},
		{tour.Step{Host: "new.example", Path: "/me", Token: alice}, "400 invalid_tenant", me, ""},
		{tour.Step{Host: "globex.example", Path: "/me", Token: gwen}, `"user:gwen" of "globex"`, "401 token_invalid", ""},
		{tour.Step{Host: "globex.example", Path: "/me", Token: gwen}, "401 token_invalid", `"user:gwen" of "umbrella"`, umbrella},
		{tour.Step{Host: "acme.example", Path: "/posts", Token: alice}, me, "403 insufficient_scope", ""},
		{tour.Step{Host: "acme.example", Path: "/people", Token: alice}, "403 no_route", me, ""},
		{tour.Step{Host: "acme.example", Path: "/admin/users", Token: alice}, "403 insufficient_role", "403 no_route", ""},
	}, func(back bool) error {
		text := renewed
		if back {
			text = old
		}
		return replaceFile(path, []byte(text))
	})
}

// Another version of the service and the way back to the old one, behind an
// Envoy that knows both replicas: each drains while Envoy already asks the
// other, and no request is lost or answered in another way.
func TestUpgradeUnderLoad(t *testing.T) {
	dir := t.TempDir()
	versions := map[string]string{}
	for _, v := range []string{"v1", "v2"} {
		versions[v] = filepath.Join(dir, "ussoauthz-"+v)
		if out, err := buildService(versions[v], v); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := exec.Command(versions[v], "version").CombinedOutput(); err != nil || !strings.Contains(string(out), v) {
			t.Fatalf("%s %v", out, err)
		}
	}
	install := func(replica, v string) {
		t.Helper()
		link := filepath.Join(dir, replica)
		if err := errors.Join(os.Symlink(versions[v], link+".new"), os.Rename(link+".new", link)); err != nil {
			t.Fatal(err)
		}
	}
	runs := func(replica *world, v string) {
		t.Helper()
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", replica.AuthzProcess().PID()))
		if err != nil || program != versions[v] {
			t.Errorf("%s runs, want %s: %v", program, versions[v], err)
		}
	}
	replica := func(name string, change ...func(*world, *stack.Config)) *world {
		install(name, "v1")
		return start(t, append(change, func(w *world, c *stack.Config) { w.drains, c.Ussoauthz = true, filepath.Join(dir, name) })...)
	}
	one := replica("one")
	two := replica("two", func(w *world, c *stack.Config) {
		w.issuers, w.servers = one.issuers, one.servers
		c.Env = []string{"ACME_SSO=" + w.servers["acme"].URL(), "GLOBEX_SSO=" + w.servers["globex"].URL(), "INITECH_SSO=" + w.servers["initech"].URL()}
		c.Edit = addEndpoint(one.Authz)
	})
	steps := tour.Steps()
	for i := range steps {
		if steps[i].Reason == "" {
			steps[i].Status = http.StatusOK // an echo, whatever was asked
		}
	}
	l := underLoad(t, two, steps, make([]string, len(steps)), func(i int, a tour.Answer) error { return steps[i].Check(a) })
	l.more(t, 200)
	for _, v := range []string{"v2", "v1"} {
		for name, w := range map[string]*world{"one": one, "two": two} {
			install(name, v)
			if err := w.AuthzProcess().Stop(30 * time.Second); err != nil { // SIGTERM: drains, then ends
				t.Errorf("the drained service: %v", err)
			}
			l.more(t, 100)
			if err := w.StartAuthz(t.Context()); err != nil {
				t.Fatal(err)
			}
			runs(w, v)
			l.more(t, 200)
		}
	}
	l.stop()
	t.Logf("%d answers while both replicas were replaced twice", l.served.Load())
}
