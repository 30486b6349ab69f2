package policy

import (
	"container/heap"
	"container/list"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// decisionCache keeps the decisions of one engine under the whole of what they
// depend on. It dies with the engine, as do the policy and the data that are no
// part of its keys.
//
// Its memory goes to whoever needs it. Where it is full, the tenant with the
// most makes room, whoever asks: a tenant that takes no more than its even
// share never loses an entry to the requests of another.
type decisionCache struct {
	entries *xsync.Map[string, *cached] // a hit takes no lock and no memory
	max     int64

	mu      sync.Mutex // of what follows; for new decisions, which cost an evaluation
	bytes   int64
	tenants map[string]*share
	largest shareHeap
}

type cached struct {
	decision Decision
	used     atomic.Bool // since it was last spared

	key    string
	weight int64
	share  *share
	order  *list.Element // in share.oldest
}

// share is what one tenant has in the cache.
type share struct {
	bytes  int64
	oldest list.List // of *cached
	place  int       // in decisionCache.largest
}

const (
	// maxKey bounds a key: it holds what a client chose, a body perhaps. A
	// request with more is evaluated.
	maxKey = 16 << 10
	// cachedOverhead is about what an entry takes beside its texts.
	cachedOverhead = 640
	// maxSpared bounds the work of one eviction.
	maxSpared = 16
)

// newDecisionCache returns nil for no bytes: a nil cache keeps nothing.
func newDecisionCache(maxBytes int64) *decisionCache {
	if maxBytes <= 0 {
		return nil
	}
	return &decisionCache{entries: xsync.NewMap[string, *cached](), max: maxBytes, tenants: map[string]*share{}}
}

// find looks a key up. The bytes are only read: a copy would be the one
// allocation of a hit.
func (c *decisionCache) find(key []byte) (*Decision, bool) {
	e, ok := c.entries.Load(unsafe.String(unsafe.SliceData(key), len(key)))
	if !ok {
		return nil, false
	}
	if !e.used.Load() { // a write would take the line from the other cores
		e.used.Store(true)
	}
	return &e.decision, true
}

// keep puts a decision in. What it holds on to is its own: the texts of a
// request may be gone when the request is.
func (c *decisionCache) keep(tenant string, key []byte, d *Decision) {
	e := &cached{decision: d.clone(), key: string(key)}
	e.decision.Lookup = jwtverify.Hit
	e.weight = cachedOverhead + int64(len(e.key)) + e.decision.size()
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries.Load(e.key); ok { // two requests asked the same
		c.remove(old)
	}
	e.share = c.shareOf(tenant)
	if e.weight > c.max/int64(len(c.tenants)) { // more than an even share
		return
	}
	for c.bytes+e.weight > c.max {
		c.remove(c.largest[0].victim())
	}
	e.order = e.share.oldest.PushBack(e)
	c.entries.Store(e.key, e)
	c.grow(e.share, e.weight)
}

func (c *decisionCache) shareOf(tenant string) *share {
	s := c.tenants[tenant]
	if s == nil {
		s = &share{}
		c.tenants[strings.Clone(tenant)] = s
		heap.Push(&c.largest, s)
	}
	return s
}

// remove takes out an entry that is in. mu is held.
func (c *decisionCache) remove(e *cached) {
	c.entries.Delete(e.key)
	e.share.oldest.Remove(e.order)
	c.grow(e.share, -e.weight)
}

func (c *decisionCache) grow(s *share, by int64) {
	c.bytes += by
	s.bytes += by
	heap.Fix(&c.largest, s.place)
}

// victim is the oldest entry that was not used since it was last looked at, if
// one is found soon.
func (s *share) victim() *cached {
	for range maxSpared {
		e := s.oldest.Front().Value.(*cached)
		if !e.used.Swap(false) {
			return e
		}
		s.oldest.MoveToBack(e.order)
	}
	return s.oldest.Front().Value.(*cached)
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

// CacheStats tells how many decisions an engine keeps, and about how much
// memory they take.
type CacheStats struct {
	Entries int
	Bytes   int64
}

// CacheStats is zero where no decisions are kept.
func (e *Engine) CacheStats() CacheStats {
	if e.cache == nil {
		return CacheStats{}
	}
	e.cache.mu.Lock()
	defer e.cache.mu.Unlock()
	return CacheStats{Entries: e.cache.entries.Size(), Bytes: e.cache.bytes}
}
