package jwks

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// Unknown kids make us ask an issuer, and anybody can write one into a token. So
// a source has a budget for them: a burst, which keeps a few forged kids from
// standing in the way of a rotation, and one lookup in each pause after that.
const (
	lookupBurst = 3
	lookupPause = 30 * time.Second
	maxAbsent   = 1 << 10 // kids that a source remembers as looked for in vain
)

// lookupBudget is a token bucket of lookupBurst (as GCRA): the time since
// Fetcher.start at which it is full again. It is read without a lock and spent
// under Fetcher.mu.
type lookupBudget struct{ full atomic.Int64 }

// spend takes one lookup at a time since Fetcher.start.
func (b *lookupBudget) spend(now time.Duration) {
	b.full.Store(int64(max(time.Duration(b.full.Load()), now) + lookupPause))
}

// wait is the time until there are n lookups; 0 or less: there are.
func (b *lookupBudget) wait(now time.Duration, n int) time.Duration {
	return time.Duration(b.full.Load()) - now - time.Duration(lookupBurst-n)*lookupPause
}

// kidHash stands for a kid in what is remembered: kids are long, and chosen by
// whoever asks. Its seed is secret, so that nobody finds two of one hash.
type kidHash uint64

var kidSeed = maphash.MakeSeed()

func hashKid(kid string) kidHash { return kidHash(maphash.String(kidSeed, kid)) }

// heldBack is the error for a kid that no key has, while the issuer could not be
// asked since somebody named it: it may be the kid of a new key.
type heldBack struct {
	kid   string
	after time.Duration
}

// Error says how long the lookup is held back.
func (e *heldBack) Error() string {
	return fmt.Sprintf("%v: no key has the kid %s, and the next lookup is held back for %s", jwtverify.ErrKeysUnavailable, logtext.Quote(e.kid), e.after)
}

// Unwrap returns ErrKeysUnavailable.
func (e *heldBack) Unwrap() error { return jwtverify.ErrKeysUnavailable }

// RetryAfter returns in how long the next lookup may begin.
func (e *heldBack) RetryAfter() time.Duration { return e.after }

// mayLookUp reports whether a kid that no key has may begin a fetch now. One that
// was looked for in vain waits for its pause, and leaves the last lookup to others:
// a client that goes on with a token of elsewhere must not hold back a rotation.
func (s *source) mayLookUp(snap *snapshot, inVain bool, now time.Duration) bool {
	if !inVain {
		return s.lookups.wait(now, 1) <= 0
	}
	return time.Since(snap.fetched) >= lookupPause && s.lookups.wait(now, 2) <= 0
}

// missing is the outcome for a kid that no key of the snapshot has. final says
// that no fetch is worth waiting for.
func (s *source) missing(snap *snapshot, kid string) (final bool, err error) {
	now, inVain := time.Since(s.fetcher.start), snap.lacks(kid)
	final = !s.mayLookUp(snap, inVain, now)
	if inVain {
		return final, fmt.Errorf("%w: kid %s", jwtverify.ErrUnknownKey, logtext.Quote(kid))
	}
	after := s.lookups.wait(now, 1)
	if s.fetching.Load() { // it may bring the key
		final, after = false, 0
	}
	after = (after + time.Second - 1).Truncate(time.Second)
	return final, &heldBack{kid: kid, after: max(after, time.Second)}
}
