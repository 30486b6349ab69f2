package e2e

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// fault is something that is broken for a while.
type fault struct {
	kind  string
	where string    // a tenant, or "" for all
	from  time.Time // before it was broken
	until time.Time // after it was whole again; zero: it is broken
}

// The kinds of faults that somebody looks for. All others change no answer.
const (
	replicaReplaced = "replica replaced" // it drains, and another takes its place: no excuse
	envoyStopped    = "envoy stopped and started"
	replicaKilled   = "replica killed and started"
	replicaStarted  = "replica starts" // it has no keys at first
	issuerEmpty     = "issuer publishes an empty set"
	issuerLies      = "issuer publishes another key set"

	// All kinds that begin so: what was written shortly before is in force at
	// their end, and a replica that starts meanwhile knows only what the file has.
	redisFault = "Redis "
)

// ledger knows what was broken when.
type ledger struct {
	mu    sync.Mutex
	list  []*fault
	count map[string]int
}

func (l *ledger) begin(kind, where string) *fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &fault{kind: kind, where: where, from: time.Now()}
	l.list = append(l.list, f)
	l.count[kind]++
	return f
}

func (l *ledger) end(f *fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.until = time.Now()
}

// during returns what was broken at any moment from start to end.
func (l *ledger) during(start, end time.Time) []fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []fault
	for _, f := range l.list {
		if f.from.Before(end) && (f.until.IsZero() || f.until.After(start)) {
			list = append(list, *f)
		}
	}
	return list
}

// startedIn reports whether a replica began without keys while a fault lasted,
// or so shortly before that its first fetch met the fault.
func (l *ledger) startedIn(f fault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.list, func(s *fault) bool {
		return s.kind == replicaStarted && (s.until.IsZero() || s.until.After(f.from)) && (f.until.IsZero() || s.from.Before(f.until))
	})
}

// forgot reports whether replicas may have let go of a tenant's keys on disk
// shortly before a fault or in it: its issuer said that it has none.
func (l *ledger) forgot(f fault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.list, func(g *fault) bool {
		return g.kind == issuerEmpty && g.where == f.where && (g.until.IsZero() || g.until.Add(5*time.Second).After(f.from)) &&
			(f.until.IsZero() || g.from.Before(f.until))
	})
}

// question is a request with the answer that it gets from a whole world.
type question struct {
	name   string
	tenant string
	method string
	host   string
	path   string
	token  string
	header [2]string // one more
	reason string    // "": allowed
	user   string    // whom the application must see; "": nobody

	notBefore, expires time.Time // of the token; zero: it bears no times
	imposter           bool      // signed by whom the issuer names while it lies
	revoked            *revoked  // the token is or will be; nil: it never is
}

const (
	chaosLeeway = 2 * time.Second
	chaosTTL    = 2 * time.Second
	promised    = time.Second // from a revocation's writing until it is in force

	allowed      = "allowed"
	tokenRevoked = "token_revoked"
	envoyAlone   = "envoy"     // a refusal of Envoy's own
	noAnswer     = "no answer" // the connection broke
)

// acceptable returns every outcome that a request between start and end may
// have: the one of a whole world, and those that the faults of that time excuse.
// It is allowed where that is due, and nothing excuses an allow but a token of
// the very keys that the issuer published at that time.
func (l *ledger) acceptable(q question, start, end time.Time) []string {
	list := q.inWholeWorld(start, end, l.usual(q, start, end))
	for _, f := range l.during(start, end) {
		switch {
		case f.kind == envoyStopped:
			list = append(list, noAnswer, envoyAlone)
		case f.kind == replicaKilled:
			list = append(list, envoyAlone)
		case f.where != q.tenant || q.token == "":
		case f.kind == issuerEmpty && end.Sub(f.from) > chaosTTL*9/10: // seen twice; and when no lookup of a kid is left
			list = append(list, "token_invalid", "keys_unavailable")
		case f.kind == issuerLies:
			list = append(list, "token_invalid")
			if q.imposter {
				list = append(list, allowed)
			}
		}
		// Else there are the keys on disk.
		if f.where != "" && f.where == q.tenant && q.token != "" && l.startedIn(f) && l.forgot(f) {
			list = append(list, "keys_unavailable")
		}
	}
	return list
}

// usual is what the answer depends on but for the token's times and faults of
// others. A revoked token is refused once the promised time is over, and ever
// after. Only a Redis that is broken at that time excuses more, and for a replica
// that starts without it.
func (l *ledger) usual(q question, start, end time.Time) []string {
	if q.revoked == nil {
		return []string{cmp.Or(q.reason, allowed)}
	}
	begun, written := q.revoked.begun.Load(), q.revoked.written.Load()
	switch {
	case begun == nil || begun.After(end):
		return []string{allowed}
	case written == nil || start.Before(written.Add(promised)):
		return []string{allowed, tokenRevoked}
	}
	for _, f := range l.during(start, end) {
		if !q.revoked.inFile && strings.HasPrefix(f.kind, redisFault) && (f.from.Before(written.Add(promised)) || l.startedIn(f)) {
			return []string{allowed, tokenRevoked}
		}
	}
	return []string{tokenRevoked}
}

// inWholeWorld adds to what is usual, or puts in its place, what a token's time
// gives that comes or ends within the request.
func (q question) inWholeWorld(start, end time.Time, usual []string) []string {
	if q.expires.IsZero() {
		return usual
	}
	var list []string
	expires, begins := q.expires.Add(chaosLeeway), q.notBefore.Add(-chaosLeeway)
	if !end.Before(expires) {
		list = append(list, "token_expired")
	}
	if start.Before(begins) {
		list = append(list, "token_invalid")
	}
	if start.Before(expires) && !end.Before(begins) {
		list = append(list, usual...)
	}
	return list
}
