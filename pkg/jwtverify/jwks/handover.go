package jwks

import (
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// maxHandover is how long old keys serve while a new source has not answered.
const maxHandover = 10 * time.Minute

// handover is what a key set verifies with before its source has answered: the
// keys of the set that it replaced. It is immutable.
type handover struct {
	keys  *snapshot
	begun time.Time
	wall  int64 // begun by the other clock, in seconds
}

func newHandover(keys *snapshot) *handover {
	now := time.Now()
	return &handover{keys: keys, begun: now, wall: now.Unix()}
}

// TakeOver makes r find the keys of old, the set that it replaces, until its own
// source has answered once; for ten minutes at most, and never for longer after
// they were fetched than either set's MaxStale says. Call it before r is used, and
// only where who signed with the old keys is still whom the new ones are for.
//
// A set that has not answered itself hands on what it took over, with the time
// that is left of it.
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
		if len(keys) == 1 && keys[0].ID() == "" { // it would stand for every kid of the new source, too
			return
		}
		// The keys of a configuration do not age: the handover alone ends them.
		snap := newSnapshot(keys, nil)
		snap.begin(time.Now())
		snap.maxStale = maxHandover
		r.handover.Store(newHandover(snap))
	}
}

// hasAnswered reports whether the source has, or had before a restart, a key set
// of its own; one without a usable key is one too.
func (s *source) hasAnswered() bool { return s.answered.Load() || s.snapshot.Load() != nil }

// old returns the key that kid means among those taken over, nil where there is
// none or their time is over.
func (r *RemoteKeySet) old(kid string) *jwtverify.Key {
	h := r.handover.Load()
	switch {
	case h == nil:
		return nil
	case r.source.hasAnswered() || !time.Now().Before(h.until(r.source.cfg.MaxStale)) || h.slept():
		r.handover.Store(nil) // nothing brings them back
		return nil
	}
	return h.keys.find(kid)
}

// until is the end of the old keys for a set of its own MaxStale.
func (h *handover) until(maxStale time.Duration) time.Time {
	end := h.begun.Add(maxHandover)
	if stale := h.keys.fetched.Add(min(maxStale, h.keys.maxStale)); stale.Before(end) {
		return stale
	}
	return end
}

// slept reports whether the time is over by the wall clock alone, which goes on
// while a machine is suspended.
func (h *handover) slept() bool {
	now := time.Now()
	return now.Unix()-h.wall > int64(maxHandover/time.Second) || h.keys.slept(now)
}

// status adds what was taken over.
func (h *handover) status(st *Status, s *source) {
	if h == nil || s.hasAnswered() {
		return
	}
	if until := h.until(s.cfg.MaxStale); time.Now().Before(until) && !h.slept() {
		st.OldUntil, st.OldKeys = until, h.keys.size()
	}
}
