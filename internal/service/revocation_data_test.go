package service_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

const revokingPolicy = `package revoking.authz

decision := {"allowed": false, "reason": "token_revoked"} if {
	data.revoked.jti[input.identity.claims.jti]
} else := true
`

// Tokens that a policy's data revokes are refused as soon as the data is in
// force, be it a file or a bundle, although their decisions were kept.
func TestRevocationByData(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *reloading) (set func(ids ...string)){
		"files": byFiles, "bundle": byBundle,
	} {
		t.Run(name, func(t *testing.T) {
			r := startReloading(t)
			set := begin(t, r)
			one, two := mint(t, r.issuer, map[string]any{"jti": "one"}), mint(t, r.issuer, map[string]any{"jti": "two"})
			is := func(token, want string) {
				t.Helper()
				r.token = token
				r.becomes(t, want)
			}
			is(one, "token_revoked") // this policy is in force
			set()
			is(one, "allowed")
			is(two, "allowed")
			before := r.hits(t)
			is(one, "allowed")
			is(two, "allowed")
			if hits := r.hits(t) - before; hits != 2 {
				t.Fatalf("%d decisions are kept", hits)
			}
			set("two")
			is(two, "token_revoked")
			is(two, "token_revoked")
			is(one, "allowed")
			response, err := respond(t, r.conn, "acme.example", two)
			if status := response.GetDeniedResponse().GetStatus().GetCode(); err != nil || status != http.StatusUnauthorized {
				t.Errorf("%v %v", status, err)
			}
			set()
			is(two, "allowed")
		})
	}
}

// hits counts the decisions that were there.
func (r *reloading) hits(t *testing.T) (n int) {
	t.Helper()
	_, text := ask(t, r.running, "GET", "/metrics", "", nil)
	const name = `ussoauthz_decision_cache_lookups_total{result="hit"} `
	if _, line, found := strings.Cut(text, name); !found {
		t.Fatal("there is no " + name)
	} else if _, err := fmt.Sscan(line, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// byFiles begins with "one".
func byFiles(t *testing.T, r *reloading) func(ids ...string) {
	t.Helper()
	dir := filepath.Join(r.dir, "policies", "revoked")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "policies", "revoking.rego"), []byte(revokingPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	set := func(ids ...string) {
		if err := os.WriteFile(filepath.Join(dir, "data.json"), []byte(`{"jti": {`+revokedJSON(ids)+`}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("one")
	r.configure(t, "routes: [{match: /}]\npolicy: {entrypoint: revoking/authz/decision, paths: [policies/]}")
	return set
}

func revokedJSON(ids []string) string {
	for i := range ids {
		ids[i] = fmt.Sprintf("%q: true", ids[i])
	}
	return strings.Join(ids, ", ")
}

func byBundle(t *testing.T, r *reloading) func(ids ...string) {
	t.Helper()
	s := newStand(t)
	revision := 0
	set := func(ids ...string) {
		jtis := map[string]any{}
		for _, id := range ids {
			jtis[id] = true
		}
		revision++
		roots := []string{"revoking", "revoked"}
		var out bytes.Buffer
		if err := bundle.NewWriter(&out).Write(bundle.Bundle{
			Manifest: bundle.Manifest{Revision: fmt.Sprint(revision), Roots: &roots},
			Data:     map[string]any{"revoked": map[string]any{"jti": jtis}},
			Modules:  []bundle.ModuleFile{{URL: "p.rego", Path: "p.rego", Raw: []byte(revokingPolicy), Parsed: ast.MustParseModule(revokingPolicy)}},
		}); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.raw, s.etag = out.Bytes(), fmt.Sprint(revision)
	}
	set("one")
	r.configure(t, "routes: [{match: /}]\n"+strings.Replace(s.section(""), "policy:\n", "policy:\n  entrypoint: revoking/authz/decision\n", 1))
	return set
}
