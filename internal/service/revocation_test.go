package service_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/revocation"
)

// A token that is verified and kept is refused within a second of its
// revocation, and so is everything while nobody knows, where that is asked for.
func TestRevocationFile(t *testing.T) {
	issuer, path := newIssuer(t), filepath.Join(t.TempDir(), "revoked.jsonl")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, parse(t, issuer, "revocation: {file: "+path+", on_unavailable: deny}"))
	conn := dial(t, s.Address(), insecure.NewCredentials())
	token := mint(t, issuer, map[string]any{"jti": "t1"})
	other := mint(t, issuer, map[string]any{"jti": "t2"})
	answer := func(token string) string {
		reason, err := check(t, conn, token)
		if err != nil {
			t.Fatal(err)
		}
		return reason
	}
	for range 2 { // the second time from the cache
		if got := answer(token); got != "allowed" {
			t.Fatalf("it is %s before", got)
		}
	}
	if err := revocation.Append(path, revocation.Entry{Tenant: "acme", ID: "t1", Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	written := time.Now()
	eventually(t, func() bool { return answer(token) == "token_revoked" }, func() string { return "it is not revoked" })
	if took := time.Since(written); took > time.Second {
		t.Errorf("revoked after %v", took)
	}
	if got := answer(other); got != "allowed" {
		t.Errorf("another token is %s", got)
	}
	response, err := respond(t, conn, "acme.example", token)
	if status := response.GetDeniedResponse().GetStatus().GetCode(); err != nil || status != 401 {
		t.Errorf("%v %v", status, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return answer(other) == "keys_unavailable" }, func() string { return "it is not denied" })
	if got := answer(token); got != "token_revoked" {
		t.Errorf("what is known is %s", got)
	}
}

// A reload takes a changed section, and gives it up where it is gone.
func TestRevocationReload(t *testing.T) {
	r := startReloading(t)
	line := `{"tenant":"acme","before":"2100-01-01T00:00:00Z"}`
	if err := os.WriteFile(filepath.Join(r.dir, "revoked.jsonl"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	r.configure(t, "routes: [{match: /}]\nrevocation: {file: revoked.jsonl}")
	r.becomes(t, "token_revoked")
	r.configure(t, "routes: [{match: /}]")
	r.becomes(t, "allowed")
}

// becomes waits for an answer that a reload brings.
func (r *reloading) becomes(t *testing.T, want string) {
	t.Helper()
	eventually(t, func() bool {
		reason, err := check(t, r.conn, r.token)
		return err == nil && reason == want
	}, func() string { return "it is not " + want + ":\n" + r.log.String() })
}

// An issuer whose clock is ahead, within the leeway, must not make tokens that a
// revocation of their subject does not reach.
func TestRevocationOfTokensFromAhead(t *testing.T) {
	issuer, path := newIssuer(t), filepath.Join(t.TempDir(), "revoked.jsonl")
	now := time.Now()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := revocation.Append(path, revocation.Entry{Tenant: "acme", Subject: "user:alice", Before: now}); err != nil {
		t.Fatal(err)
	}
	s := start(t, parse(t, issuer, "revocation: {file: "+path+"}\ndefaults: {leeway: 60s}"))
	conn := dial(t, s.Address(), insecure.NewCredentials())
	for name, c := range map[string]struct {
		ahead time.Duration
		want  string
	}{"by half the leeway": {30 * time.Second, "token_revoked"}, "long before": {-time.Hour, "token_revoked"}, "beyond the leeway": {time.Hour, "token_invalid"}} {
		token := mint(t, issuer, map[string]any{"sub": "user:alice", "iat": now.Add(c.ahead).Unix(), "exp": now.Add(2 * time.Hour).Unix()})
		for range 2 { // the second time from the cache
			if got, err := check(t, conn, token); err != nil || got != c.want {
				t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
			}
		}
		other := mint(t, issuer, map[string]any{"sub": "user:bob", "iat": now.Add(min(c.ahead, 30*time.Second)).Unix(), "exp": now.Add(2 * time.Hour).Unix()})
		if got, err := check(t, conn, other); err != nil || got != "allowed" {
			t.Errorf("%s, of another subject: %s, %v", name, got, err)
		}
	}
}
