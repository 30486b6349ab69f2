package policy

import (
	"strings"
	"sync"
	"unsafe"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/fairshare"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// decisionCache keeps the decisions of one engine under the whole of what they
// depend on. It dies with the engine, as do the policy and the data that are no
// part of its keys. Each tenant has a fair share of it.
type decisionCache struct {
	kept *fairshare.Cache[string, *Decision]

	mu      sync.Mutex // of tenants; for new decisions, which cost an evaluation
	tenants map[string]*fairshare.Share[string, *Decision]
}

const (
	// maxKey bounds a key: it holds what a client chose, a body perhaps. A
	// request with more is evaluated.
	maxKey = 16 << 10
	// cachedOverhead is about what an entry takes beside its key and decision.
	cachedOverhead = 256
	// decisionSize is about what a decision takes beside its texts.
	decisionSize = 384
)

// newDecisionCache returns nil for no bytes: a nil cache keeps nothing.
func newDecisionCache(maxBytes int64) *decisionCache {
	if maxBytes <= 0 {
		return nil
	}
	return &decisionCache{
		kept:    fairshare.New[string, *Decision](maxBytes),
		tenants: map[string]*fairshare.Share[string, *Decision]{},
	}
}

// find looks a key up. The bytes are only read: a copy would be the one
// allocation of a hit.
func (c *decisionCache) find(key []byte) (*Decision, bool) {
	e := c.kept.Find(unsafe.String(unsafe.SliceData(key), len(key))) // #nosec G103 -- only read
	if e == nil {
		return nil, false
	}
	e.Use()
	return e.Value, true
}

// keep puts a decision in. What it holds on to is its own: the texts of a
// request may be gone when the request is.
func (c *decisionCache) keep(tenant string, key []byte, d *Decision) {
	kept, weight := keptAllow, cachedOverhead+int64(len(key))
	if !d.isPlainAllow() {
		kept = d.clone()
		weight += decisionSize + kept.size()
	}
	c.kept.Keep(c.share(tenant), string(key), kept, weight, 0, 0)
}

// keptAllow is what most entries say, and share.
var keptAllow = &Decision{Allowed: true, Reason: answers.Allowed, Lookup: jwtverify.Hit}

func (c *decisionCache) share(tenant string) *fairshare.Share[string, *Decision] {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.tenants[tenant]
	if s == nil {
		s = c.kept.Join()
		c.tenants[strings.Clone(tenant)] = s
	}
	return s
}

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
	return CacheStats{Entries: e.cache.kept.Len(), Bytes: e.cache.kept.Bytes()}
}
