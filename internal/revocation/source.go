package revocation

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

type kind byte

const (
	token kind = iota
	session
	subject
	tenant
)

type key struct {
	tenant string
	kind   kind
	name   string
}

// String names what the key stands for as an entry does.
func (k key) String() string {
	if k.kind == tenant {
		return fmt.Sprintf("the whole tenant %q", k.tenant)
	}
	return fmt.Sprintf("%s %q", [...]string{token: "jti", session: "session_id", subject: "sub"}[k.kind], k.name)
}

// value says until when an entry stays and, of a subject or a tenant, before
// when a token must have been issued to be revoked; in microseconds since 1970.
type value struct{ before, expires int64 }

// and is what two entries of one key say together: each revokes what it did.
func (v value) and(w value) value {
	return value{max(v.before, w.before), max(v.expires, w.expires)}
}

// source is what one source told. Readers take no lock.
type source struct {
	name      string
	cfg       Config
	entries   *xsync.Map[key, value]
	available atomic.Bool
	dropped   atomic.Int64

	mu        sync.Mutex    // of writers, and of what follows
	meanwhile map[key]value // what was put while the whole content is read; nil: it is not
	synced    time.Time
	err       error
}

func newSource(name string, cfg Config) *source {
	return &source{name: name, cfg: cfg, entries: xsync.NewMap[key, value]()}
}

func (s *source) revoked(name string, id *jwtverify.Identity) bool {
	_, found := s.match(name, id)
	return found
}

// match returns the key of an entry that revokes a token.
func (s *source) match(name string, id *jwtverify.Identity) (key, bool) {
	for _, k := range [...]key{{name, token, id.ID}, {name, session, id.SessionID}} {
		if k.name != "" && s.has(k) {
			return k, true
		}
	}
	issued := [...]key{{tenant: name, kind: tenant}, {name, subject, id.UserID}, {name, subject, id.Subject}}
	different := len(issued)
	if id.Subject == id.UserID { // as in most tokens
		different--
	}
	for _, k := range issued[:different] {
		if s.older(k, id) {
			return k, true
		}
	}
	return key{}, false
}

func (s *source) has(k key) bool {
	_, found := s.entries.Load(k)
	return found
}

// older reports whether the token can have been issued before the time of an
// entry: iat is the issuer's clock, which may be ahead of the one that wrote the
// entry by the tenant's leeway. One that does not say when it was issued can.
func (s *source) older(k key, id *jwtverify.Identity) bool {
	v, found := s.entries.Load(k)
	return found && (id.IssuedAt.IsZero() || id.IssuedAt.Add(-id.Leeway).UnixMicro() < v.before)
}

// deadline is the end of entries that still count.
func (s *source) deadline() int64 { return s.cfg.Clock().Add(-Grace).UnixMicro() }

// begin says that the whole content is read from now on: what put gets
// meanwhile may not be in it.
func (s *source) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meanwhile = map[key]value{}
}

// put brings an entry into force beside the others. There may be no room.
func (s *source) put(e Entry) {
	k, v := e.key(), e.value()
	if v.expires < s.deadline() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.entries.Load(k)
	if !found && s.entries.Size() >= s.cfg.MaxEntries {
		s.dropped.Add(1)
		s.fail(errFull(1, s.cfg.MaxEntries))
		return
	}
	v = v.and(old)
	s.entries.Store(k, v)
	if s.meanwhile != nil {
		s.meanwhile[k] = v
	}
}

// replace makes the entries those of a source's whole content and of what was
// put since begin, with no moment in which one that stays is missing. beyond
// says for how many of the content there was no room.
func (s *source) replace(content map[key]value, beyond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.meanwhile {
		if old, found := content[k]; found || len(content) < s.cfg.MaxEntries {
			content[k] = v.and(old)
		} else {
			beyond++
		}
	}
	s.meanwhile = nil
	for k, v := range content {
		s.entries.Store(k, v)
	}
	s.entries.Range(func(k key, _ value) bool {
		if _, stays := content[k]; !stays {
			s.entries.Delete(k)
		}
		return true
	})
	s.synced = s.cfg.Clock()
	if s.dropped.Add(int64(beyond)); beyond > 0 {
		s.fail(errFull(beyond, s.cfg.MaxEntries))
	} else {
		s.fail(nil)
	}
}

func errFull(beyond, most int) error {
	return fmt.Errorf("%d entries are beyond the bound of %d and not in force", beyond, most)
}

// reading is what one reading of a source's whole content found.
type reading struct {
	*source
	content      map[key]value // what replace will take
	deadline     int64
	errs, beyond int // that can't be parsed; for which there is no room
}

func (s *source) newReading() *reading {
	return &reading{source: s, content: map[key]value{}, deadline: s.deadline()}
}

// add parses an entry and adds it where there is room. What has expired takes
// none. Its error says why it can't be parsed.
func (r *reading) add(line []byte) error {
	e, err := Parse(line)
	if err != nil {
		r.dropped.Add(1)
		r.errs++
		return err
	}
	k, v := e.key(), e.value()
	if v.expires < r.deadline {
		return nil
	}
	old, found := r.content[k]
	if !found && len(r.content) >= r.cfg.MaxEntries {
		r.beyond++
		return nil
	}
	r.content[k] = v.and(old)
	return nil
}

func (s *source) sweep() {
	deadline := s.deadline()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries.Range(func(k key, v value) bool {
		if v.expires < deadline {
			s.entries.Delete(k)
		}
		return true
	})
}

// unavailable notes why the source can't be read.
func (s *source) unavailable(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(err)
}

// fail is told what is wrong, nil where nothing is. The same again is no news.
// mu is held.
func (s *source) fail(err error) {
	was := s.err
	s.err = err
	s.available.Store(err == nil)
	log := s.cfg.Log.With(slog.String("source", s.name))
	switch {
	case err == nil && was != nil:
		log.Info("revocations are available again", slog.Int("entries", s.entries.Size()))
	case err != nil && (was == nil || was.Error() != err.Error()):
		log.Error("revocations are unavailable", slog.String("error", err.Error()), slog.Bool("deny", s.cfg.Deny))
	}
}

func (s *source) state() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Source: s.name, Available: s.available.Load(), Entries: s.entries.Size(), LastSync: s.synced, Dropped: s.dropped.Load()}
	if s.err != nil {
		state.Error = s.err.Error()
	}
	return state
}
