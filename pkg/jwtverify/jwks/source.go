package jwks

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

const (
	maxWait           = 500 * time.Millisecond
	maxWaiters        = 256 // of one source; each is a request that waits
	maxETagBytes      = 1 << 10
	maxLoggedProblems = 5
)

// logFunc logs a line once the lock is released.
type logFunc func(slog.Level, string, ...slog.Attr)

type fetchState int

const (
	idle fetchState = iota
	queued
	running
)

// source is one place that keys are fetched from. It has no goroutine of its own:
// between two fetches there is only a timer.
type source struct {
	fetcher *Fetcher
	id      string // RemoteConfig.sourceID
	cfg     RemoteConfig
	url     *url.URL
	host    string

	snapshot atomic.Pointer[snapshot] // nil: no good fetch yet; written under Fetcher.mu
	answered atomic.Bool              // with a key set, though it may have had no usable key
	needBody atomic.Bool              // the store lacks the set: fetch it without If-None-Match

	// lookups and fetching answer for an unknown kid without the lock, which a flood
	// of them would contend for.
	lookups  lookupBudget
	fetching atomic.Bool // queued or running

	// Fetcher.mu guards what follows.
	sets   int // open RemoteKeySets
	closed bool

	state   fetchState
	lane    int
	element *list.Element      // in the queue
	cancel  context.CancelFunc // of the running fetch

	timer      *time.Timer
	generation int       // of timer: one that fired too late to be stopped is ignored
	due        time.Time // when it fires; zero: not armed

	done    chan struct{} // closed when the fetch ends; nil: no request waits
	waiters int

	fetches       int64
	failures      int64 // of them, or brought no keys
	failuresInRow int
	lastErr       error
	wakeFetch     time.Time // when stale keys last caused a fetch after the machine slept
	requested     []kidHash // unknown kids of the requests that wait for the next fetch
	emptySince    time.Time // when a set without keys first came in place of a good one
	problems      string    // those that were logged last
}

// find is RemoteKeySet.Find for a kid without a current key.
func (s *source) find(ctx context.Context, kid string) (*jwtverify.Key, error) {
	limit := time.Now().Add(waitTime(ctx))
	for {
		k, final, err := s.lookup(kid)
		if k != nil || final {
			return k, err
		}
		done, fresh := s.join(kid)
		ended := done != nil && s.wait(ctx, done, limit)
		if !ended || fresh {
			// A fetch that began after this request has the last word.
			k, _, err = s.lookup(kid)
			return k, err
		}
	}
}

// lookup reads the snapshot. final says that there is no fetch to wait for.
func (s *source) lookup(kid string) (k *jwtverify.Key, final bool, err error) {
	snap := s.snapshot.Load()
	switch {
	case snap == nil:
		return nil, false, s.unavailable("no key set yet")
	case snap.stale():
		// Timers follow the monotonic clock, which stood still while the machine slept:
		// then no planned fetch will come in time, and this request may begin one.
		return nil, !snap.staleByWallClock(time.Now()), s.unavailable("the key set is older than max_stale")
	}
	if k := snap.find(kid); k != nil {
		return k, true, nil
	}
	if kid == "" {
		return nil, true, fmt.Errorf("%w: the token has no kid and the set %d keys", jwtverify.ErrUnknownKey, snap.size())
	}
	final, err = s.unknownKid(snap, kid)
	return nil, final, err
}

func (s *source) unavailable(why string) error {
	s.fetcher.mu.Lock()
	last := s.lastErr
	s.fetcher.mu.Unlock()
	if last == nil {
		return fmt.Errorf("%w: %s", jwtverify.ErrKeysUnavailable, why)
	}
	return fmt.Errorf("%w: %s: %v", jwtverify.ErrKeysUnavailable, why, last)
}

// join makes the caller wait for the fetch that is queued or running, and begins one
// where an unknown kid may. done is nil where there is nothing to wait for. fresh says
// that the fetch begins after the call. Whoever gets a channel must call wait.
func (s *source) join(kid string) (done <-chan struct{}, fresh bool) {
	f := s.fetcher
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.closed || s.waiters >= maxWaiters {
		return nil, false
	}
	fresh = s.state != running
	switch s.state {
	case idle:
		if !s.fetchAllowed(kid) {
			return nil, false
		}
		s.lookups.spend(time.Since(f.start))
		f.enqueue(s, urgent)
	case queued:
		f.queue.promote(s)
		f.dispatch() // the urgent lane may have a free slot where the ordinary one had none
	}
	if s.done == nil {
		s.done = make(chan struct{})
	}
	if fresh && len(s.requested) < maxAbsent {
		s.requested = append(s.requested, hashKid(kid))
	}
	s.waiters++
	return s.done, fresh
}

// fetchAllowed reports whether a request for a kid may begin a fetch now. A planned
// fetch just before does not count: a rotation right after it is seen at once.
func (s *source) fetchAllowed(kid string) bool {
	snap := s.snapshot.Load()
	switch {
	case snap == nil: // backing off
		return false
	case snap.staleByWallClock(time.Now()):
		if s.failuresInRow > 0 || time.Since(s.wakeFetch) < lookupPause { // backing off too
			return false
		}
		s.wakeFetch = time.Now()
		return true
	case kid == "" || snap.find(kid) != nil: // no fetch could help, or the key just came
		return false
	}
	return s.lookupAllowed(snap, snap.knownAbsent(kid), time.Since(s.fetcher.start))
}

// wait reports whether the fetch ended in time.
func (s *source) wait(ctx context.Context, done <-chan struct{}, limit time.Time) bool {
	defer func() {
		s.fetcher.mu.Lock()
		s.waiters--
		s.fetcher.mu.Unlock()
	}()
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// waitTime is how long a request may wait: it needs the other half of its time for its
// answer.
func waitTime(ctx context.Context) time.Duration {
	d := maxWait
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline)/2)
	}
	return d
}

// wakeWaiters lets all waiting requests read the snapshot again. Fetcher.mu is held.
func (s *source) wakeWaiters() {
	if s.done != nil {
		close(s.done)
		s.done = nil
	}
}

// apply makes the next snapshot of the result of a fetch, and returns the time until the
// next one. A failed fetch changes no keys. Nor does a set without a usable key in place
// of a good one, until it is confirmed. Fetcher.mu is held.
func (s *source) apply(r *result, log logFunc) time.Duration {
	if r.err != nil {
		return s.applyFailure(r.err, log)
	}
	s.answered.Store(true)
	old := s.snapshot.Load()
	snap := s.nextSnapshot(r, old)
	s.logProblems(r, log)
	var problem error
	switch hadKeys := old != nil && old.size() > 0; {
	case snap.size() > 0:
	case old == nil:
		return s.applyFailure(errNoKeys, log)
	case hadKeys && !s.confirmEmpty(r.started):
		s.setError(errEmptyOnce, log)
		return s.untilNextFetch(snap.interval)
	case hadKeys:
		log(slog.LevelError, "a key set without a usable key is in force", slog.Int("keys_before", old.size()))
		fallthrough
	default:
		problem = errNoKeys
	}
	s.emptySince, s.failuresInRow = time.Time{}, 0
	snap.recordAbsent(old, s.requested)
	s.snapshot.Store(snap)
	s.setError(problem, log)
	return s.untilNextFetch(snap.interval)
}

// nextSnapshot makes a snapshot of a good answer.
func (s *source) nextSnapshot(r *result, old *snapshot) *snapshot {
	interval := s.cfg.TTL
	if r.hasLifetime {
		interval = clampInterval(r.lifetime, s.cfg.TTL)
	}
	if r.notModified {
		if !r.hasLifetime {
			interval = old.interval // a 304 changes only the fields that it has (RFC 9111, 4.3.4)
		}
		return old.confirm(r.started, interval)
	}
	snap := newSnapshot(r.keys, old)
	snap.setFetched(r.started)
	snap.maxStale = s.cfg.MaxStale
	snap.url, snap.etag, snap.interval = r.url, r.etag, interval
	snap.sum = sha256.Sum256(r.body)
	return snap
}

var (
	errNoKeys    = errors.New("key set has no usable key")
	errEmptyOnce = fmt.Errorf("%w: the old keys stay until it is seen again", errNoKeys)
)

// confirmEmpty reports whether a set without keys came twice, at least about one planned
// interval apart. Forged kids can make two fetches follow each other at once, and a
// broken deployment of an issuer must not sign out everybody within seconds.
func (s *source) confirmEmpty(at time.Time) bool {
	if s.emptySince.IsZero() {
		s.emptySince = at
		return false
	}
	return at.Sub(s.emptySince) >= shortestInterval(s.cfg.TTL)*9/10
}

// applyFailure leaves the last good keys in force and returns the backoff.
func (s *source) applyFailure(err error, log logFunc) time.Duration {
	s.failuresInRow++
	s.setError(err, log)
	return withJitter(backoff(s.failuresInRow))
}

// untilNextFetch returns the time until the next planned fetch; keys must not become
// stale because it was planned late.
func (s *source) untilNextFetch(d time.Duration) time.Duration {
	return min(withJitter(d), s.cfg.MaxStale*9/10)
}

// setError records the error of a fetch, nil for none, and logs when that changes.
func (s *source) setError(err error, log logFunc) {
	before := s.lastErr
	s.lastErr = err
	if err != nil {
		s.failures++
	}
	switch {
	case before == nil && err != nil:
		log(slog.LevelWarn, "fetching keys fails", slog.String("error", err.Error()), slog.Bool("has_keys", s.snapshot.Load() != nil))
	case before != nil && err == nil:
		log(slog.LevelInfo, "fetching keys works again", slog.Int("keys", s.snapshot.Load().size()))
	}
}

// logProblems logs which keys are left out, once for each new list.
func (s *source) logProblems(r *result, log logFunc) {
	if r.notModified {
		return
	}
	texts := make([]string, 0, maxLoggedProblems)
	for _, p := range r.problems[:min(len(r.problems), maxLoggedProblems)] {
		texts = append(texts, p.Error())
	}
	text := strings.Join(texts, "; ")
	problems := fmt.Sprint(len(r.problems), " ", text)
	if len(r.problems) > 0 && problems != s.problems {
		log(slog.LevelWarn, "keys of a key set are refused", slog.Int("refused", len(r.problems)), slog.String("problems", text))
	}
	s.problems = problems
}

func (s *source) status() Status {
	s.fetcher.mu.Lock()
	defer s.fetcher.mu.Unlock()
	st := Status{LastError: s.lastErr, NextFetch: s.due, Fetches: s.fetches, Failures: s.failures}
	if snap := s.snapshot.Load(); snap != nil {
		st.Keys, st.Fetched = snap.size(), snap.fetched
	}
	return st
}
