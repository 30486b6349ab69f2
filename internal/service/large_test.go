//go:build !race

package service_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
)

// large writes a configuration with 5,000 routes, 200 Rego files and 50 MB of
// data, and returns its file.
func large(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("tenants:\n  acme: {issuer: https://sso.acme.example, audience: app, jwks_url: https://sso.acme.example/jwks.json}\n")
	b.WriteString("policy: {paths: [policies/], entrypoint: gate/decision}\nroutes:\n")
	for i := range 5000 {
		method := []string{"GET", "POST", "PUT", "DELETE"}[i%4]
		fmt.Fprintf(&b, "  - match: %s /service%d/v%d/things%d/{id}/parts/{part}\n    scopes: [read:s%d]\n", method, i%50, i/200, i/4, i)
	}
	write("ussoauthz.yaml", b.String())
	for i := range 199 {
		b.Reset()
		fmt.Fprintf(&b, "package team.p%d\n\nimport data.usso\n\n", i)
		for j := range 20 {
			fmt.Fprintf(&b, "rule%d if {\n\tinput.request.segments[0] == \"service%d\"\n\tusso.has_scope(\"read:s%d\")\n\tdata.big.k%d[input.tenant.id].n > %d\n}\n\n", j, j, j, i, j)
		}
		write(fmt.Sprintf("policies/p%d.rego", i), b.String())
	}
	write("policies/gate.rego", "package gate\n\nimport data.usso.authz\n\ndecision := authz.decision if {\n\tsome team in data.team\n\tteam.rule1\n}\n")
	data := map[string]any{}
	for i := range 199 {
		items := map[string]any{}
		for j := range 1700 {
			items[fmt.Sprintf("tenant%d", j)] = map[string]any{"n": j, "name": strings.Repeat("x", 100), "tags": []string{"a", "b", "c"}}
		}
		data[fmt.Sprintf("k%d", i)] = items
	}
	text, err := json.Marshal(map[string]any{"big": data})
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < 50_000_000 {
		t.Fatalf("only %d bytes of data", len(text))
	}
	write("policies/data.json", string(text))
	return filepath.Join(dir, "ussoauthz.yaml")
}

// A large configuration loads in time. What is bounded is the processor's time:
// the clock's depends on who else is at work.
func TestLargeConfiguration(t *testing.T) {
	file := large(t)
	start, before := time.Now(), processorTime(t)
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	read := processorTime(t)
	snapshot, err := service.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	took := processorTime(t) - before
	t.Logf("%v of the processor (%v for the configuration), %v by the clock", took, read-before, time.Since(start))
	if limit := 20 * time.Second; took > limit {
		t.Errorf("it took %v of the processor, more than %v", took, limit)
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
