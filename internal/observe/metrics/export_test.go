package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
)

// Histogram is histogram, to be compared with the library's.
type Histogram struct{ *histogram }

// NewHistogram is newHistogram.
func NewHistogram(name string) Histogram { return Histogram{newHistogram(name, "help", nil)} }

// Observe is observe.
func (h Histogram) Observe(took time.Duration, now time.Time, trace tracecontext.Context) {
	h.observe(took, now, trace)
}

// LibraryHistogram has the same buckets.
func LibraryHistogram(name string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: name, Help: "help", Buckets: classicBounds[:],
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: 1.0 / (1 << 24),
	})
}

// Reasons are those that have a label of their own.
var Reasons = reasons
