package tenants_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// A header is the token's by its whole name and its whole scheme.
func TestCredentialOfAnotherName(t *testing.T) {
	for _, test := range []struct {
		name   string
		header [2]string
	}{
		{"a beginning of the name", [2]string{"auth", "Bearer a.b.c"}},
		{"no name", [2]string{"", "Bearer a.b.c"}},
		{"another name of the same length", [2]string{"x-credentials", "Bearer a.b.c"}},
		{"another scheme of the same length", [2]string{"authorization", "Opaque a.b.c"}},
		{"another scheme, one letter apart", [2]string{"authorization", "Bearet a.b.c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			source := tenants.TokenSource{Header: "Authorization"}
			if got, err := source.Credential(headers([][2]string{test.header})); got != (tenants.Credential{}) || err != nil {
				t.Errorf("got %+v, %v; want no credential", got, err)
			}
		})
	}
	t.Run("a longer name", func(t *testing.T) {
		source := tenants.TokenSource{Header: "X-Token"}
		if got, err := source.Credential(headers([][2]string{{"x-token-of-another", "a.b.c"}})); got != (tenants.Credential{}) || err != nil {
			t.Errorf("got %+v, %v; want no credential", got, err)
		}
	})
}

func TestNameBytes(t *testing.T) {
	for _, name := range []string{"x\x7f", "x\x80", "x y", "x\x00", "x:", "x,"} {
		c := base()
		c.Header.Header = name
		expectFaults(t, c.Check(""), fault{"header.type", "is no header name"})
	}
	for _, name := range []string{"x!", "X-9", "~x", "x.y_z", "x|y"} {
		c := base()
		c.Header.Header = name
		expectFaults(t, c.Check(""))
	}
}

func TestHostOfAddressAndPort(t *testing.T) {
	for _, host := range []string{"[::1]443", "[::1]x", "[::1]:x", "[::1]:", "[::1]:65536", "[]", "[x]", "[127.0.0.1]", "[fe80::1%eth0]"} {
		if got, err := tenants.ParseHost(host); got != "" || err == nil {
			t.Errorf("ParseHost(%q) = %q, %v; want an error", host, got, err)
		}
	}
}

func TestHostPatternOfURL(t *testing.T) {
	for _, pattern := range []string{"https://api.acme.example", "api.acme.example/v1", "//api.acme.example", "*.acme.example/"} {
		c := base()
		c.Hosts = []string{pattern}
		expectFaults(t, c.Check(""), fault{"hosts[0]", "a URL is no host"})
	}
}

func TestTenantIDStart(t *testing.T) {
	for _, id := range []string{"_acme", "-acme"} {
		if _, err := tenants.NewDirectory(selection(), []*tenants.Tenant{{ID: id}}); err == nil || !strings.Contains(err.Error(), "is no tenant id") {
			t.Errorf("tenant %q: %v", id, err)
		}
	}
}

// A request without a Cookie header gets none, and one that is all token loses it.
func TestStripWithoutCookie(t *testing.T) {
	source := tenants.TokenSource{Cookie: "t"}
	for _, h := range [][][2]string{nil, {{"accept", "*/*"}}, {{"cookie", ""}}, {{"cookie", "t=a.b.c"}}} {
		if cookie, keep := source.Strip(headers(h)); cookie != "" || keep {
			t.Errorf("%v: got %q, %v", h, cookie, keep)
		}
	}
}

// The one tenant of a service without tenants keeps every request, whatever it
// names: also where its own name is among what the request says.
func TestSingleIgnoresHosts(t *testing.T) {
	only := &tenants.Tenant{ID: "default"}
	d := tenants.NewSingle(only)
	for _, host := range []string{"", "default", "api.acme.example"} {
		if got, err := d.Select(nil, headers([][2]string{{"x-tenant-id", "acme"}}), host); got != only || err != nil {
			t.Errorf("host %q: %v, %v", host, got, err)
		}
	}
}

func TestFaultText(t *testing.T) {
	if got := (tenants.Fault{Field: "key", Problem: "is empty"}).Error(); got != "key: is empty" {
		t.Error(got)
	}
	if got := (tenants.Fault{Problem: "no source of keys"}).Error(); got != "no source of keys" {
		t.Error(got)
	}
}

func TestBuildWithClosedFetcher(t *testing.T) {
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{Transport: noNetwork{}})
	fetcher.Close()
	c := base()
	tenant, err := c.Build("", tenants.Shared{Fetcher: fetcher})
	if tenant != nil || err == nil || !strings.Contains(err.Error(), "opening the key set") || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, %v", tenant, err)
	}
	var f tenants.Fault
	if errors.As(err, &f) {
		t.Errorf("%v blames the configuration", err)
	}
}
