package jwtverify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/maypok86/otter/v2"
)

// Cache keeps tokens that were verified, so that a token that comes again costs
// no signature. Verifiers share one; an entry serves only the Verifier that made
// it, and only after its times and its key were checked again. It never holds a
// token, but its SHA-256. It is safe for concurrent use.
type Cache struct {
	entries *otter.Cache[cacheKey, *cacheEntry]
	scopes  atomic.Uint64
}

// Lookup is what a cache had to do with an outcome.
type Lookup uint8

// What a cache can have to do with an outcome.
const (
	NoLookup Lookup = iota // there is no cache, or it was not asked
	Miss
	Hit
)

// cacheKey is the whole identity of an entry. A shorter hash would let two
// tokens meet; the signature would let a malleable one in.
type cacheKey struct {
	scope uint64 // the Verifier: its tenant, its keys, its rules
	token [sha256.Size]byte
}

type cacheEntry struct {
	id    *Identity
	proof *Proof
}

// entryOverhead is what an entry holds beside the claims, which take about
// three times the token's own bytes.
const entryOverhead = 1 << 10

// NewCache returns a cache of about maxBytes. Refused tokens are never in it,
// so that a flood of them can't push the good ones out.
func NewCache(maxBytes int64) (*Cache, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("making a token cache of %d bytes: none is made by leaving it out", maxBytes)
	}
	entries, err := otter.New(&otter.Options[cacheKey, *cacheEntry]{
		MaximumWeight: uint64(maxBytes),
		Weigher:       func(_ cacheKey, e *cacheEntry) uint32 { return e.weight() },
	})
	if err != nil {
		return nil, fmt.Errorf("making the token cache: %w", err)
	}
	return &Cache{entries: entries}, nil
}

// Len returns about how many tokens are kept.
func (c *Cache) Len() int { return c.entries.EstimatedSize() }

// Bytes returns about how much memory they take.
func (c *Cache) Bytes() int64 {
	c.entries.CleanUp() // evictions may be waiting
	return int64(c.entries.WeightedSize())
}

func (e *cacheEntry) weight() uint32 { return uint32(entryOverhead + 3*e.proof.size) }

// verifyCached is Verify with a cache. What a hit can't vouch for is verified
// from the start, so that the answer never depends on the cache.
func (v *Verifier) verifyCached(ctx context.Context, token string) (*Identity, Lookup, error) {
	if token == "" || len(token) > maxTokenBytes { // bounds come before work
		id, _, err := v.Prove(ctx, token)
		return id, NoLookup, err
	}
	// The bytes are only read: a copy would be the one allocation of a hit.
	key := cacheKey{scope: v.scope, token: sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))}
	if e, ok := v.cache.entries.GetIfPresent(key); ok {
		if v.Recheck(ctx, e.proof) == nil {
			return e.id, Hit, nil
		}
		v.cache.entries.Invalidate(key)
	}
	id, proof, err := v.Prove(ctx, token)
	if err != nil {
		return nil, Miss, err
	}
	v.cache.entries.Set(key, &cacheEntry{id: id, proof: proof})
	return id, Miss, nil
}
