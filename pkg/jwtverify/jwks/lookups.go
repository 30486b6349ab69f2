package jwks

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// Unknown kids.
//
// After a key rotation the first token of the new key has a kid that the snapshot
// lacks, and only a fetch can tell it from a forged one. But anybody can write a kid
// into a token, so fetches for unknown kids are limited: each source has a budget of
// lookupBurst at once and one more every lookupPause. The burst lets a rotation through
// beside a few forged kids.
//
// A kid that the issuer did not have is remembered as absent. It may begin a fetch only
// while two lookups are left: so one client that repeats a token of another issuer
// cannot use up what a rotation needs. The answers follow from what is known: a kid that
// is absent is ErrUnknownKey, which refuses the token; one that could not be looked up
// yet may belong to a new key, and is ErrKeysUnavailable with the time of the next
// lookup.
const (
	lookupBurst = 3
	lookupPause = 30 * time.Second
	maxAbsent   = 1 << 10 // absent kids that a source remembers
)

// lookupBudget is a token bucket of lookupBurst, kept as GCRA does (the generic cell
// rate algorithm, ITU-T I.371): one number, the time since Fetcher.start at which the
// bucket is full again. Requests read it without a lock; it is written under
// Fetcher.mu.
type lookupBudget struct{ full atomic.Int64 }

// spend uses one lookup; now is the time since Fetcher.start.
func (b *lookupBudget) spend(now time.Duration) {
	b.full.Store(int64(max(time.Duration(b.full.Load()), now) + lookupPause))
}

// wait returns the time until n lookups are left; 0 or less where they are.
func (b *lookupBudget) wait(now time.Duration, n int) time.Duration {
	return time.Duration(b.full.Load()) - now - time.Duration(lookupBurst-n)*lookupPause
}

// kidHash stands for a kid among the absent ones: kids are long, and chosen by the
// client. The seed is random, so that nobody can make two kids of one hash.
type kidHash uint64

var kidSeed = maphash.MakeSeed()

func hashKid(kid string) kidHash { return kidHash(maphash.String(kidSeed, kid)) }

// lookupDelayed is the error for a kid that no key has, and for which the issuer could
// not be fetched yet.
type lookupDelayed struct {
	kid   string
	after time.Duration
}

// Error names the kid and the time until the next lookup.
func (e *lookupDelayed) Error() string {
	return fmt.Sprintf("%v: no key has the kid %s, and the next lookup is held back for %s", jwtverify.ErrKeysUnavailable, logtext.Quote(e.kid), e.after)
}

// Unwrap returns ErrKeysUnavailable.
func (e *lookupDelayed) Unwrap() error { return jwtverify.ErrKeysUnavailable }

// RetryAfter returns the time until the next lookup, in whole seconds.
func (e *lookupDelayed) RetryAfter() time.Duration { return e.after }

// lookupAllowed reports whether a kid that no key has may begin a fetch now.
func (s *source) lookupAllowed(snap *snapshot, absent bool, now time.Duration) bool {
	if !absent {
		return s.lookups.wait(now, 1) <= 0
	}
	return time.Since(snap.fetched) >= lookupPause && s.lookups.wait(now, 2) <= 0
}

// unknownKid returns the error for a kid that no key of the snapshot has. final says
// that there is no fetch to wait for.
func (s *source) unknownKid(snap *snapshot, kid string) (final bool, err error) {
	now, absent := time.Since(s.fetcher.start), snap.knownAbsent(kid)
	final = !s.lookupAllowed(snap, absent, now)
	if absent {
		return final, fmt.Errorf("%w: kid %s", jwtverify.ErrUnknownKey, logtext.Quote(kid))
	}
	after := s.lookups.wait(now, 1)
	if s.fetching.Load() { // it may bring the key
		final, after = false, 0
	}
	after = (after + time.Second - 1).Truncate(time.Second)
	return final, &lookupDelayed{kid: kid, after: max(after, time.Second)}
}
