// Package collector fits Go's garbage collector to a server whose garbage is
// short-lived: a check leaves a few KiB behind, and nothing of it is used again.
package collector

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// budget is the garbage that may wait in any case, in bytes, up to mostPercent.
	// Go's own rule, as much garbage as there are live objects, makes a service
	// that keeps little collect all the time.
	memoryBudget = 48 << 20
	mostPercent  = 400

	// target is what live objects and garbage may take together, in bytes, with
	// usualPercent at most. What keeps more than that collects as often as its
	// memory demands, which must not be twice of what is live.
	target       = 256 << 20
	usualPercent = 200
	leastPercent = 40

	// limitRatio is the part of its container's memory that Go may take before
	// it collects in earnest; the rest is for what is not Go's heap.
	limitRatio = 0.8
)

// Fit sets the collector, and goes on to do so until ctx ends. What the
// environment sets stands: GOGC and GOMEMLIMIT, each alone.
func Fit(ctx context.Context, log *slog.Logger) {
	if _, err := memlimit.Set(memlimit.WithRatio(limitRatio)); err != nil {
		log.Debug("no memory limit was set", slog.Any("error", err)) // no container, or no Linux
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(100) // until it is known what is live: a start makes much garbage
		follow(ctx)
	}
}

// sentinel is an object that nobody holds: its cleanup tells of a collection.
// A pointer keeps it out of the blocks where several small objects live on
// together.
type sentinel struct{ _ *byte }

// follow sets the percentage anew after each collection.
func follow(ctx context.Context) {
	runtime.AddCleanup(&sentinel{}, func(ctx context.Context) {
		if ctx.Err() != nil {
			return
		}
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		debug.SetGCPercent(percent(live[0].Value.Uint64()))
		follow(ctx)
	}, ctx)
}

// percent is the GOGC beside that many live bytes.
func percent(live uint64) int {
	live = max(live, 1)
	small := min(mostPercent, 100*memoryBudget/live)
	usual := min(usualPercent, 100*(max(target, live)-live)/live)
	return int(max(small, usual, leastPercent)) // #nosec G115 -- at most mostPercent
}
