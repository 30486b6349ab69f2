// Package fairshare is a cache whose memory many tenants share.
//
// The memory goes to whoever needs it. Where it is full, the one with the most
// makes room, whoever asks: one that takes no more than its even share never
// loses an entry to another. Libraries evict by what is used least, which a
// flood of one tenant decides for all.
package fairshare

import (
	"container/heap"
	"container/list"
	"sync"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v4"
)

// Cache keeps values under keys. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	entries *xsync.Map[K, *Entry[K, V]] // a hit takes no lock and no memory
	max     int64

	mu     sync.Mutex // of what follows; for what is new, which cost more than a lock
	bytes  int64
	shares shareHeap[K, V]
	expiry expiryHeap[K, V]
}

// Entry is a value that is, or was, in a cache.
type Entry[K comparable, V any] struct {
	Value V

	key    K
	used   atomic.Bool // since it was last spared
	share  *Share[K, V]
	weight int64
	until  int64
	order  *list.Element // in Share.oldest; nil: it has left
	expiry int           // place in Cache.expiry, or -1
}

// Share is what one tenant has in a cache.
type Share[K comparable, V any] struct {
	bytes  int64
	oldest list.List // of *Entry
	place  int       // in Cache.shares
}

// maxSpared bounds the work of one eviction, and of one round of expiry.
const maxSpared = 16

// New returns a cache of maxBytes, as its users weigh what they keep.
func New[K comparable, V any](maxBytes int64) *Cache[K, V] {
	return &Cache[K, V]{entries: xsync.NewMap[K, *Entry[K, V]](), max: maxBytes}
}

// Len returns how many values are kept.
func (c *Cache[K, V]) Len() int { return c.entries.Size() }

// Bytes returns what they weigh.
func (c *Cache[K, V]) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Join makes a place for one more tenant. It is there as long as the cache.
func (c *Cache[K, V]) Join() *Share[K, V] {
	s := &Share[K, V]{}
	c.mu.Lock()
	defer c.mu.Unlock()
	heap.Push(&c.shares, s)
	return s
}

// Find returns the entry under a key, nil where there is none. A key that
// equals it is only read: it may be made of bytes that change afterwards.
func (c *Cache[K, V]) Find(key K) *Entry[K, V] {
	e, _ := c.entries.Load(key)
	return e
}

// Use tells that the entry was of use: it is spared once.
func (e *Entry[K, V]) Use() {
	if !e.used.Load() { // a write would take the line from the other cores
		e.used.Store(true)
	}
}

// Keep puts a value of a weight in, in place of one under the same key. At the
// Unix time until it is of no use any more, 0 for never: such values leave
// first. It is not kept where it weighs more than all may, or where making room
// for it would take from those that have less.
func (c *Cache[K, V]) Keep(s *Share[K, V], key K, v V, weight, until, now int64) {
	if weight > c.max {
		return
	}
	e := &Entry[K, V]{Value: v, key: key, share: s, weight: weight, until: until, expiry: -1}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.Find(key); old != nil { // two requests brought the same
		c.remove(old)
	}
	c.expire(now)
	c.grow(s, weight) // first: the room is made by whoever has the most with it
	if !c.makeRoom() {
		c.grow(s, -weight)
		return
	}
	e.order = s.oldest.PushBack(e)
	if until != 0 {
		heap.Push(&c.expiry, e)
	}
	c.entries.Store(key, e)
}

// Drop takes an entry out, if it is still in.
func (c *Cache[K, V]) Drop(e *Entry[K, V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.order != nil {
		c.remove(e)
	}
}

func (c *Cache[K, V]) expire(now int64) {
	for range maxSpared {
		if len(c.expiry) == 0 || c.expiry[0].until > now {
			return
		}
		c.remove(c.expiry[0])
	}
}

// makeRoom is false where the largest share has nothing left to give: it is
// what asked for the room.
func (c *Cache[K, V]) makeRoom() bool {
	for c.bytes > c.max {
		largest := c.shares[0]
		if largest.oldest.Len() == 0 {
			return false
		}
		c.remove(largest.victim())
	}
	return true
}

// remove takes out an entry that is in. mu is held.
func (c *Cache[K, V]) remove(e *Entry[K, V]) {
	c.entries.Delete(e.key)
	e.share.oldest.Remove(e.order)
	e.order = nil
	if e.expiry >= 0 {
		heap.Remove(&c.expiry, e.expiry)
	}
	c.grow(e.share, -e.weight)
}

func (c *Cache[K, V]) grow(s *Share[K, V], by int64) {
	c.bytes += by
	s.bytes += by
	heap.Fix(&c.shares, s.place)
}

// victim is the oldest entry that was not used since it was last looked at, if
// one is found soon.
func (s *Share[K, V]) victim() *Entry[K, V] {
	for range maxSpared {
		e := s.oldest.Front().Value.(*Entry[K, V])
		if !e.used.Swap(false) {
			return e
		}
		s.oldest.MoveToBack(e.order)
	}
	return s.oldest.Front().Value.(*Entry[K, V])
}

// shareHeap has the largest share at its root.
type shareHeap[K comparable, V any] []*Share[K, V]

func (h shareHeap[K, V]) Len() int           { return len(h) }
func (h shareHeap[K, V]) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h shareHeap[K, V]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *shareHeap[K, V]) Push(x any) {
	s := x.(*Share[K, V])
	s.place = len(*h)
	*h = append(*h, s)
}
func (h *shareHeap[K, V]) Pop() any { panic("a share never leaves") }

// expiryHeap has the entry that ends first at its root.
type expiryHeap[K comparable, V any] []*Entry[K, V]

func (h expiryHeap[K, V]) Len() int           { return len(h) }
func (h expiryHeap[K, V]) Less(i, j int) bool { return h[i].until < h[j].until }
func (h expiryHeap[K, V]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].expiry, h[j].expiry = i, j
}
func (h *expiryHeap[K, V]) Push(x any) {
	e := x.(*Entry[K, V])
	e.expiry = len(*h)
	*h = append(*h, e)
}
func (h *expiryHeap[K, V]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
