package tracing

import (
	"context"
	"log/slog"
	"regexp"
	"strconv"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Stats tells what became of spans.
type Stats struct {
	Exported int64
	Full     int64 // dropped: too many waited for the collector
	Failed   int64 // dropped: the collector did not take them
}

// Stats is zero for a nil Tracer.
func (t *Tracer) Stats() Stats {
	if t == nil {
		return Stats{}
	}
	return Stats{Exported: t.queue.exported.Load(), Full: t.queue.full.Load(), Failed: t.queue.failed.Load()}
}

// queue stands before the SDK's own and counts what finds no place, which the
// SDK does not tell.
type queue struct {
	sdk.SpanProcessor
	*exporter
	limit int64
	full  atomic.Int64
}

// exporter counts, and logs the first failed export of many, and their end. What
// fails is lost, and no check is the worse for it.
type exporter struct {
	sdk.SpanExporter
	log    *slog.Logger
	remark string // of the last batch; of ExportSpans alone, which the SDK calls one at a time

	waiting, exported, failed atomic.Int64 // waiting: queued, and not exported yet
	failing                   atomic.Bool
}

func newQueue(to sdk.SpanExporter, env settings, log *slog.Logger) *queue {
	limit, err := strconv.Atoi(env["OTEL_BSP_MAX_QUEUE_SIZE"])
	if err != nil { // it is not set
		limit = sdk.DefaultMaxQueueSize
	}
	e := &exporter{SpanExporter: to, log: log}
	return &queue{SpanProcessor: sdk.NewBatchSpanProcessor(e, sdk.WithMaxQueueSize(limit)), exporter: e, limit: int64(limit)}
}

// OnEnd queues a span, unless too many wait: so there is always room in the
// SDK's own queue.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	if q.waiting.Add(1) > q.limit {
		q.waiting.Add(-1)
		q.full.Add(1)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// Shutdown exports what waits, within the time of ctx.
func (q *queue) Shutdown(ctx context.Context) error { return q.SpanProcessor.Shutdown(ctx) }

// ExportSpans is for sdk.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	n := int64(len(spans))
	e.waiting.Add(-n)
	lost := lostOf(n, err)
	e.exported.Add(n - lost)
	e.failed.Add(lost)
	e.reportState(lost > 0, err)
	return nil
}

// rejected is what the SDK says of a batch that the collector took in part, or
// with a remark: it has no type for that.
var rejected = regexp.MustCompile(`(?s)OTLP partial success: .*\((\d+) spans rejected\)`)

// lostOf says how many of n spans an error cost.
func lostOf(n int64, err error) int64 {
	if err == nil {
		return 0
	}
	if m := rejected.FindStringSubmatch(err.Error()); m != nil {
		if some, err := strconv.ParseInt(m[1], 10, 64); err == nil {
			return min(some, n)
		}
	}
	return n
}

func (e *exporter) reportState(failed bool, err error) {
	if e.failing.Swap(failed) != failed {
		if failed {
			e.log.Error("spans are lost: exporting them fails", slog.String("error", err.Error()))
		} else {
			e.log.Info("spans are exported again", slog.Int64("lost", e.failed.Load()))
		}
	}
	remark := ""
	if err != nil && !failed {
		remark = err.Error()
	}
	if remark != "" && remark != e.remark {
		e.log.Warn("the collector takes spans with a remark", slog.String("remark", remark))
	}
	e.remark = remark
}
