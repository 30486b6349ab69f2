package fairshare_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/fairshare"
)

// Whoever keeps to its even share keeps all, whatever the others do: what is
// kept is compared with what each put in.
func TestEvenSharesAreSafe(t *testing.T) {
	const tenants, bytes = 5, 1000
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := fairshare.New[string, int](bytes)
		shares := make([]*fairshare.Share[string, int], tenants)
		for i := range shares {
			shares[i] = c.Join()
		}
		modest := map[string]bool{} // of tenants 0 and 1, together within their even share
		var taken [2]int64
		for i := range 400 {
			tenant, weight := r.IntN(tenants), 1+r.Int64N(2*bytes/tenants)
			key := fmt.Sprint(tenant, ":", i)
			if tenant < 2 {
				if taken[tenant]+weight > bytes/tenants {
					continue
				}
				taken[tenant] += weight
				modest[key] = true
			}
			c.Keep(shares[tenant], key, i, weight, 0, 0)
			if e := c.Find(key); e != nil && r.IntN(2) == 0 {
				e.Use()
			}
			if c.Bytes() > bytes {
				t.Fatalf("seed %d: %d bytes of %d", seed, c.Bytes(), bytes)
			}
			for key := range modest {
				if c.Find(key) == nil {
					t.Fatalf("seed %d: %s was pushed out after %d", seed, key, i)
				}
			}
		}
	}
}

func TestKeep(t *testing.T) {
	c := fairshare.New[string, string](100)
	s := c.Join()
	c.Keep(s, "too large", "", 101, 0, 0)
	c.Keep(s, "a", "first", 40, 0, 0)
	c.Keep(s, "a", "second", 30, 0, 0)
	c.Keep(s, "ends", "", 30, 10, 9)
	if c.Len() != 2 || c.Bytes() != 60 || c.Find("a").Value != "second" || c.Find("too large") != nil {
		t.Fatalf("%d entries of %d bytes", c.Len(), c.Bytes())
	}
	ends := c.Find("ends")
	c.Keep(s, "b", "", 10, 0, 10)
	if c.Find("ends") != nil || c.Bytes() != 40 {
		t.Errorf("what ended is there, %d bytes", c.Bytes())
	}
	c.Drop(ends) // it has left: nothing changes
	c.Drop(c.Find("b"))
	if c.Len() != 1 || c.Bytes() != 30 {
		t.Errorf("%d entries of %d bytes", c.Len(), c.Bytes())
	}
}

// What is used outlives what is not, within one share.
func TestUsedIsSpared(t *testing.T) {
	c := fairshare.New[int, int](10)
	s := c.Join()
	for i := range 10 {
		c.Keep(s, i, i, 1, 0, 0)
	}
	for i := range 100 {
		c.Find(0).Use()
		c.Keep(s, 10+i, i, 1, 0, 0)
		if c.Find(0) == nil || c.Find(10+i) == nil {
			t.Fatalf("after %d: the used one or the new one is gone", i)
		}
	}
	if c.Find(1) != nil || c.Len() != 10 {
		t.Errorf("%d entries", c.Len())
	}
}

func TestConcurrently(t *testing.T) {
	c := fairshare.New[int, int](1000)
	var wg sync.WaitGroup
	for g := range 8 {
		share := c.Join()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for range 5000 {
				key := r.IntN(2000)
				if e := c.Find(key); e == nil {
					c.Keep(share, key, key, 1+r.Int64N(20), r.Int64N(10), r.Int64N(10))
				} else if e.Value != key {
					t.Errorf("%d under %d", e.Value, key)
				} else if e.Use(); r.IntN(4) == 0 {
					c.Drop(e)
				}
			}
		})
	}
	wg.Wait()
	if c.Bytes() > 1000 {
		t.Errorf("%d bytes", c.Bytes())
	}
}
