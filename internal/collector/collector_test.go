package collector_test

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/ussoio/ussoauthz/internal/collector"
)

func TestPercent(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{0: 400, 4 * mib: 400, 12 * mib: 400, 16 * mib: 300, 24 * mib: 200, 85 * mib: 200, 100 * mib: 156, 256 * mib: 40, 4096 * mib: 40} {
		if got := collector.Percent(live); got != want {
			t.Errorf("%d MiB live: %d, want %d", live/mib, got, want)
		}
	}
}

// current reads the percentage, for which there is no other way than to set it.
func current() int {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent
}

func collectUntil(t *testing.T, want int) {
	t.Helper()
	for range 1000 {
		if current() == want {
			return
		}
		runtime.GC()
		runtime.Gosched()
	}
	t.Errorf("the percentage is %d after a thousand collections, want %d", current(), want)
}

func TestFit(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	log := slog.New(slog.DiscardHandler)

	t.Run("as GOGC says", func(t *testing.T) {
		t.Setenv("GOGC", "75")
		debug.SetGCPercent(75)
		collector.Fit(t.Context(), log)
		runtime.GC()
		if got := current(); got != 75 {
			t.Errorf("%d in spite of GOGC", got)
		}
	})
	t.Run("by what is live", func(t *testing.T) {
		t.Setenv("GOGC", "") // restores it at the end
		if err := os.Unsetenv("GOGC"); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		collector.Fit(ctx, log)
		collectUntil(t, 400)
		live := make([]byte, 512<<20) // never touched, so that it takes no memory
		collectUntil(t, 40)
		runtime.KeepAlive(live)
		collectUntil(t, 400)
		stop()
		runtime.GC() // the last cleanup
	})
}
