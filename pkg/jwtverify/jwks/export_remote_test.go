package jwks

import (
	"crypto/x509"
	"net/http"
	"time"
)

// What the external tests of remote key sets need from the inside.
var (
	CheckAddress = checkAddress
	Lifetime     = lifetime
	Interval     = clampInterval
	Backoff      = backoff
	WithJitter   = withJitter
)

const (
	MaxWaiters = maxWaiters
	MaxAbsent  = maxAbsent
)

// Absent counts the kids that are remembered as absent.
func (r *RemoteKeySet) Absent() int { return len(r.source.snapshot.Load().absent) }

// GuardedTransport is the transport of a Fetcher, with the roots of a test's server.
func GuardedTransport(denyPrivate bool, roots *x509.CertPool) *http.Transport {
	t := newTransport(denyPrivate, 2)
	t.TLSClientConfig.RootCAs = roots
	return t
}

// Idle reports whether nothing is queued or running.
func (f *Fetcher) Idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running == [lanes]int{} && len(f.queue.hosts) == 0
}

// Sleep gives a set the state after its machine was suspended: the wall clock went on,
// and the monotonic one did not.
func (r *RemoteKeySet) Sleep(d time.Duration) {
	s := *r.source.snapshot.Load()
	s.wall -= int64(d / time.Second)
	r.source.snapshot.Store(&s)
}

// SleepOver is Sleep for the keys that a set took over.
func (r *RemoteKeySet) SleepOver(d time.Duration) {
	h := *r.handover.Load()
	h.wall -= int64(d / time.Second)
	r.handover.Store(&h)
}
