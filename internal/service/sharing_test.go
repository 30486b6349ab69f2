package service_test

import (
	"testing"
)

// A tenant that takes any tenant_id stays shut for the tokens of another one with
// the same issuer.
func TestAnyTenantIDBesideAnother(t *testing.T) {
	r := startReloading(t)
	r.put(t, "ussoauthz.yaml", `listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
defaults: {issuer: "https://sso.example", audience: app, jwks_url: "`+r.server.JWKSURL()+`"}
tenants:
  acme: {hosts: [acme.example], tenant_ids: "*"}
  globex: {hosts: [globex.example]}
  initech: {hosts: [initech.example], tenant_ids: [org_1, org_2]}
routes: [{match: /}]
`)
	of := func(id string) string { return mint(t, r.issuer, map[string]any{"tenant_id": id}) }
	r.answersHost(t, "acme.example", of("somebody"), "allowed")
	for _, c := range []struct{ host, id, want string }{
		{"acme.example", "acme", "allowed"}, {"acme.example", "globex", "token_invalid"}, {"acme.example", "org_2", "token_invalid"}, {"acme.example", "initech", "allowed"},
		{"globex.example", "globex", "allowed"}, {"globex.example", "acme", "token_invalid"}, {"initech.example", "org_1", "allowed"}, {"initech.example", "somebody", "token_invalid"},
	} {
		if got, err := checkHost(t, r.conn, c.host, of(c.id)); err != nil || got != c.want {
			t.Errorf("a token of %s at %s: %s, %v; want %s", c.id, c.host, got, err, c.want)
		}
	}
}
