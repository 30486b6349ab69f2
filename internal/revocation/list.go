// Package revocation holds the tokens, sessions, subjects and tenants whose
// tokens are refused before they expire, and keeps up with where that is
// written: a file, a Redis or Valkey, or both.
package revocation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Config says where revocations come from.
type Config struct {
	File  string // JSON lines; "": none
	Redis Redis  // the zero value: none

	// Deny makes Revoked fail while a source is unavailable. Otherwise what is
	// known stays in force.
	Deny       bool
	MaxEntries int              // of each source; 0: 1,000,000
	Clock      func() time.Time // nil: time.Now
	Log        *slog.Logger     // nil: none
}

// Grace is how long an entry outlives its end: a verifier accepts a token after
// its exp for as long as a tenant's leeway, of which this is the greatest.
const Grace = 5 * time.Minute

const (
	maxEntries = 1_000_000
	sweepEvery = time.Minute
)

// ErrUnavailable is what Revoked returns while revocations can't be known.
var ErrUnavailable = errors.New("revocations are unavailable")

// List answers whether a token was revoked. Make one with Open; its methods are
// safe for concurrent use.
type List struct {
	cfg     Config
	sources []*source
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Open reads the sources and follows them until Close. A source that can't be
// read is no error: it is unavailable, and tried again. Of Redis it waits for
// the first reading, or the first fault, some seconds at most.
func Open(ctx context.Context, cfg Config) *List {
	if cfg.MaxEntries <= 0 {
		cfg.MaxEntries = maxEntries
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &List{cfg: cfg}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	if cfg.File != "" {
		l.followFile(ctx)
	}
	if cfg.Redis.Enabled() {
		l.followRedis(ctx)
	}
	l.running.Go(func() { l.sweeping(ctx) })
	return l
}

// Format keeps fmt from looking at the configuration, where it would print the
// password: it asks no field that is not exported how it wants to be shown.
func (l *List) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "revocations") } // fmt can't fail

// Close ends what Open began. What is known stays known. A nil List is closed.
func (l *List) Close() {
	if l == nil {
		return
	}
	l.stop()
	l.running.Wait()
}

// Revoked reports whether a token of tenant was revoked. It takes no lock and
// no memory. Its error is ErrUnavailable: nobody knows.
func (l *List) Revoked(name string, id *jwtverify.Identity) (bool, error) {
	for _, s := range l.sources {
		if s.revoked(name, id) {
			return true, nil
		}
	}
	if l.cfg.Deny {
		for _, s := range l.sources {
			if !s.available.Load() {
				return false, ErrUnavailable
			}
		}
	}
	return false, nil
}

// Why says which entry, of which source, revokes a token; "" where none does.
// It is for people.
func (l *List) Why(name string, id *jwtverify.Identity) string {
	for _, s := range l.sources {
		if k, found := s.match(name, id); found {
			return fmt.Sprintf("the %s has an entry for %s", s.name, k)
		}
	}
	return ""
}

// State is how a source is.
type State struct {
	Source    string    `json:"source"` // file or redis
	Available bool      `json:"available"`
	Entries   int       `json:"entries"`
	LastSync  time.Time `json:"last_sync,omitzero"`
	Dropped   int64     `json:"dropped"` // readings of entries that were unreadable or beyond the bound
	Error     string    `json:"error,omitempty"`
}

// States tells of each source. A nil List has none.
func (l *List) States() []State {
	if l == nil {
		return nil
	}
	states := make([]State, len(l.sources))
	for i, s := range l.sources {
		states[i] = s.state()
	}
	return states
}

// add makes a source of a name.
func (l *List) add(name string) *source {
	s := newSource(name, l.cfg)
	l.sources = append(l.sources, s)
	return s
}

func (l *List) sweeping(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.sweep()
		}
	}
}

// sweep lets go of what has expired.
func (l *List) sweep() {
	for _, s := range l.sources {
		s.sweep()
	}
}
