package service_test

import (
	"strconv"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// Forged tokens come first after each rotation. The tokens of the new key pass
// while there are lookups left, and are told when to come again afterwards; none
// of them is ever called invalid.
func TestRotationBesideForgedTokens(t *testing.T) {
	r := startReloading(t)
	r.answers(t, "allowed")
	before := r.server.Fetches()
	forged := func(kid string) string {
		t.Helper()
		token, err := r.issuer.Mint(map[string]any{"iss": "https://sso.example", "aud": "app"}, jwttest.WithKeyID(kid))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	rotated := func() string {
		t.Helper()
		if err := r.issuer.Rotate(true); err != nil {
			t.Fatal(err)
		}
		return mint(t, r.issuer, nil)
	}
	late := ""
	for _, c := range []struct {
		name, want string
		token      func() string
	}{
		{"the first forged token", "token_invalid", func() string { return forged("x") }},
		{"a token of a new key", "allowed", rotated},
		{"the same forged token", "token_invalid", func() string { return forged("x") }},
		{"another forged token", "token_invalid", func() string { return forged("y") }},
		{"a token of a newer key, when no lookup is left", "keys_unavailable", func() string { late = rotated(); return late }},
		{"a forged token, when no lookup is left", "keys_unavailable", func() string { return forged("z") }},
		{"a forged token that was looked for", "token_invalid", func() string { return forged("y") }},
		{"an old token", "allowed", func() string { return r.token }},
	} {
		if got, err := check(t, r.conn, c.token()); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
	if n := r.server.Fetches() - before; n != 3 {
		t.Errorf("%d lookups, want 3", n)
	}
	response, err := respond(t, r.conn, "acme.example", late)
	if err != nil {
		t.Fatal(err)
	}
	after := ""
	for _, h := range response.GetDeniedResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "retry-after" {
			after = h.GetHeader().GetValue()
		}
	}
	if seconds, err := strconv.Atoi(after); err != nil || seconds < 1 || seconds > 30 {
		t.Errorf("Retry-After is %q", after)
	}
}
