package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
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
