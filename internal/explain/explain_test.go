package explain_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/explain"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// A policy that repeats the token wherever it can, and what steers terminals.
const repeating = `package gate

decision := {"allowed": true, "headers": {"x-copy": token}, "response_headers_to_add": {"x-back": token}} if {
	trace(token)
	trace("\u001b[2Jhidden")
	input.request.method == "GET"
	input.attributes.request.http.path != ""
} else := {"allowed": false, "body": token, "headers": {"x-copy": token}}

token := input.request.headers.authorization
`

func TestNoToken(t *testing.T) {
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"keys.json": string(issuer.JWKS()), "gate.rego": repeating} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := tenants.DefaultConfig()
	cfg.ID, cfg.JWKSFile = "acme", "keys.json"
	cfg.Issuer, cfg.Audience = tenants.StringList{"https://sso.acme.example"}, tenants.StringList{"app"}
	tenant, err := cfg.Build(dir, tenants.Shared{})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), policy.Config{Entrypoint: "gate/decision", Paths: []string{filepath.Join(dir, "gate.rego")}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	a, err := extauthz.NewAuthorizer(extauthz.Config{Tenants: tenants.NewSingle(tenant), Policy: engine})
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Mint(map[string]any{"sub": "user:alice", "aud": "app", "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	for method, allowed := range map[string]bool{"GET": true, "PUT": false} {
		m := &extauthz.Message{Method: method, Host: "acme.example", Target: "/posts", Headers: tenants.Headers{{Name: "authorization", Value: "Bearer " + token}}}
		m.Attributes = func() (any, error) { return explain.Attributes(m), nil }
		x := a.Explain(t.Context(), m)
		if x.Answer.Allowed != allowed {
			t.Fatalf("%s: %+v", method, x.Answer)
		}
		var text, machine strings.Builder
		if err := errors.Join(explain.Text{Out: &text, Trace: true}.Write(x), explain.JSON(&machine, x)); err != nil {
			t.Fatal(err)
		}
		for name, shown := range map[string]string{"text": text.String(), "JSON": machine.String()} {
			if strings.Contains(shown, token) {
				t.Errorf("%s %s shows the token:\n%s", method, name, shown)
			}
			if !strings.Contains(shown, "[token]") || strings.Contains(shown, "\x1b[2J") {
				t.Errorf("%s %s shows\n%s", method, name, shown)
			}
		}
	}
}

func TestAttributes(t *testing.T) {
	m := &extauthz.Message{
		Method: "POST", Host: "acme.example", Target: "/posts?a=b", Body: []byte("{}"),
		Headers:    tenants.Headers{{Name: "Accept", Value: "a"}, {Name: "accept", Value: "b"}, {Name: "cookie", Value: "c=1"}, {Name: "cookie", Value: "d=2"}},
		Extensions: tenants.Headers{{Name: "tenant", Value: "acme"}},
	}
	const want = "map[contextExtensions:map[tenant:acme] request:map[http:map[body:{} headers:map[accept:a,b cookie:c=1; d=2] host:acme.example method:POST path:/posts?a=b protocol:HTTP/1.1 scheme:https size:2]]]"
	if got := fmt.Sprint(explain.Attributes(m)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
