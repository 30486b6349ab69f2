package service_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// moveTo writes a configuration whose tenant has its keys at a URL.
func (r *reloading) moveTo(t *testing.T, id, issuer, url, more string) {
	t.Helper()
	before := r.state(t).Generation
	r.put(t, "ussoauthz.yaml", fmt.Sprintf(`listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
tenants:
  %s: {hosts: [acme.example], issuer: %s, audience: app, tenant_ids: "*", jwks_url: %q, jwks_cache: {ttl: 1s} %s}
routes: [{match: /}]
`, id, issuer, url, more))
	r.reloaded(t, func(s reloadState) bool { return s.Generation > before })
}

// A reload that names a key server which is down does not sign the tenant's users
// out, and its first answer ends the old keys, those of tokens in the cache too.
func TestOldKeysServeUntilTheNewSourceAnswers(t *testing.T) {
	r := startReloading(t)
	other := newIssuer(t)
	if err := other.Rotate(false); err != nil { // its kids are not those of the first
		t.Fatal(err)
	}
	fresh := jwttest.NewServer(other)
	defer fresh.Close()
	fresh.SetDown(true)
	r.moveTo(t, "acme", "https://sso.example", fresh.JWKSURL(), "")
	for range 3 {
		if got, err := check(t, r.conn, r.token); err != nil || got != "allowed" {
			t.Fatalf("while the new source is down: %s, %v\n%s", got, err, r.log)
		}
	}
	later := mint(t, other, nil)
	if got, err := check(t, r.conn, later); err != nil || got != "keys_unavailable" {
		t.Errorf("a token of the new keys: %s, %v", got, err)
	}
	if _, page := get(t, "http://"+r.AdminAddress().String()+"/readyz?verbose"); !strings.Contains(page, `"old_keys": 1`) || !strings.Contains(page, `"old_keys_until"`) {
		t.Errorf("nothing tells of the old keys:\n%s", page)
	}
	// Another reload, of something else, neither ends nor prolongs them.
	r.moveTo(t, "acme", "https://sso.example", fresh.JWKSURL(), ", leeway: 5s")
	if got, err := check(t, r.conn, r.token); err != nil || got != "allowed" {
		t.Errorf("after another reload: %s, %v", got, err)
	}
	fresh.SetDown(false)
	r.answersHost(t, "acme.example", later, "allowed")
	r.answers(t, "token_invalid")
	fresh.SetDown(true)
	r.moveTo(t, "acme", "https://sso.example", fresh.JWKSURL()+"?2", "")
	if got, err := check(t, r.conn, r.token); err != nil || got != "keys_unavailable" {
		t.Errorf("the first keys after two moves: %s, %v", got, err)
	}
	if got, err := check(t, r.conn, later); err != nil || got != "allowed" {
		t.Errorf("the second keys after two moves: %s, %v", got, err)
	}
}

// Only the same tenant with the same issuer has its old keys, and only where the
// configuration does not switch that off.
func TestOldKeysAreOfTheSameTenantAndIssuer(t *testing.T) {
	for name, c := range map[string]struct{ id, issuer, more, want string }{
		"the same":            {"acme", "https://sso.example", "", "allowed"},
		"switched off":        {"acme", "https://sso.example", ", jwks_keep_old: false", "keys_unavailable"},
		"another tenant":      {"globex", "https://sso.example", "", "keys_unavailable"},
		"one more issuer":     {"acme", `[https://sso.example, https://sso2.example]`, "", "keys_unavailable"},
		"issuer not verified": {"acme", "https://sso.example", ", verify_iss: false", "keys_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startReloading(t)
			down := jwttest.NewServer(r.issuer)
			defer down.Close()
			down.SetDown(true)
			r.moveTo(t, c.id, c.issuer, down.JWKSURL(), c.more)
			if got, err := check(t, r.conn, r.token); err != nil || got != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}

// Keys that a file held serve as well, and those of the new source at once where
// it answers.
func TestOldKeysOfAFileServe(t *testing.T) {
	r := startReloading(t)
	r.put(t, "keys.json", string(bytes.TrimSpace(r.issuer.JWKS())))
	file := `listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
tenants: {acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, tenant_ids: "*", jwks_file: keys.json}}
routes: [{match: /}]
`
	before := r.state(t).Generation
	r.put(t, "ussoauthz.yaml", file)
	r.reloaded(t, func(s reloadState) bool { return s.Generation > before })
	r.server.SetHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	r.moveTo(t, "acme", "https://sso.example", r.server.JWKSURL(), "")
	start := time.Now()
	if got, err := check(t, r.conn, r.token); err != nil || got != "allowed" {
		t.Errorf("%s, %v after %v", got, err, time.Since(start))
	}
}
