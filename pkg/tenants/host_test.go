package tenants_test

import (
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

type hostVector struct {
	Name, Host, Expect, Canonical string
}

func TestParseHost(t *testing.T) {
	for _, v := range vectors[hostVector](t, "hosts.json") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := tenants.ParseHost(v.Host)
			switch v.Expect {
			case "ok":
				if err != nil || got != v.Canonical || v.Canonical == "" {
					t.Errorf("ParseHost(%q) = %q, %v; want %q", v.Host, got, err, v.Canonical)
				}
			case "refused":
				if err == nil || got != "" {
					t.Errorf("ParseHost(%q) = %q, %v; want an error", v.Host, got, err)
				}
			default:
				t.Fatalf("unknown expectation %q", v.Expect)
			}
		})
	}
}

func TestParseHostLength(t *testing.T) {
	longest := strings.Repeat(strings.Repeat("a", 49)+".", 5) + "aaa" // 253 bytes
	if got, err := tenants.ParseHost(longest + ".:443"); err != nil || got != longest {
		t.Errorf("a host of %d bytes: %q, %v", len(longest), got, err)
	}
	if got, err := tenants.ParseHost(longest + "a"); err == nil {
		t.Errorf("a host of 254 bytes is accepted as %q", got)
	}
}

func TestParseHostAllocations(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		if _, err := tenants.ParseHost("api.acme.example:8443"); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseHost(f *testing.F) {
	for _, v := range vectors[hostVector](f, "hosts.json") {
		f.Add(v.Host)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, err := tenants.ParseHost(s)
		if err != nil {
			if host != "" {
				t.Fatalf("ParseHost(%q) = %q with error %v", s, host, err)
			}
			return
		}
		if again, err := tenants.ParseHost(host); err != nil || again != host {
			t.Errorf("%q: canonical %q is not: %q, %v", s, host, again, err)
		}
		if host == "" || len(host) > 253 || strings.ContainsAny(host, ",@/ \t\r\n\x00%*") || host != strings.ToLower(host) {
			t.Errorf("ParseHost(%q) = %q", s, host)
		}
		if strings.Contains(host, ":") && host[0] != '[' {
			t.Errorf("ParseHost(%q) = %q: a port", s, host)
		}
	})
}
