package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/revocation"
)

// revoked is a token that is good until an entry about it is written.
type revoked struct {
	bearer
	user           string
	entry          revocation.Entry
	inFile         bool                      // else in Redis
	begun, written atomic.Pointer[time.Time] // when its writing began, and when it was acknowledged; nil: not yet
}

// revocations are all tokens of a run that are revoked or will be.
type revocations struct {
	mu      sync.Mutex
	list    []*revoked
	written atomic.Int64
}

func (l *revocations) add(r *revoked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, r)
}

func (l *revocations) all() []*revoked {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// someRevoked draws one: mostly of those that are revoked these days, at times
// one of long ago. nil: there is none yet.
func (c *chaos) someRevoked(r *rand.Rand) *revoked {
	list := c.revoked.all()
	if len(list) == 0 {
		return nil
	}
	if recent := list[max(0, len(list)-30):]; r.IntN(4) > 0 {
		list = recent
	}
	return list[r.IntN(len(list))]
}

// revoke writes entries as ussoauthz revoke does, whatever is broken, and again
// until they are written.
func (c *chaos) revoke(ctx context.Context, t *testing.T, r *rand.Rand) {
	var writing sync.WaitGroup
	defer writing.Wait()
	for n := 0; pause(ctx, between(r, 100, 400)); n++ {
		tenant := chaosTenants[r.IntN(len(chaosTenants))]
		id := fmt.Sprintf("%s-%d", tenant, n)
		one := &revoked{
			user: "user:" + id, inFile: r.IntN(3) == 0,
			entry: revocation.Entry{Tenant: tenant, Expires: time.Now().Add(time.Hour)},
		}
		one.bearer = c.mint(c.issuers[tenant], tenant, one.user, 10*time.Minute, map[string]any{"jti": "j-" + id, "session_id": "s-" + id})
		switch r.IntN(3) {
		case 0:
			one.entry.ID = "j-" + id
		case 1:
			one.entry.Session = "s-" + id
		case 2:
			// The issuer's clock may be ahead.
			one.entry.Subject, one.entry.Before = one.user, time.Now().Add(10*time.Minute)
		}
		c.revoked.add(one)
		good := between(r, 100, 1000) // in which it gets into the caches
		writing.Go(func() {
			if pause(ctx, good) {
				c.write(ctx, t, one)
			}
		})
	}
}

func (c *chaos) write(ctx context.Context, t *testing.T, r *revoked) {
	now := time.Now()
	r.begun.Store(&now)
	if r.inFile {
		if err := revocation.Append(filepath.Join(c.dir, "revoked.jsonl"), r.entry); err != nil {
			t.Error(err)
			return
		}
	} else {
		for (revocation.Redis{URL: c.redis.URL}).Write(ctx, r.entry) != nil {
			if !pause(ctx, 100*time.Millisecond) {
				return // it may be written or not
			}
		}
	}
	now = time.Now()
	r.written.Store(&now)
	c.revoked.written.Add(1)
}

// breakRedis breaks Redis again and again. A fault ends when both replicas have
// read everything again: until then what they don't know yet is owed to it.
func (c *chaos) breakRedis(ctx context.Context, t *testing.T, r *rand.Rand) {
	down := func() { pause(ctx, between(r, 500, 3000)) }
	var turn []int // each kind comes once, and again
	for pause(ctx, between(r, 500, 2000)) {
		kinds := []struct {
			kind string
			do   func()
		}{
			{"is killed", func() { c.redis.Kill(); down(); c.redis.Start() }},
			{"is restarted", func() { c.redis.Stop(); c.redis.Start() }},
			{"does not answer", func() { c.redis.Pause(); down(); c.redis.Resume() }},
			{"cuts its connections", func() { c.redis.Do("client", "kill", "type", "pubsub"); c.redis.Do("client", "kill", "type", "normal") }},
			{"loses its data", func() {
				c.redis.Kill()
				down()
				c.redis.Forget()
				c.redis.Start()
				down()
				c.rewrite(t)
			}},
		}
		if len(turn) == 0 {
			turn = r.Perm(len(kinds))
		}
		k := kinds[turn[0]]
		turn = turn[1:]
		f := c.ledger.begin(redisFault+k.kind, "")
		k.do()
		if err := c.syncedSince(time.Now()); err != nil {
			t.Errorf("Redis %s: %v", k.kind, err)
			return
		}
		c.ledger.end(f)
	}
}

// rewrite is what an operator does whose Redis lost its data.
func (c *chaos) rewrite(t *testing.T) {
	for _, r := range c.revoked.all() {
		if r.begun.Load() == nil || r.inFile {
			continue
		}
		if err := (revocation.Redis{URL: c.redis.URL}).Write(context.Background(), r.entry); err != nil {
			t.Error(err)
		}
	}
}

// syncedSince waits until both replicas have read what Redis holds after a
// moment. Who was there all the time has to be quick.
func (c *chaos) syncedSince(moment time.Time) error {
	for _, s := range c.replicas {
		for !synced(stateOf(s.AuthzAdmin), moment) {
			switch late := time.Since(moment); {
			case late > 40*time.Second:
				return fmt.Errorf("not read again after 40 s")
			case late > 8*time.Second && !c.ledger.replaced(moment):
				return fmt.Errorf("not read again after 8 s, by replicas that were there")
			}
			pause(context.Background(), 20*time.Millisecond)
		}
	}
	return nil
}

func synced(s replicaState, moment time.Time) bool {
	for _, source := range s.Revocation {
		if source.Source == "redis" {
			return source.Available && source.LastSync.After(moment)
		}
	}
	return false
}

// replaced reports whether a replica was away since a moment.
func (l *ledger) replaced(moment time.Time) bool {
	return slices.ContainsFunc(l.during(moment, time.Now()), func(f fault) bool {
		return f.kind == replicaKilled || f.kind == replicaStarted || f.kind == replicaReplaced
	})
}
