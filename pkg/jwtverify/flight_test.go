package jwtverify_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// gated is a key set that answers when its gate opens, and counts the lookups.
type gated struct {
	*swapped
	gate    chan struct{}
	lookups atomic.Int64
}

func (g *gated) Find(ctx context.Context, kid string) (*jwtverify.Key, error) {
	g.lookups.Add(1)
	select {
	case <-g.gate:
		return g.swapped.Find(ctx, kid)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A new token that a hundred requests bring at once is verified once.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t)
		keys := &gated{swapped: w.keys, gate: make(chan struct{})}
		v := w.verifier(t, func(c *jwtverify.Config) { c.Keys = keys })
		token := w.mint(t, "alice")
		var wg sync.WaitGroup
		var misses atomic.Int64
		for range 100 {
			wg.Go(func() {
				id, lookup, err := v.VerifyLookup(t.Context(), token)
				if err != nil || id == nil {
					t.Error(err)
				}
				if lookup == jwtverify.Miss {
					misses.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := keys.lookups.Load(); n != 1 {
			t.Errorf("%d verifications are under way", n)
		}
		close(keys.gate)
		wg.Wait()
		if n := misses.Load(); n != 1 {
			t.Errorf("%d were no hits", n)
		}
	})
}

// Whose own time is over, or who waited for one whose time was over, gets an
// answer of its own.
func TestOneFlightIsNobodysDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t)
		keys := &gated{swapped: w.keys, gate: make(chan struct{})}
		v := w.verifier(t, func(c *jwtverify.Config) { c.Keys = keys })
		token := w.mint(t, "alice")
		verify := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := v.Verify(ctx, token)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := verify(short)
		patient := verify(t.Context())
		shorter, cancelShorter := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancelShorter()
		impatient := verify(shorter)
		if err := <-impatient; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the impatient one: %v", err)
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first one: %v", err)
		}
		close(keys.gate)
		if err := <-patient; err != nil {
			t.Errorf("the patient one: %v", err)
		}
	})
}
