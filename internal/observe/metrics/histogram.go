package metrics

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
)

// histogram counts durations into native and classic buckets at once. A check
// makes up to eight observations, and the library's histogram, which finds its
// native buckets in a sync.Map, takes five times as long for each. The cells are
// cut so that each lies in one native and one classic bucket, and both are sums
// of cells. It is safe for concurrent use and takes no lock.
type histogram struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair

	cells     []atomic.Uint64 // len(cuts)+1
	sum       atomic.Int64    // nanoseconds
	exemplars []atomic.Pointer[exemplar]
}

// exemplar is an observation of a traced request.
type exemplar struct {
	trace   tracecontext.Context
	seconds time.Duration
	at      time.Time
}

// exemplarEvery is how long an exemplar stays: what is observed meanwhile costs
// no allocation.
const exemplarEvery = time.Second

// The native buckets: eight for each doubling, from 2^minExp to 2^maxExp
// seconds. What is below is in the zero bucket.
const (
	schema = 3
	minExp = -24 // 60 ns
	maxExp = 5   // 32 s
)

// classicBounds are the upper bounds of the classic buckets, in seconds.
var classicBounds = [...]float64{
	1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
}

// layout says where the cells lie; it is the same for all.
type layout struct {
	cuts    []int64 // upper bounds of the cells in nanoseconds, inclusive
	native  []int   // of a cell: its native bucket; minNative is the zero bucket
	classic []int   // of a cell: its classic bucket
	first   [65]int // of a length in bits: the first cell that such a number can be in
}

const minNative = minExp << schema

var cells = newLayout()

func newLayout() layout {
	var bounds []float64
	for i := minNative; i <= maxExp<<schema; i++ {
		bounds = append(bounds, math.Exp2(float64(i)/(1<<schema)))
	}
	bounds = append(bounds, classicBounds[:]...)
	slices.Sort(bounds)
	var l layout
	for _, bound := range slices.Compact(bounds) {
		l.cuts = append(l.cuts, int64(math.Floor(bound*1e9)))
		l.place(bound)
	}
	l.place(math.Inf(1))
	for length := range l.first {
		l.first[length], _ = slices.BinarySearch(l.cuts, int64(uint64(1)<<length>>1))
	}
	return l
}

// place adds the cell below a bound to the buckets that it lies in.
func (l *layout) place(bound float64) {
	native := maxExp<<schema + 1
	if !math.IsInf(bound, 1) {
		native = int(math.Ceil(math.Log2(bound)*(1<<schema) - 1e-9))
	}
	l.native = append(l.native, native)
	l.classic = append(l.classic, len(classicBounds)-countFrom(classicBounds[:], bound))
}

// countFrom is the number of bounds that are not below a value.
func countFrom(bounds []float64, value float64) (n int) {
	for _, b := range bounds {
		if b >= value {
			n++
		}
	}
	return n
}

func newHistogram(name, help string, labels prometheus.Labels) *histogram {
	h := &histogram{
		desc:      prometheus.NewDesc(name, help, nil, labels),
		cells:     make([]atomic.Uint64, len(cells.cuts)+1),
		exemplars: make([]atomic.Pointer[exemplar], len(classicBounds)+1),
	}
	h.labels = prometheus.MakeLabelPairs(h.desc, nil)
	return h
}

// observe counts a duration. Only a sampled trace is worth an exemplar: others
// can't be looked at.
func (h *histogram) observe(took time.Duration, now time.Time, trace tracecontext.Context) {
	n := max(int64(took), 0)
	i := cells.first[bits.Len64(uint64(n))]
	for i < len(cells.cuts) && n > cells.cuts[i] {
		i++
	}
	h.cells[i].Add(1)
	h.sum.Add(n)
	if !trace.Sampled || !trace.Valid() {
		return
	}
	place := &h.exemplars[cells.classic[i]]
	if last := place.Load(); last == nil || now.Sub(last.at) >= exemplarEvery {
		trace.State = "" // it may alias the request
		place.Store(&exemplar{trace: trace, seconds: took, at: now})
	}
}

// Desc is for prometheus.Metric.
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Describe is for prometheus.Collector.
func (h *histogram) Describe(to chan<- *prometheus.Desc) { to <- h.desc }

// Collect is for prometheus.Collector.
func (h *histogram) Collect(to chan<- prometheus.Metric) { to <- h }

// Write is for prometheus.Metric.
func (h *histogram) Write(m *dto.Metric) error {
	native := make(map[int]uint64)
	classic := make([]uint64, len(classicBounds)+1)
	var count uint64
	for i := range h.cells {
		n := h.cells[i].Load()
		count += n
		native[cells.native[i]] += n
		classic[cells.classic[i]] += n
	}
	out := &dto.Histogram{
		SampleCount:   proto.Uint64(count),
		SampleSum:     proto.Float64(float64(h.sum.Load()) / 1e9),
		Schema:        proto.Int32(schema),
		ZeroThreshold: proto.Float64(math.Exp2(minExp)),
		ZeroCount:     proto.Uint64(native[minNative]),
	}
	writeSpans(out, native)
	var below uint64
	for i, n := range classic {
		below += n
		bound := math.Inf(1)
		if i < len(classicBounds) {
			bound = classicBounds[i]
		}
		e := h.exemplars[i].Load().dto()
		out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCount: proto.Uint64(below), UpperBound: proto.Float64(bound), Exemplar: e})
		if e != nil {
			out.Exemplars = append(out.Exemplars, e)
		}
	}
	m.Histogram, m.Label = out, h.labels
	return nil
}

// writeSpans writes the native buckets as runs of differences.
func writeSpans(out *dto.Histogram, native map[int]uint64) {
	next, before := 0, int64(0)
	for i := minNative + 1; i <= maxExp<<schema+1; i++ {
		if native[i] == 0 {
			continue
		}
		if len(out.PositiveSpan) == 0 || i != next {
			offset := int32(i - next)
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(offset), Length: proto.Uint32(0)})
		}
		last := out.PositiveSpan[len(out.PositiveSpan)-1]
		last.Length = proto.Uint32(last.GetLength() + 1)
		out.PositiveDelta = append(out.PositiveDelta, int64(native[i])-before) // #nosec G115 -- a count of checks: 2^63 never come
		next, before = i+1, int64(native[i])                                   // #nosec G115 -- as above
	}
	if len(out.PositiveSpan) == 0 { // how a native histogram without observations shows that it is one
		out.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
}

func (e *exemplar) dto() *dto.Exemplar {
	if e == nil {
		return nil
	}
	return &dto.Exemplar{
		Label:     []*dto.LabelPair{{Name: proto.String("trace_id"), Value: proto.String(string(e.trace.AppendTraceID(nil)))}},
		Value:     proto.Float64(e.seconds.Seconds()),
		Timestamp: timestamppb.New(e.at),
	}
}
