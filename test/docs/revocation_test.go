package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/internal/testkit/redistest"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

const revocationPage = "revocation.md"

// pageBlock is the one block of the page in a language with a text.
func pageBlock(t *testing.T, lang, with string) string {
	t.Helper()
	var found []string
	for _, b := range blocks(t) {
		if b.file == revocationPage && b.lang == lang && strings.Contains(b.text, with) {
			found = append(found, b.text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d blocks of %s with %q", len(found), lang, with)
	}
	return found[0]
}

// TestRevocationPage follows a real Redis by the page's configuration, as a user
// who may do what the page says that a service and a writer need, and takes a
// revocation back by the page's commands.
func TestRevocationPage(t *testing.T) {
	server := redistest.Start(t)
	server.Do("acl", "setuser", "ussoauthz", "on", ">change-me", "resetkeys", "~ussoauthz:*", "resetchannels", "&ussoauthz:*", "-@all",
		"+client|setname", "+zscan", "+subscribe", "+ping", "+info", "+multi", "+exec", "+zadd", "+zremrangebyscore", "+publish")
	const url = "rediss://redis.example:6379/0"
	text := strings.Replace(pageBlock(t, "yaml", url), url, server.URL, 1) +
		"tenants:\n  acme: {hosts: [a.example], issuer: i, audience: a, jwks_url: \"https://a.example/jwks.json\"}\nroutes: [{match: /}]\n"
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "ussoauthz.yaml"), []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	list := revocation.Open(t.Context(), revocation.Config{Redis: cfg.Revocation.Redis})
	defer list.Close()
	revoked := func() bool {
		is, err := list.Revoked("acme", &jwtverify.Identity{ID: "6f1c2b", UserID: "u"})
		return is && err == nil
	}
	entry := revocation.Entry{Tenant: "acme", ID: "6f1c2b", Expires: time.Date(2126, 1, 31, 12, 0, 0, 0, time.UTC)}
	if err := cfg.Revocation.Redis.Write(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	eventually(t, "revoked", revoked)
	shown := map[string]string{"zscan": `"6f1c2b`, "zrem": "1", "publish": "1"} // of each command's output
	for line := range strings.Lines(pageBlock(t, "console", "redis-cli")) {
		command := strings.TrimPrefix(strings.TrimSpace(line), "$ redis-cli ")
		name, _, _ := strings.Cut(command, " ")
		out, err := exec.Command("sh", "-c", "redis-cli -s "+strings.TrimPrefix(server.URL, "unix://")+" "+command).CombinedOutput()
		if want, known := shown[name]; err != nil || !known || !strings.Contains(strings.ReplaceAll(string(out), `\"`, `"`), want) {
			t.Errorf("%s: %v: %s", command, err, out)
		}
		delete(shown, name)
	}
	if len(shown) > 0 {
		t.Errorf("not run: %v", shown)
	}
	eventually(t, "taken back", func() bool { return !revoked() })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) { // of a poll
		if time.Now().After(limit) {
			t.Fatalf("it is not %s", what)
		}
	}
}

// TestRevocationPagePolicy asks the page's policy, with its data where the page
// puts it, for tokens that the data names and for others.
func TestRevocationPagePolicy(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"revoking.rego": pageBlock(t, "rego", ""), "revoked/data.json": pageBlock(t, "json", "")} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e, err := policy.New(t.Context(), policy.Config{Entrypoint: "revoking/authz/decision", Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	before, after := time.Unix(1769860809, 0), time.Unix(1769860810, 0) // by a clock that is ahead by the leeway, and later
	for name, c := range map[string]struct {
		jti, session, sub string
		issued            time.Time // zero: the token does not say
		want              answers.Reason
	}{
		"another token":           {"6f1c2c", "s-43", "user:bob", before, answers.Allowed},
		"its jti":                 {"6f1c2b", "s-43", "user:bob", after, answers.TokenRevoked},
		"its session":             {"6f1c2c", "s-42", "user:bob", after, answers.TokenRevoked},
		"its subject, before":     {"6f1c2c", "s-43", "user:alice", before, answers.TokenRevoked},
		"its subject, afterwards": {"6f1c2c", "s-43", "user:alice", after, answers.Allowed},
		"its subject, some time":  {"6f1c2c", "s-43", "user:alice", time.Time{}, answers.TokenRevoked},
		"nothing in the token":    {"", "", "user:bob", time.Time{}, answers.Allowed},
	} {
		claims := map[string]any{"sub": c.sub}
		if c.jti != "" {
			claims["jti"], claims["session_id"] = c.jti, c.session
		}
		if !c.issued.IsZero() {
			claims["iat"] = json.Number(strconv.FormatInt(c.issued.Unix(), 10))
		}
		d := e.Decide(t.Context(), &policy.Input{
			TenantID: "acme", Method: "GET", Host: "a.example", Segments: []string{""}, Route: policy.NewRoute(policy.RouteFields{Match: "/"}),
			Identity: &jwtverify.Identity{ID: c.jti, SessionID: c.session, Subject: c.sub, UserID: c.sub, IssuedAt: c.issued, Expiry: after.Add(time.Hour), Claims: jwtverify.NewClaims(claims)},
		})
		if d.Reason != c.want {
			t.Errorf("%s: %s, want %s (%v)", name, d.Reason, c.want, d.Err)
		}
	}
}
