package service_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/decisionlog"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// observed is a service of a configuration with more in it.
func observed(t *testing.T, more string) (r *running, token string) {
	t.Helper()
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "ussoauthz.yaml"), []byte(`listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, jwks_url: "`+server.JWKSURL()+`"}
routes: [{match: GET /}]
`+more), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, cfg), mint(t, issuer, map[string]any{"plan": "gold"})
}

// Every decision of a run is in the file when the run has ended.
func TestDecisionLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "decisions.jsonl")
	r, token := observed(t, "decision_log: {input: true, file: {path: "+name+"}}\n")
	conn := dial(t, r.Address(), insecure.NewCredentials())
	const each = 50
	for range each {
		if got, err := check(t, conn, token); err != nil || got != "allowed" {
			t.Fatalf("%s %v", got, err)
		}
		if got, err := check(t, conn, ""); err != nil || got != "token_not_found" {
			t.Fatalf("%s %v", got, err)
		}
	}
	r.end(t)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), token) {
		t.Error("a token is in the log")
	}
	reasons := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var record decisionlog.Record
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		reasons[record.Reason]++
		if found, err := decisionlog.Find(name, record.DecisionID); err != nil || found.Reason != record.Reason || found.Input == nil {
			t.Fatalf("%+v %v", found, err)
		}
	}
	if reasons["allowed"] != each || reasons["token_not_found"] != each || len(reasons) != 2 {
		t.Errorf("%v", reasons)
	}
}

// A log that can't be written is a fault of the start.
func TestDecisionLogUnwritable(t *testing.T) {
	cfg := config.Default()
	cfg.Listen, cfg.Admin.Listen, cfg.Single = "127.0.0.1:0", "", false
	cfg.DecisionLog.File.Path = filepath.Join(t.TempDir(), "absent", "decisions.jsonl")
	if _, err := service.New(t.Context(), &cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "decision_log.file: ") {
		t.Errorf("%v", err)
	}
}
