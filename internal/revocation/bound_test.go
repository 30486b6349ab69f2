//go:build !race

package revocation_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/testkit/redistest"
)

// The bound is a million: one more is not in force, told, and no heap of memory.
func TestRedisIsBounded(t *testing.T) {
	s := redistest.Start(t)
	s.Do("eval", `for i = 0, 1000000 do
	redis.call('zadd', KEYS[1], 4102444800, '{"tenant":"acme","jti":"' .. string.format('%024d', i) .. '","expires":"2100-01-01T00:00:00Z"}')
end`, 1, redisKey)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	l, _ := follow(t, s.URL, nil)
	for limit := start.Add(time.Minute); l.States()[0].LastSync.IsZero() && time.Now().Before(limit); {
		time.Sleep(10 * time.Millisecond) // of a poll, not for something to happen
	}
	took := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	st := l.States()[0]
	if st.Available || st.Entries != 1_000_000 || st.Dropped < 1 || !strings.Contains(st.Error, "beyond the bound of 1000000") {
		t.Errorf("%+v", st)
	}
	each := (after.HeapAlloc - before.HeapAlloc) / 1_000_000
	t.Logf("read in %v, %d bytes an entry", took, each)
	if each > 512 {
		t.Errorf("%d bytes an entry", each)
	}
}
