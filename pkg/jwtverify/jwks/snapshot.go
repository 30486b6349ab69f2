package jwks

import (
	"crypto/sha256"
	"maps"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// snapshot is the state of a remote key set that requests read. It is immutable: a
// good fetch makes a new one.
type snapshot struct {
	byID map[string]*jwtverify.Key
	only *jwtverify.Key // the key of a set of one, for tokens without a kid

	// Two clocks tell the age. The monotonic one cannot be set, but stands still while
	// the machine sleeps; the wall clock goes on, but may be set.
	fetched  time.Time // when the last good fetch began, with a monotonic reading
	wall     int64     // the same by the wall clock, in Unix seconds
	maxStale time.Duration

	absent map[kidHash]struct{} // kids that were requested, and that the issuer did not have

	sum       [sha256.Size]byte // of the body that it was made from
	url, etag string            // of the answer, for If-None-Match
	interval  time.Duration     // the freshness lifetime, clamped
}

// newSnapshot indexes keys. A key that is unchanged stays the same object, so that the
// cache of verified tokens can compare pointers.
func newSnapshot(keys []*jwtverify.Key, old *snapshot) *snapshot {
	s := &snapshot{byID: make(map[string]*jwtverify.Key, len(keys))}
	for i, k := range keys {
		if old != nil {
			if prev := old.find(k.ID()); prev.Equal(k) {
				k = prev
			}
		}
		if k.ID() != "" {
			s.byID[k.ID()] = k
		}
		if i == 0 && len(keys) == 1 {
			s.only = k
		}
	}
	return s
}

// find returns the key with the kid, or for an empty kid the only key; nil where there
// is none.
func (s *snapshot) find(kid string) *jwtverify.Key {
	if kid == "" {
		return s.only
	}
	return s.byID[kid]
}

// knownAbsent reports whether the issuer was fetched after kid was first requested, and
// did not have it.
func (s *snapshot) knownAbsent(kid string) bool {
	_, found := s.absent[hashKid(kid)]
	return found
}

// recordAbsent adds the kids that were requested before this set was fetched to the
// absent ones of the set before it. Beyond maxAbsent the old ones are dropped: a kid
// that is dropped is fetched for once more.
func (s *snapshot) recordAbsent(old *snapshot, requested []kidHash) {
	s.absent = nil
	if old != nil && len(old.absent)+len(requested) <= maxAbsent {
		s.absent = maps.Clone(old.absent)
	}
	if s.absent == nil {
		s.absent = make(map[kidHash]struct{}, len(requested))
	}
	for _, kid := range requested {
		s.absent[kid] = struct{}{}
	}
	for kid := range s.byID {
		delete(s.absent, hashKid(kid))
	}
	if len(s.absent) == 0 {
		s.absent = nil // thousands of idle sources need no map
	}
}

// size counts the keys that a token can name.
func (s *snapshot) size() int {
	if s.only != nil {
		return 1
	}
	return len(s.byID)
}

// setFetched sets when the fetch began.
func (s *snapshot) setFetched(at time.Time) { s.fetched, s.wall = at, at.Unix() }

// stale reports whether the last good fetch is longer ago than maxStale: a key may have
// been revoked meanwhile.
func (s *snapshot) stale() bool {
	now := time.Now()
	return now.Sub(s.fetched) > s.maxStale || s.staleByWallClock(now)
}

// staleByWallClock reports whether the keys are too old by the wall clock alone, as
// after the machine was suspended. A wall clock that is corrected by up to maxClockSkew
// makes no key stale.
func (s *snapshot) staleByWallClock(now time.Time) bool {
	return now.Unix()-s.wall > int64((s.maxStale+maxClockSkew)/time.Second)
}

// confirm returns the same set after its server said that it has not changed.
func (s *snapshot) confirm(at time.Time, interval time.Duration) *snapshot {
	c := *s
	c.setFetched(at)
	c.interval = interval
	return &c
}
