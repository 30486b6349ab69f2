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
	maxWait         = 500 * time.Millisecond
	maxWaiters      = 256 // of one source; each is a request that waits
	maxETagBytes    = 1 << 10
	maxProblemsTold = 5
)

// logLine keeps a log line until the lock is released.
type logLine func(slog.Level, string, ...slog.Attr)

type fetchState int

const (
	idle fetchState = iota
	queued
	running
)

// source is one place that keys come from. It has no goroutine of its own:
// between two fetches there is only a timer.
type source struct {
	fetcher *Fetcher
	id      string // RemoteConfig.identity
	cfg     RemoteConfig
	url     *url.URL
	host    string

	snapshot atomic.Pointer[snapshot] // nil: no good fetch yet; written under Fetcher.mu
	answered atomic.Bool              // with a key set, though it may have had no usable key
	whole    atomic.Bool              // ask for all of the set, changed or not: the disk lacks it

	// lookups and fetching answer an unknown kid without the lock, which a flood
	// of them would keep busy.
	lookups  lookupBudget
	fetching atomic.Bool // queued or running

	// What follows is guarded by Fetcher.mu.
	sets   int // open RemoteKeySets
	closed bool

	state  fetchState
	lane   int
	place  *list.Element      // in the queue
	cancel context.CancelFunc // of the running fetch

	timer      *time.Timer
	generation int       // of timer: one that fired too late to be stopped is ignored
	due        time.Time // when it fires; zero: not armed

	done    chan struct{} // closed when the fetch ends; nil: nobody waits
	waiters int

	fetches    int64
	failed     int64 // of them, or brought no keys
	failures   int   // in a row
	lastErr    error
	woken      time.Time // when keys that grew too old in a sleep last caused a fetch
	named      []kidHash // by the requests that wait for the next fetch
	emptySince time.Time // when a set without keys was first seen in place of a good one
	problems   string    // those that were told last
}

// find is RemoteKeySet.Find for a key that is not at hand.
func (s *source) find(ctx context.Context, kid string) (*jwtverify.Key, error) {
	limit := time.Now().Add(waitFor(ctx))
	for {
		k, final, err := s.look(kid)
		if k != nil || final {
			return k, err
		}
		done, fresh := s.join(kid)
		ended := done != nil && s.wait(ctx, done, limit)
		if !ended || fresh {
			// A fetch that began after this request has the last word.
			k, _, err = s.look(kid)
			return k, err
		}
	}
}

// look reads the snapshot. final says that no fetch is worth waiting for.
func (s *source) look(kid string) (k *jwtverify.Key, final bool, err error) {
	snap := s.snapshot.Load()
	switch {
	case snap == nil:
		return nil, false, s.unavailable("no key set yet")
	case snap.stale():
		// Fetches are planned by the clock that stood still: after a sleep one is due.
		return nil, !snap.slept(time.Now()), s.unavailable("the key set is older than max_stale")
	}
	if k := snap.find(kid); k != nil {
		return k, true, nil
	}
	if kid == "" {
		return nil, true, fmt.Errorf("%w: the token has no kid and the set %d keys", jwtverify.ErrUnknownKey, snap.size())
	}
	final, err = s.missing(snap, kid)
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

// join makes the caller wait for the fetch that is due, and begins one where
// an unknown kid may do so. done is nil where there is nothing to wait for.
// fresh says that the fetch begins after the call. Whoever gets a channel must
// call wait.
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
		if !s.mayAsk(kid) {
			return nil, false
		}
		s.lookups.spend(time.Since(f.start))
		f.enqueue(s, urgent)
	case queued:
		f.queue.hurry(s)
		f.dispatch() // there may be a place for it that ordinary ones do not get
	}
	if s.done == nil {
		s.done = make(chan struct{})
	}
	if fresh && len(s.named) < maxAbsent {
		s.named = append(s.named, hashKid(kid))
	}
	s.waiters++
	return s.done, fresh
}

// mayAsk decides whether an unknown kid begins a fetch now. An ordinary fetch
// just before does not count: a rotation right after it is seen at once.
func (s *source) mayAsk(kid string) bool {
	snap := s.snapshot.Load()
	switch {
	case snap == nil: // backing off
		return false
	case snap.slept(time.Now()):
		if s.failures > 0 || time.Since(s.woken) < lookupPause { // backing off too
			return false
		}
		s.woken = time.Now()
		return true
	case kid == "" || snap.find(kid) != nil: // nothing to ask; it just came
		return false
	}
	return s.mayLookUp(snap, snap.lacks(kid), time.Since(s.fetcher.start))
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

// waitFor is how long a request may be held back: it needs the other half of
// its time for its answer.
func waitFor(ctx context.Context) time.Duration {
	d := maxWait
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline)/2)
	}
	return d
}

// wake lets all who wait look again. Fetcher.mu is held.
func (s *source) wake() {
	if s.done != nil {
		close(s.done)
		s.done = nil
	}
}

// take turns the result of a fetch into the next snapshot and the time until
// the next fetch. Fetcher.mu is held.
func (s *source) take(r *result, note logLine) time.Duration {
	if r.err != nil {
		return s.fail(r.err, note)
	}
	s.answered.Store(true)
	old := s.snapshot.Load()
	snap := s.next(r, old)
	s.tellProblems(r, note)
	var fault error
	switch hadKeys := old != nil && old.size() > 0; {
	case snap.size() > 0:
	case old == nil:
		return s.fail(errNoKeys, note)
	case hadKeys && !s.emptyAgain(r.begun):
		s.settle(errEmptyOnce, note)
		return s.pause(snap.interval)
	case hadKeys:
		note(slog.LevelError, "a key set without a usable key is in force", slog.Int("keys_before", old.size()))
		fallthrough
	default:
		fault = errNoKeys
	}
	s.emptySince, s.failures = time.Time{}, 0
	snap.remember(old, s.named)
	s.snapshot.Store(snap)
	s.settle(fault, note)
	return s.pause(snap.interval)
}

// next is the snapshot that a good answer makes.
func (s *source) next(r *result, old *snapshot) *snapshot {
	fresh := s.cfg.TTL
	if r.said {
		fresh = interval(r.lifetime, s.cfg.TTL)
	}
	if r.notModified {
		if !r.said {
			fresh = old.interval // RFC 9111, 4.3.4: what it does not say stays
		}
		return old.confirmed(r.begun, fresh)
	}
	snap := newSnapshot(r.keys, old)
	snap.begin(r.begun)
	snap.maxStale = s.cfg.MaxStale
	snap.url, snap.etag, snap.interval = r.url, r.etag, fresh
	snap.sum = sha256.Sum256(r.body)
	return snap
}

var (
	errNoKeys    = errors.New("key set has no usable key")
	errEmptyOnce = fmt.Errorf("%w: the old keys stay until it is seen again", errNoKeys)
)

// emptyAgain reports whether a set without keys was seen before, and not only
// just now: forged kids can make two fetches follow each other, and a broken
// deployment of an issuer must not sign out everybody within seconds.
func (s *source) emptyAgain(at time.Time) bool {
	if s.emptySince.IsZero() {
		s.emptySince = at
		return false
	}
	return at.Sub(s.emptySince) >= shortest(s.cfg.TTL)*9/10
}

// fail keeps the last good keys and backs off.
func (s *source) fail(err error, note logLine) time.Duration {
	s.failures++
	s.settle(err, note)
	return early(backoff(s.failures))
}

// pause is the time until the next planned fetch; keys must not become stale
// just because it was planned late.
func (s *source) pause(d time.Duration) time.Duration {
	return min(early(d), s.cfg.MaxStale*9/10)
}

// settle keeps the fault and tells when it came or went.
func (s *source) settle(err error, note logLine) {
	before := s.lastErr
	s.lastErr = err
	if err != nil {
		s.failed++
	}
	switch {
	case before == nil && err != nil:
		note(slog.LevelWarn, "fetching keys fails", slog.String("error", err.Error()), slog.Bool("has_keys", s.snapshot.Load() != nil))
	case before != nil && err == nil:
		note(slog.LevelInfo, "fetching keys works again", slog.Int("keys", s.snapshot.Load().size()))
	}
}

// tellProblems tells which keys are left out, once for each new list.
func (s *source) tellProblems(r *result, note logLine) {
	if r.notModified {
		return
	}
	problems := r.problems
	texts := make([]string, 0, maxProblemsTold)
	for _, p := range problems[:min(len(problems), maxProblemsTold)] {
		texts = append(texts, p.Error())
	}
	told := fmt.Sprint(len(problems), " ", strings.Join(texts, "; "))
	if len(problems) > 0 && told != s.problems {
		note(slog.LevelWarn, "keys of a key set are refused", slog.Int("refused", len(problems)), slog.String("problems", strings.Join(texts, "; ")))
	}
	s.problems = told
}

func (s *source) status() Status {
	s.fetcher.mu.Lock()
	defer s.fetcher.mu.Unlock()
	st := Status{LastError: s.lastErr, NextFetch: s.due, Fetches: s.fetches, Failures: s.failed}
	if snap := s.snapshot.Load(); snap != nil {
		st.Keys, st.Fetched = snap.size(), snap.fetched
	}
	return st
}
