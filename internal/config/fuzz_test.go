package config_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/config"
)

// FuzzLoad: whatever a file holds, it gives a configuration or faults, never
// both and never a panic; no fault breaks its line, and their number is bounded.
func FuzzLoad(f *testing.F) {
	for _, path := range append(files(f, "testdata/bad/*.yaml"), files(f, "testdata/good/*.yaml")...) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("testdata/good/fuzz.yaml", data, lookup)
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v and error %v", c, err)
		}
		if err == nil {
			return
		}
		var faults config.Errors
		if !errors.As(err, &faults) || len(faults) == 0 || len(faults) > 1001 {
			t.Fatalf("%d faults, error %v", len(faults), err)
		}
		for _, fault := range faults {
			if text := fault.Error(); strings.ContainsAny(text, "\n\r\x00") || fault.Line < 1 {
				t.Fatalf("%q on line %d", text, fault.Line)
			}
		}
	})
}

// manyTenants is a file of n tenants, as a generator would write it.
func manyTenants(n int) []byte {
	var b strings.Builder
	b.WriteString("defaults: {leeway: 5s}\nroutes:\n  - match: GET /posts/{id}\n    scopes: [read:posts]\ntenants:\n")
	for i := range n {
		fmt.Fprintf(&b, `  t%[1]d:
    hosts: [a%[1]d.example, "*.b%[1]d.example"]
    jwks_url: https://sso%[1]d.example/.well-known/jwks.json
    issuer: https://sso%[1]d.example
    audience: my-app
    algorithms: [EdDSA, RS256]
    header: {type: Authorization, prefix: Bearer}
    tenant_ids: [t%[1]d]
`, i)
	}
	return []byte(b.String())
}

func BenchmarkTenants10000(b *testing.B) {
	data := manyTenants(10_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := config.Parse("f.yaml", data, lookup); err != nil {
			b.Fatal(err)
		}
	}
}
