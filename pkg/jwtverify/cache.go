package jwtverify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/ussoio/ussoauthz/pkg/fairshare"
)

// Cache holds the identities of verified tokens, so that a repeated token costs no
// signature check. An entry serves only the Verifier that made it, and only after its
// times and its key were checked again. It stores the SHA-256 of a token, never the
// token. Verifiers share one cache, and each has a fair share of it. It is safe for
// concurrent use.
type Cache struct {
	entries *fairshare.Cache[cacheKey, cacheEntry]
	flights *xsync.Map[cacheKey, chan struct{}] // verifications that are running; closed at their end
}

// Lookup is the outcome of a cache lookup.
type Lookup uint8

// The outcomes of a cache lookup.
const (
	NoLookup Lookup = iota // there is no cache, or the token was refused before the lookup
	Miss
	Hit
)

type cacheShare = fairshare.Share[cacheKey, cacheEntry]

// cacheKey identifies an entry. A shorter hash would let two tokens collide; the
// signature as the key would serve a malleable one for another token.
type cacheKey struct {
	share *cacheShare // of the Verifier: its tenant, its keys, its rules
	token [sha256.Size]byte
}

type cacheEntry struct {
	id    *Identity
	proof *Proof
}

// The estimated memory of an entry, in bytes: entryOverhead, three times the token (its
// claims, once a policy has read them as values), and the derived value, which may take
// the token's size and derivedOverhead.
const (
	entryOverhead   = 1 << 10
	derivedOverhead = 512
)

// NewCache returns a cache of about maxBytes, which must be positive. Refused tokens are
// never in it, so that a flood of them cannot evict the valid ones.
func NewCache(maxBytes int64) (*Cache, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("making a token cache of %d bytes: none is made by leaving it out", maxBytes)
	}
	return &Cache{entries: fairshare.New[cacheKey, cacheEntry](maxBytes), flights: xsync.NewMap[cacheKey, chan struct{}]()}, nil
}

// Len returns the number of cached tokens.
func (c *Cache) Len() int { return c.entries.Len() }

// Bytes returns the estimated memory of the entries.
func (c *Cache) Bytes() int64 { return c.entries.Bytes() }

func weight(p *Proof) int64 {
	return entryOverhead + 3*int64(p.size) + int64(maxDerived(p))
}

func maxDerived(p *Proof) int { return derivedOverhead + p.size }

// verifyCached is Verify with a cache. What a hit cannot prove again is verified from
// the start, so that the answer never depends on the cache.
func (v *Verifier) verifyCached(ctx context.Context, token string) (*Identity, Lookup, error) {
	if _, _, err := splitToken(token); err != nil { // before the hash of a huge token
		return nil, NoLookup, err
	}
	// The bytes are only read: a copy would be the one allocation of a hit.
	key := cacheKey{share: v.share, token: sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))} // #nosec G103 -- only read
	if id := v.cached(ctx, key); id != nil {
		return id, Hit, nil
	}
	// One verification at a time for a token that many requests bring at once. Those
	// that waited look again, and verify it themselves where it was refused or not
	// cached: the other's refusal may come from its own time or deadline.
	if done := v.cache.joinFlight(key); done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
		if id := v.cached(ctx, key); id != nil {
			return id, Hit, nil
		}
	} else {
		defer v.cache.endFlight(key)
	}
	id, proof, err := v.Prove(ctx, token)
	if err != nil {
		return nil, Miss, err
	}
	id.Derived = &Derived{maxBytes: maxDerived(proof)}
	v.cache.entries.Keep(v.share, key, cacheEntry{id, proof}, weight(proof), v.expiresAt(proof), v.now().Unix())
	return id, Miss, nil
}

// cached returns the identity of a cached token that would be accepted again, else nil.
func (v *Verifier) cached(ctx context.Context, key cacheKey) *Identity {
	e := v.cache.entries.Find(key)
	if e == nil {
		return nil
	}
	if v.Recheck(ctx, e.Value.proof) != nil {
		v.cache.entries.Drop(e)
		return nil
	}
	e.Use()
	return e.Value.id
}

// joinFlight returns a channel that is closed when the running verification of this
// token ends; nil where none runs: then the caller runs it, and must call endFlight.
func (c *Cache) joinFlight(key cacheKey) (done <-chan struct{}) {
	mine := make(chan struct{})
	if other, running := c.flights.LoadOrStore(key, mine); running {
		return other
	}
	return nil
}

func (c *Cache) endFlight(key cacheKey) {
	if mine, ok := c.flights.LoadAndDelete(key); ok {
		close(mine)
	}
}

// expiresAt returns the Unix time at which a proof ends, 0 for never.
func (v *Verifier) expiresAt(p *Proof) int64 {
	if v.skipExpiry {
		return 0
	}
	return p.expiry + int64(v.leeway.Seconds()) + 1
}
