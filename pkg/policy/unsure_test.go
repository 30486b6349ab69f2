package policy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// withCache is the embedded policy with its fast way: what it permits is kept.
func withCache(t *testing.T) *policy.Engine {
	t.Helper()
	e, err := policy.New(t.Context(), policy.Config{Timeout: time.Minute, DecisionCache: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Where another server could read another value in the path or in the query, the
// workspace is nobody's: with the cache of decisions and without.
func TestUnsureWorkspace(t *testing.T) {
	native, _ := workspaceEngines(t)
	for name, e := range map[string]*policy.Engine{"evaluated": native, "kept": withCache(t)} {
		for _, tt := range []struct {
			workspace, query, id string
			unsure               bool
			want                 answers.Reason
		}{
			{"{id}", "", "ws_1", false, answers.Allowed},
			{"{id}", "", "ws_1", true, answers.WorkspaceMismatch},
			{"{id}", "", "ws_2", false, answers.WorkspaceMismatch},
			{"{other}", "", "ws_1", false, answers.WorkspaceMismatch},
			{"query:ws", "ws=ws_1", "", false, answers.Allowed},
			{"query:ws", "ws=ws_1", "", true, answers.WorkspaceMismatch},
			{"query:ws", "ws=ws_1&WS=ws_2", "", false, answers.WorkspaceMismatch},
		} {
			in := workspaceInput(tt.workspace, tt.query)
			in.Params, in.WorkspaceUnsure = []policy.Header{{Name: "id", Value: tt.id}}, tt.unsure
			for range 2 {
				if d := e.Decide(t.Context(), in); d.Reason != tt.want {
					t.Errorf("%s: %+v: %s (%v)", name, tt, d.Reason, d.Err)
				}
			}
		}
	}
}

// A request that nobody waits for any more gets no decision, kept or not.
func TestNoDecisionAfterTheEnd(t *testing.T) {
	native, _ := workspaceEngines(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, e := range map[string]*policy.Engine{"evaluated": native, "kept": withCache(t)} {
		in := workspaceInput("query:ws", "ws=ws_1")
		if d := e.Decide(t.Context(), in); !d.Allowed {
			t.Fatalf("%s: %s (%v)", name, d.Reason, d.Err)
		}
		if d := e.Decide(ended, in); d.Allowed || d.Reason != answers.PolicyError || !errors.Is(d.Err, context.Canceled) {
			t.Errorf("%s: %s (%v)", name, d.Reason, d.Err)
		}
	}
}
