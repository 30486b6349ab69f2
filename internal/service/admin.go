package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// adminHandler serves the probes: /livez says that the process runs, /readyz
// that it takes checks. It shows no secret, and still belongs on loopback.
func (s *Service) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	return mux
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
	road := s.road.Load()
	shown := map[string]any{
		"state":           state,
		"policy_revision": road.Policy.Revision(),
		"reload":          s.reloads.state(),
		"tenants":         tenantStates(road.Tenants.Tenants()),
	}
	s.feed.show(shown)
	_ = encoder.Encode(shown) // the caller went away
}

// tenantState tells how a tenant's keys are doing.
type tenantState struct {
	ID        string     `json:"id"`
	Source    string     `json:"source"` // remote or static
	Keys      int        `json:"keys,omitempty"`
	Fetched   *time.Time `json:"fetched,omitempty"`
	NextFetch *time.Time `json:"next_fetch,omitempty"`
	Error     string     `json:"error,omitempty"`
}

func tenantStates(list []*tenants.Tenant) []tenantState {
	states := make([]tenantState, len(list))
	for i, t := range list {
		states[i] = tenantState{ID: t.ID, Source: "static"}
		remote, ok := t.Keys.(*jwtverify.RemoteKeySet)
		if !ok {
			continue
		}
		status := remote.Status()
		states[i] = tenantState{ID: t.ID, Source: "remote", Keys: status.Keys, Fetched: known(status.Fetched), NextFetch: known(status.NextFetch)}
		if status.LastError != nil {
			states[i].Error = status.LastError.Error()
		}
	}
	return states
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
