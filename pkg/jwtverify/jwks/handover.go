package jwks

import (
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// maxHandover is how long old keys are valid while a new source has not answered.
const maxHandover = 10 * time.Minute

// handover holds the keys that a set verifies with before its source has answered:
// those of the set that it replaced. It is immutable.
type handover struct {
	keys  *snapshot
	begun time.Time
	wall  int64 // begun by the wall clock, in Unix seconds
}

func newHandover(keys *snapshot) *handover {
	now := time.Now()
	return &handover{keys: keys, begun: now, wall: now.Unix()}
}

// TakeOver lets r find the keys of old, the set that it replaces, until its own source
// has answered once; for ten minutes at most, and never longer after they were fetched
// than either set's MaxStale. A set that has not answered itself hands on the keys that
// it took over, with the time that is left of theirs.
//
// Call it before r is used, and only where both sets are of the same issuer: whoever
// signs with the old keys is trusted as the owner of the new ones.
func (r *RemoteKeySet) TakeOver(old jwtverify.KeySet) {
	switch old := old.(type) {
	case *RemoteKeySet:
		if h := old.handover.Load(); h != nil && !old.source.hasAnswered() {
			r.handover.Store(h)
		} else if snap := old.source.snapshot.Load(); snap != nil && snap.size() > 0 && old.source != r.source {
			r.handover.Store(newHandover(snap))
		}
	case *jwtverify.StaticKeySet:
		keys := old.Keys()
		if len(keys) == 1 && keys[0].ID() == "" {
			return // it would match every kid of the new source, too
		}
		// The keys of a configuration do not age: the handover alone ends them.
		snap := newSnapshot(keys, nil)
		snap.setFetched(time.Now())
		snap.maxStale = maxHandover
		r.handover.Store(newHandover(snap))
	}
}

// hasAnswered reports whether the source has a key set of its own, from its server or
// from the store. A set without a usable key counts.
func (s *source) hasAnswered() bool { return s.answered.Load() || s.snapshot.Load() != nil }

// findOld returns the key with the kid among those taken over, nil where there is none
// or their time has ended.
func (r *RemoteKeySet) findOld(kid string) *jwtverify.Key {
	h := r.handover.Load()
	switch {
	case h == nil:
		return nil
	case r.source.hasAnswered() || h.ended(r.source.cfg.MaxStale):
		r.handover.Store(nil) // they never come back
		return nil
	}
	return h.keys.find(kid)
}

// until returns when the old keys end in a set with this MaxStale.
func (h *handover) until(maxStale time.Duration) time.Time {
	end := h.begun.Add(maxHandover)
	if stale := h.keys.fetched.Add(min(maxStale, h.keys.maxStale)); stale.Before(end) {
		return stale
	}
	return end
}

// ended reports whether the time of the old keys is over, by the monotonic clock or,
// after the machine was suspended, by the wall clock.
func (h *handover) ended(maxStale time.Duration) bool {
	now := time.Now()
	return !now.Before(h.until(maxStale)) || now.Unix()-h.wall > int64(maxHandover/time.Second) || h.keys.staleByWallClock(now)
}

// addStatus adds the keys that were taken over.
func (h *handover) addStatus(st *Status, s *source) {
	if h == nil || s.hasAnswered() || h.ended(s.cfg.MaxStale) {
		return
	}
	st.OldKeys, st.OldUntil = h.keys.size(), h.until(s.cfg.MaxStale)
}
