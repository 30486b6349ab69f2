package service

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// adminHandler serves the pages for operators: /livez (the process runs), /readyz (it
// answers checks), /metrics, /configz (the configuration in force, without secrets)
// and /log-level. It belongs on loopback or behind a network policy all the same.
func (s *Service) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.observe.metrics != nil {
		mux.Handle("GET /metrics", s.observe.metrics)
	}
	mux.HandleFunc("GET /configz", s.configz)
	mux.HandleFunc("GET /log-level", s.showLevel)
	mux.HandleFunc("PUT /log-level", s.putLevel)
	if s.cfg.Admin.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol) // as `go tool pprof` asks
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return guarded(mux, s.cfg.Admin.Hosts)
}

func (s *Service) configz(w http.ResponseWriter, _ *http.Request) {
	text, err := s.snapshot.Load().cfg.Redacted()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(text) // the caller went away
}

func (s *Service) showLevel(w http.ResponseWriter, _ *http.Request) {
	if s.level == nil {
		http.Error(w, "the log's level is fixed", http.StatusNotFound)
		return
	}
	fmt.Fprintln(w, strings.ToLower(s.level.Level().String()))
}

// putLevel sets the log's level, until a reload or the end.
func (s *Service) putLevel(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64))
	name := strings.TrimSpace(string(body))
	if err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, name) {
		http.Error(w, "write one of debug, info, warn, error", http.StatusBadRequest)
		return
	}
	if s.level != nil {
		_ = s.level.UnmarshalText([]byte(name)) // it is one of them
		s.log.Warn("the log's level was changed", slog.String("level", name), slog.String("by", r.RemoteAddr))
	}
	s.showLevel(w, r)
}

func (s *Service) readyz(w http.ResponseWriter, r *http.Request) {
	state, status := "ready", http.StatusOK
	if !s.serving() {
		state, status = "not ready", http.StatusServiceUnavailable
	}
	if _, verbose := r.URL.Query()["verbose"]; !verbose {
		w.WriteHeader(status)
		fmt.Fprintln(w, state)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	snapshot := s.snapshot.Load()
	shown := map[string]any{
		"state":           state,
		"policy_revision": snapshot.Policy.Revision(),
		"reload":          s.reloads.state(),
		"tenants":         tenantStates(snapshot.Tenants.Tenants()),
	}
	if snapshot.revocations != nil {
		shown["revocation"] = snapshot.revocations.States()
	}
	s.bundles.addStatus(shown)
	_ = encoder.Encode(shown) // the caller went away
}

// tenantState is the state of a tenant's keys.
type tenantState struct {
	ID        string     `json:"id"`
	Source    string     `json:"source"` // remote or static
	Keys      int        `json:"keys,omitempty"`
	Fetched   *time.Time `json:"fetched,omitempty"`
	NextFetch *time.Time `json:"next_fetch,omitempty"`
	Error     string     `json:"error,omitempty"`

	// Of the key URL before a reload: they serve until the new one answers.
	OldKeys      int        `json:"old_keys,omitempty"`
	OldKeysUntil *time.Time `json:"old_keys_until,omitempty"`
}

func tenantStates(list []*tenants.Tenant) []tenantState {
	states := make([]tenantState, len(list))
	for i, t := range list {
		states[i] = tenantState{ID: t.ID, Source: "static"}
		remote, ok := t.Keys.(*jwks.RemoteKeySet)
		if !ok {
			continue
		}
		status := remote.Status()
		states[i] = tenantState{ID: t.ID, Source: "remote", Keys: status.Keys, Fetched: timeOrNil(status.Fetched), NextFetch: timeOrNil(status.NextFetch), OldKeys: status.OldKeys, OldKeysUntil: timeOrNil(status.OldUntil)}
		if status.LastError != nil {
			states[i].Error = status.LastError.Error()
		}
	}
	return states
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
