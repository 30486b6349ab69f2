package jwtverify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/ussoio/ussoauthz/pkg/fairshare"
)

// Cache keeps tokens that were verified, so that a token that comes again costs
// no signature. Verifiers share one; an entry serves only the Verifier that made
// it, and only after its times and its key were checked again. It never holds a
// token, but its SHA-256. Each Verifier has a fair share of it. It is safe for
// concurrent use.
type Cache struct {
	kept    *fairshare.Cache[cacheKey, verified]
	flights *xsync.Map[cacheKey, chan struct{}]
}

// Lookup is what a cache had to do with an outcome.
type Lookup uint8

// What a cache can have to do with an outcome.
const (
	NoLookup Lookup = iota // there is no cache, or it was not asked
	Miss
	Hit
)

type cacheShare = fairshare.Share[cacheKey, verified]

// cacheKey is the whole identity of an entry. A shorter hash would let two
// tokens meet; the signature would let a malleable one in.
type cacheKey struct {
	share *cacheShare // the Verifier's: its tenant, its keys, its rules
	token [sha256.Size]byte
}

type verified struct {
	id    *Identity
	proof *Proof
}

// entryOverhead is what an entry holds beside the claims, which take about
// three times the token's own bytes once a policy has read them as values, and
// what is derived from them, which may take as much as the token and
// derivedOverhead.
const (
	entryOverhead   = 1 << 10
	derivedOverhead = 512
)

// NewCache returns a cache of about maxBytes. Refused tokens are never in it,
// so that a flood of them can't push the good ones out.
func NewCache(maxBytes int64) (*Cache, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("making a token cache of %d bytes: none is made by leaving it out", maxBytes)
	}
	return &Cache{kept: fairshare.New[cacheKey, verified](maxBytes), flights: xsync.NewMap[cacheKey, chan struct{}]()}, nil
}

// Len returns how many tokens are kept.
func (c *Cache) Len() int { return c.kept.Len() }

// Bytes returns about how much memory they take.
func (c *Cache) Bytes() int64 { return c.kept.Bytes() }

func weight(p *Proof) int64 {
	return entryOverhead + 3*int64(p.size) + int64(maxDerived(p))
}

func maxDerived(p *Proof) int { return derivedOverhead + p.size }

// verifyCached is Verify with a cache. What a hit can't vouch for is verified
// from the start, so that the answer never depends on the cache.
func (v *Verifier) verifyCached(ctx context.Context, token string) (*Identity, Lookup, error) {
	if _, _, err := shape(token); err != nil { // bounds come before work
		return nil, NoLookup, err
	}
	// The bytes are only read: a copy would be the one allocation of a hit.
	key := cacheKey{share: v.share, token: sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))} // #nosec G103 -- only read
	if id := v.cached(ctx, key); id != nil {
		return id, Hit, nil
	}
	// One flight for a token that many requests bring at once. Those that waited
	// look again, and verify it themselves where it was refused, or not kept: a
	// refusal may be of the other's time or deadline.
	if over := v.cache.board(key); over != nil {
		select {
		case <-over:
		case <-ctx.Done():
		}
		if id := v.cached(ctx, key); id != nil {
			return id, Hit, nil
		}
	} else {
		defer v.cache.land(key)
	}
	id, proof, err := v.Prove(ctx, token)
	if err != nil {
		return nil, Miss, err
	}
	id.Derived = &Derived{most: maxDerived(proof)}
	v.cache.kept.Keep(v.share, key, verified{id, proof}, weight(proof), v.until(proof), v.now().Unix())
	return id, Miss, nil
}

// cached returns the identity of a token that is kept and would be accepted
// again, nil where there is none.
func (v *Verifier) cached(ctx context.Context, key cacheKey) *Identity {
	e := v.cache.kept.Find(key)
	if e == nil {
		return nil
	}
	if v.Recheck(ctx, e.Value.proof) != nil {
		v.cache.kept.Drop(e)
		return nil
	}
	e.Use()
	return e.Value.id
}

// board returns what is closed when the verification of this token that is
// under way has ended. Where none is, it begins one, which land ends: nil.
func (c *Cache) board(key cacheKey) (over <-chan struct{}) {
	mine := make(chan struct{})
	if other, underway := c.flights.LoadOrStore(key, mine); underway {
		return other
	}
	return nil
}

func (c *Cache) land(key cacheKey) {
	if mine, ok := c.flights.LoadAndDelete(key); ok {
		close(mine)
	}
}

// until is when a proof ends, 0 for never.
func (v *Verifier) until(p *Proof) int64 {
	if v.skipExpiry {
		return 0
	}
	return p.expiry + int64(v.leeway.Seconds()) + 1
}
