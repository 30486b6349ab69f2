package service_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
)

// A service that starts while the issuer is down has the keys that the one
// before it kept; another folder has none.
func TestRestartDuringAnOutage(t *testing.T) {
	r := startReloading(t)
	r.configure(t, "jwks_dir: keys\nroutes: [{match: /}]")
	restart := func() *running {
		t.Helper()
		r.end(t)
		cfg, err := config.Load(filepath.Join(r.dir, "ussoauthz.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := service.New(t.Context(), cfg, slog.New(slog.NewTextHandler(r.log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		r.running = run(t, s)
		r.conn = dial(t, r.Address(), insecure.NewCredentials())
		return r.running
	}
	restart() // jwks_dir begins with a start
	r.answers(t, "allowed")
	eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(r.dir, "keys", "*.keys"))
		return len(files) == 1
	}, func() string { return "no key set is kept\n" + r.log.String() })

	r.server.SetDown(true)
	restart()
	if got, err := check(t, r.conn, r.token); err != nil || got != "allowed" {
		t.Errorf("the first check after the restart: %q, %v", got, err)
	}
	if _, body := get(t, "http://"+r.AdminAddress().String()+"/metrics"); !strings.Contains(body, "ussoauthz_keys_store_failures_total 0") {
		t.Error("the failures of the store are not counted")
	}
	r.configure(t, "jwks_dir: elsewhere\nroutes: [{match: /}]")
	restart()
	if got, err := check(t, r.conn, r.token); err != nil || got != "keys_unavailable" {
		t.Errorf("without a kept key set: %q, %v", got, err)
	}
}
