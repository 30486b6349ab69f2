package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

const file = `
defaults: {audience: posts}
tenants:
  acme:
    issuer: https://sso.acme.example
    jwks_url: http://127.0.0.1:8000/acme/.well-known/jwks.json
  globex:
    issuer: https://sso.globex.example
    key: 0123456789abcdef0123456789abcdef
    type: HS256
routes: [{match: /}]
`

func writeConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ussoauthz.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a serving command until the test ends, and returns the address
// that it prints.
func start(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	var stdout bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, args, &stdout, write)
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	address := ""
	for address == "" && lines.Scan() {
		_, address, _ = strings.Cut(lines.Text(), "listening on ")
	}
	if address == "" {
		t.Fatalf("%v ended with code %d before it listened", args, <-code)
	}
	t.Cleanup(func() {
		cancel()
		_, _ = io.Copy(io.Discard, read)
		if got := <-code; got != cli.ExitOK || stdout.Len() > 0 {
			t.Errorf("%v ended with code %d and %q on stdout", args, got, &stdout)
		}
	})
	return "http://" + address
}

func get(t *testing.T, url string, headers ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

// mint runs the token command; what it prints is the token alone.
func mint(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"token"}, args...), &stdout, &stderr); code != cli.ExitOK {
		t.Fatalf("token %v: code %d: %s", args, code, &stderr)
	}
	token, rest, _ := strings.Cut(stdout.String(), "\n")
	if rest != "" || strings.Count(token, ".") != 2 || stderr.Len() > 0 {
		t.Fatalf("token %v printed %q and %q", args, &stdout, &stderr)
	}
	return token
}

// TestIssuerAndToken: what one process mints verifies by the keys that the
// other publishes.
func TestIssuerAndToken(t *testing.T) {
	path := writeConfig(t)
	first := mint(t, "-c", path, "--tenant", "acme", "--sub", "user:1", "--scope", "read:posts", "--scope", "write:posts",
		"--role", "admin", "--workspace", "ws_1", "--claim", "company_id=c1", "--claim", "seats=12345678901234567890")
	base := start(t, "issuer", "-c", path, "--listen", "127.0.0.1:0")
	expired := mint(t, "-c", path, "--tenant", "acme", "--sub", "user:1", "--expires", "-1h", "--alg", "ES256")

	keys, problems, err := jwtverify.ParseKeySet([]byte(get(t, base+"/acme/.well-known/jwks.json")))
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := jwtverify.New(jwtverify.Config{Keys: set, Issuers: []string{"https://sso.acme.example"}, Audiences: []string{"posts"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := verifier.Verify(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{id.Subject, id.TenantID, id.WorkspaceID, strings.Join(id.Roles, ","), strings.Join(id.Scopes, " ")}
	if want := "user:1|acme|ws_1|admin|read:posts write:posts"; strings.Join(got, "|") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if time.Until(id.Expiry) > time.Hour || time.Until(id.Expiry) < 50*time.Minute {
		t.Errorf("expires at %v, want in an hour", id.Expiry)
	}
	if id.Claims.Get("company_id") != "c1" || jsonText(id.Claims.Get("seats")) != "12345678901234567890" {
		t.Errorf("claims %v", id.Claims.Map())
	}
	if _, err := verifier.Verify(t.Context(), expired); err == nil || !strings.Contains(err.Error(), jwtverify.ErrExpired.Error()) {
		t.Errorf("--expires -1h: %v, want %v", err, jwtverify.ErrExpired)
	}
}

func jsonText(value any) string {
	number, ok := value.(interface{ String() string })
	if !ok {
		return ""
	}
	return number.String()
}

func TestTokenOfASecret(t *testing.T) {
	path := writeConfig(t)
	token := mint(t, "-c", path, "--tenant", "globex", "--sub", "user:1")
	key, err := jwtverify.NewSecretKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwtverify.NewStaticKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := jwtverify.New(jwtverify.Config{
		Keys: set, Algorithms: []jwtverify.Algorithm{jwtverify.HS256},
		Issuers: []string{"https://sso.globex.example"}, Audiences: []string{"posts"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), ".ussodev")); err == nil {
		t.Error("a secret made a folder of keys")
	}
}

func TestUpstream(t *testing.T) {
	base := start(t, "upstream", "--listen", "127.0.0.1:0", "--claim", "x-company-id=company_id")
	if got, want := get(t, base+"/"), `{"message":"Welcome to My API"}`; got != want {
		t.Errorf("GET /: %s, want %s", got, want)
	}
	got := get(t, base+"/me", "X-User-Id: user:1", "X-Company-Id: c%201")
	want := `{"claims":{"company_id":"c 1"},"roles":[],"scopes":[],"tenant":"","user_id":"user:1","workspace":""}`
	if got != want {
		t.Errorf("GET /me: %s, want %s", got, want)
	}
}

func TestExitCodes(t *testing.T) {
	path := writeConfig(t)
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("tenants: {acme: {jwks: x}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	app := start(t, "upstream", "--listen", "127.0.0.1:0")
	token := func(more ...string) []string {
		return append([]string{"token", "-c", path, "--tenant", "acme", "--sub", "u"}, more...)
	}
	tests := []struct {
		args []string
		code int
		out  string // part of stdout
		err  string // part of stderr
	}{
		{nil, cli.ExitOK, "Examples:", ""},
		{[]string{"--help"}, cli.ExitOK, "ussodev token -c ussoauthz.yaml", ""},
		{[]string{"token", "--help"}, cli.ExitOK, "--expires -1h", ""},
		{[]string{"issuer", "--help"}, cli.ExitOK, "curl -H", ""},
		{[]string{"upstream", "--help"}, cli.ExitOK, "/echo", ""},
		{[]string{"frobnicate"}, cli.ExitUsage, "", "frobnicate"},
		{[]string{"token"}, cli.ExitUsage, "", `required flag(s) "config", "tenant", "sub" not set`},
		{token("--alg", "none"), cli.ExitUsage, "", "unknown algorithm"},
		{token("--expires", "soon"), cli.ExitUsage, "", "--expires"},
		{token("--expires", "0s"), cli.ExitUsage, "", "--expires is 0"},
		{token("--claim", "x"), cli.ExitUsage, "", "NAME=VALUE"},
		{token("--alg", "HS256"), cli.ExitFault, "", "not HS256"},
		{[]string{"token", "-c", path, "--tenant", "acm", "--sub", "u"}, cli.ExitFault, "", "it has acme, globex"},
		{[]string{"token", "-c", path + ".none", "--tenant", "acme", "--sub", "u"}, cli.ExitFault, "", "ussoauthz.yaml.none"},
		{[]string{"issuer", "-c", broken}, cli.ExitFault, "", "broken.yaml:1"},
		{[]string{"issuer", "-c", path, "--tenant", "globex"}, cli.ExitFault, "", "nothing to serve"},
		{[]string{"issuer", "-c", path, "--listen", "127.0.0.1:99999"}, cli.ExitFault, "", "99999"},
		{[]string{"upstream", "--listen", "nowhere"}, cli.ExitFault, "", "nowhere"},
		{[]string{"health", app + "/health"}, cli.ExitOK, "200 OK", ""},
		{[]string{"health", app + "/nothing"}, cli.ExitFault, "", "/nothing answers 404 Not Found"},
		{[]string{"health", ":"}, cli.ExitFault, "", "missing protocol scheme"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), test.args, &stdout, &stderr)
			if code != test.code || !strings.Contains(stdout.String(), test.out) || !strings.Contains(stderr.String(), test.err) {
				t.Errorf("code %d, want %d\nstdout %s\nstderr %s\nwant %q, %q", code, test.code, &stdout, &stderr, test.out, test.err)
			}
		})
	}
}

// TestDemoConfigLoads: the tools and the demo agree on the file.
func TestDemoConfigLoads(t *testing.T) {
	cfg, err := config.Load("../../demo/ussoauthz.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := selectTenants(cfg, []string{"globex", "acme"}); err != nil || len(list) != 2 || list[0].ID != "globex" {
		t.Errorf("got %v, %v", list, err)
	}
}
