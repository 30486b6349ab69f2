//go:build !race

// The race detector lets pools forget, now and then.

package extauthz_test

import (
	"context"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// To be observed costs no allocation.
func TestObserverAllocations(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	count := func(o extauthz.Observer) float64 {
		s := extauthz.NewServer(extauthz.ServerConfig{Observer: o})
		s.Use(a)
		check := w.check("/me", "alice")
		return testing.AllocsPerRun(300, func() { s.Check(context.Background(), check) })
	}
	if without, with := count(nil), count(idle{}); with > without {
		t.Errorf("%v allocations, %v with an observer", without, with)
	}
}
