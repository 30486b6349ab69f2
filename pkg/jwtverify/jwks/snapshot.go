package jwks

import (
	"crypto/sha256"
	"maps"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// snapshot is the state of a remote key set that readers see. It is immutable.
type snapshot struct {
	byID map[string]*jwtverify.Key
	only *jwtverify.Key // the key of a set of one, which a token without kid means

	fetched  time.Time // when the last good fetch of it was begun, with a monotonic reading
	wall     int64     // the same by the other clock, in seconds, which goes on while the machine sleeps
	maxStale time.Duration

	absent map[kidHash]struct{} // kids that were asked for, and that the issuer did not have then

	sum       [sha256.Size]byte // of the bytes that it was made from
	url, etag string            // what it was fetched from, for If-None-Match
	interval  time.Duration     // how long it was said to be fresh
}

// newSnapshot indexes keys. A key that is unchanged stays the same object, so
// that what remembers it (a cache of verified tokens) need not look closer.
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

// find returns the key that kid means, or nil.
func (s *snapshot) find(kid string) *jwtverify.Key {
	if kid == "" {
		return s.only
	}
	return s.byID[kid]
}

// lacks reports whether kid was looked for in vain: it was asked for before the
// issuer sent or confirmed this set.
func (s *snapshot) lacks(kid string) bool {
	if len(s.absent) == 0 {
		return false
	}
	_, found := s.absent[hashKid(kid)]
	return found
}

// remember adds the kids that requests named before the fetch of this set to those
// that the set before it lacked. When there is no more space it begins anew: a kid
// that is forgotten is looked for once more.
func (s *snapshot) remember(old *snapshot, named []kidHash) {
	s.absent = nil
	if old != nil && len(old.absent)+len(named) <= maxAbsent {
		s.absent = maps.Clone(old.absent)
	}
	if s.absent == nil {
		s.absent = make(map[kidHash]struct{}, len(named))
	}
	for _, kid := range named {
		s.absent[kid] = struct{}{}
	}
	for kid := range s.byID {
		delete(s.absent, hashKid(kid))
	}
	if len(s.absent) == 0 {
		s.absent = nil // thousands of idle sources need none
	}
}

// size counts the keys that a token can mean.
func (s *snapshot) size() int {
	if s.only != nil {
		return 1
	}
	return len(s.byID)
}

// begin says when the fetch began that the issuer answered.
func (s *snapshot) begin(at time.Time) { s.fetched, s.wall = at, at.Unix() }

// stale reports whether nobody vouched for the keys for too long: one of them
// may have been revoked meanwhile.
func (s *snapshot) stale() bool {
	now := time.Now()
	return now.Sub(s.fetched) > s.maxStale || s.slept(now)
}

// slept reports whether the keys are too old by the wall clock alone: a machine
// that was suspended has a monotonic clock that stood still. That the wall clock
// is set right by a few minutes makes no key older.
func (s *snapshot) slept(now time.Time) bool {
	return now.Unix()-s.wall > int64((s.maxStale+maxAhead)/time.Second)
}

// confirmed is the same set after its server said that it has not changed.
func (s *snapshot) confirmed(at time.Time, interval time.Duration) *snapshot {
	c := *s
	c.begin(at)
	c.interval = interval
	return &c
}
