package jwtverify

import (
	"container/heap"
	"container/list"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v4"
)

// Cache keeps tokens that were verified, so that a token that comes again costs
// no signature. Verifiers share one; an entry serves only the Verifier that made
// it, and only after its times and its key were checked again. It never holds a
// token, but its SHA-256. It is safe for concurrent use.
//
// Its memory goes to whoever needs it. Where it is full, the Verifier with the
// most makes room, whoever asks: one that takes no more than its even share
// never loses an entry to the tokens of another.
type Cache struct {
	entries *xsync.Map[cacheKey, *cacheEntry] // a hit takes no lock and no memory
	flights *xsync.Map[cacheKey, chan struct{}]
	max     int64

	mu     sync.Mutex // of what follows; for new tokens, which cost a signature
	bytes  int64
	shares shareHeap
	expiry expiryHeap
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
	share *share // the Verifier's: its tenant, its keys, its rules
	token [sha256.Size]byte
}

type cacheEntry struct {
	id    *Identity
	proof *Proof
	used  atomic.Bool // since it was last spared

	key    cacheKey
	until  int64         // Unix time at which it is of no use any more
	order  *list.Element // in share.oldest
	expiry int           // place in Cache.expiry
}

// share is what one Verifier has in a Cache. Cache.mu guards it.
type share struct {
	bytes  int64
	oldest list.List // of *cacheEntry
	place  int       // in Cache.shares
}

const (
	// entryOverhead is what an entry holds beside the claims, which take about
	// three times the token's own bytes, and what is derived from them, which
	// may take as much as the token and derivedOverhead.
	entryOverhead   = 1 << 10
	derivedOverhead = 512
	// maxSpared bounds the work of one eviction, and of one round of expiry.
	maxSpared = 16
)

// NewCache returns a cache of about maxBytes. Refused tokens are never in it,
// so that a flood of them can't push the good ones out.
func NewCache(maxBytes int64) (*Cache, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("making a token cache of %d bytes: none is made by leaving it out", maxBytes)
	}
	return &Cache{entries: xsync.NewMap[cacheKey, *cacheEntry](), flights: xsync.NewMap[cacheKey, chan struct{}](), max: maxBytes}, nil
}

// Len returns how many tokens are kept.
func (c *Cache) Len() int { return c.entries.Size() }

// Bytes returns about how much memory they take.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// join makes a place for one more Verifier.
func (c *Cache) join() *share {
	s := &share{}
	c.mu.Lock()
	defer c.mu.Unlock()
	heap.Push(&c.shares, s)
	return s
}

func (e *cacheEntry) weight() int64 {
	return entryOverhead + 3*int64(e.proof.size) + int64(maxDerived(e.proof))
}

func maxDerived(p *Proof) int { return derivedOverhead + p.size }

// keep puts an entry in. What is of no use any more leaves first.
func (c *Cache) keep(e *cacheEntry, now int64) {
	w := e.weight()
	if w > c.max {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries.Load(e.key); ok { // two requests brought the same new token
		c.remove(old)
	}
	for range maxSpared {
		if len(c.expiry) == 0 || c.expiry[0].until > now {
			break
		}
		c.remove(c.expiry[0])
	}
	for c.bytes+w > c.max {
		c.remove(c.shares[0].victim())
	}
	e.order = e.key.share.oldest.PushBack(e)
	heap.Push(&c.expiry, e)
	c.entries.Store(e.key, e)
	c.grow(e.key.share, w)
}

// drop takes an entry out, if it is still in.
func (c *Cache) drop(e *cacheEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.order != nil {
		c.remove(e)
	}
}

// remove takes out an entry that is in. mu is held.
func (c *Cache) remove(e *cacheEntry) {
	c.entries.Delete(e.key)
	e.key.share.oldest.Remove(e.order)
	e.order = nil
	heap.Remove(&c.expiry, e.expiry)
	c.grow(e.key.share, -e.weight())
}

func (c *Cache) grow(s *share, by int64) {
	c.bytes += by
	s.bytes += by
	heap.Fix(&c.shares, s.place)
}

// victim is the oldest entry that was not used since it was last looked at, if
// one is found soon.
func (s *share) victim() *cacheEntry {
	for range maxSpared {
		e := s.oldest.Front().Value.(*cacheEntry)
		if !e.used.Swap(false) {
			return e
		}
		s.oldest.MoveToBack(e.order)
	}
	return s.oldest.Front().Value.(*cacheEntry)
}

// shareHeap has the largest share at its root.
type shareHeap []*share

func (h shareHeap) Len() int           { return len(h) }
func (h shareHeap) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h shareHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *shareHeap) Push(x any) {
	s := x.(*share)
	s.place = len(*h)
	*h = append(*h, s)
}
func (h *shareHeap) Pop() any { panic("a share never leaves") }

// expiryHeap has the entry that ends first at its root.
type expiryHeap []*cacheEntry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].until < h[j].until }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].expiry, h[j].expiry = i, j
}
func (h *expiryHeap) Push(x any) {
	e := x.(*cacheEntry)
	e.expiry = len(*h)
	*h = append(*h, e)
}
func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}

// verifyCached is Verify with a cache. What a hit can't vouch for is verified
// from the start, so that the answer never depends on the cache.
func (v *Verifier) verifyCached(ctx context.Context, token string) (*Identity, Lookup, error) {
	if _, _, err := shape(token); err != nil { // bounds come before work
		return nil, NoLookup, err
	}
	// The bytes are only read: a copy would be the one allocation of a hit.
	key := cacheKey{share: v.share, token: sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))}
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
	v.cache.keep(&cacheEntry{id: id, proof: proof, key: key, until: v.until(proof)}, v.now().Unix())
	return id, Miss, nil
}

// cached returns the identity of a token that is kept and would be accepted
// again, nil where there is none.
func (v *Verifier) cached(ctx context.Context, key cacheKey) *Identity {
	e, ok := v.cache.entries.Load(key)
	if !ok {
		return nil
	}
	if v.Recheck(ctx, e.proof) != nil {
		v.cache.drop(e)
		return nil
	}
	if !e.used.Load() { // a write would take the line from the other cores
		e.used.Store(true)
	}
	return e.id
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

// until is when a proof ends.
func (v *Verifier) until(p *Proof) int64 {
	if v.skipExpiry {
		return math.MaxInt64
	}
	return p.expiry + int64(v.leeway.Seconds()) + 1
}
