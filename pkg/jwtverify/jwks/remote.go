package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// RemoteConfig names a source of keys on the network.
type RemoteConfig struct {
	// URL of a JWK set, or with Discovery of an openid-configuration. It must
	// pass CheckKeyURL.
	URL       string
	Discovery bool
	// Issuers are the accepted values of issuer in an openid-configuration,
	// at least one. They are not used without Discovery.
	Issuers   []string
	AllowHTTP bool // http:// URLs of hosts that are not loopback
	// CAFile holds the certificates (PEM) of the authorities that may have signed the
	// server's, in place of the system's; CertFile and KeyFile the client certificate
	// for a server that requires one. They are read at each fetch, so renewed files
	// need no reload.
	CAFile, CertFile, KeyFile string
	// TTL is the longest time between two fetches; 0 is 1 hour. The freshness that the
	// server gives in Cache-Control counts between 1 minute and TTL.
	TTL time.Duration
	// MaxStale is how long keys are valid after the last good fetch; 0 is 24
	// hours. It must not be less than TTL.
	MaxStale time.Duration
}

// check fills in the defaults and parses the URL.
func (c *RemoteConfig) check() (*url.URL, error) {
	u, err := parseKeyURL(c.URL, c.AllowHTTP)
	if err != nil {
		return nil, err
	}
	if c.TTL == 0 {
		c.TTL = time.Hour
	}
	if c.MaxStale == 0 {
		c.MaxStale = max(24*time.Hour, c.TTL)
	}
	switch {
	case c.TTL < time.Second:
		return nil, fmt.Errorf("a ttl of %s is too short: write 1s or more", c.TTL)
	case c.MaxStale < c.TTL:
		return nil, fmt.Errorf("max_stale %s is less than ttl %s: keys would run out between two fetches", c.MaxStale, c.TTL)
	case c.Discovery && len(c.Issuers) == 0:
		return nil, errors.New("discovery needs an issuer: the document's own must be one that is expected")
	case c.Discovery && slices.Contains(c.Issuers, ""):
		return nil, errors.New("an issuer is empty")
	}
	if !c.Discovery {
		c.Issuers = nil // two tenants of one URL share its source
	}
	c.Issuers = slices.Clone(c.Issuers)
	slices.Sort(c.Issuers)
	return u, nil
}

// sourceID is equal for configurations that share one source.
func (c *RemoteConfig) sourceID() string {
	return fmt.Sprintf("%s %q %q %d %d", c.origin(), c.CertFile, c.KeyFile, c.TTL, c.MaxStale)
}

// origin is equal for configurations whose keys come from the same place under the same
// checks: they share one file of a KeyStore.
func (c *RemoteConfig) origin() string {
	return fmt.Sprintf("%q %t %q %t %q", c.URL, c.Discovery, c.Issuers, c.AllowHTTP, c.CAFile)
}

// RemoteKeySet is a jwtverify.KeySet that a Fetcher fetches and refreshes. It is safe
// for concurrent use. Make one with Fetcher.Open.
type RemoteKeySet struct {
	source   *source
	handover atomic.Pointer[handover] // nil: none, or its time has ended
	once     sync.Once
}

// Find returns the key named kid, or for an empty kid the only key of the set.
// A known key is returned at once, without a lock or an allocation.
//
// A request waits only for a kid that no key has: until the end of the fetch that may
// bring it, for half of its remaining time at most and 500 ms at most. Unknown kids
// cause three fetches at once and then one in 30 seconds, whatever their number.
//
// The error wraps jwtverify.ErrUnknownKey where the issuer was fetched after the kid was
// first requested, and had no such key. It wraps jwtverify.ErrKeysUnavailable where no
// fetch succeeded yet, the last good one is longer ago than MaxStale, or the kid could
// not be looked up yet; then jwtverify.RetryAfter returns when it can be.
func (r *RemoteKeySet) Find(ctx context.Context, kid string) (*jwtverify.Key, error) {
	if snap := r.source.snapshot.Load(); snap != nil {
		if k := snap.find(kid); k != nil && !snap.stale() {
			return k, nil
		}
	} else if k := r.findOld(kid); k != nil {
		return k, nil
	}
	return r.source.find(ctx, kid)
}

// Keys returns the keys that a token can name, sorted by kid, however old they are:
// Status has their age.
func (r *RemoteKeySet) Keys() []*jwtverify.Key {
	snap := r.source.snapshot.Load()
	switch {
	case snap == nil:
		return nil
	case snap.only != nil:
		return []*jwtverify.Key{snap.only}
	}
	keys := make([]*jwtverify.Key, 0, len(snap.byID))
	for _, k := range snap.byID {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *jwtverify.Key) int { return strings.Compare(a.ID(), b.ID()) })
	return keys
}

// Close releases the set. When the last set of a source is closed its timer stops, and
// the result of a running fetch is dropped; requests that still hold the set go on with
// the keys that it has. It may be called more than once.
func (r *RemoteKeySet) Close() {
	r.once.Do(func() { r.source.fetcher.release(r.source) })
}

// Status is the state of a remote key set, for metrics and status pages.
type Status struct {
	Keys      int       // usable keys
	Fetched   time.Time // the last good fetch; zero: none yet
	LastError error     // of the last fetch, or why its set was not applied; nil: none
	NextFetch time.Time // zero: queued or running
	Fetches   int64     // started so far
	Failures  int64     // of them, those that ended with an error

	OldKeys  int       // keys that were taken over, valid until this source answers
	OldUntil time.Time // and until this time at most
}

// Status returns the state of the set. The keys of a set whose last good fetch is longer
// ago than MaxStale are counted, though Find returns none of them.
func (r *RemoteKeySet) Status() Status {
	st := r.source.status()
	r.handover.Load().addStatus(&st, r.source)
	return st
}
