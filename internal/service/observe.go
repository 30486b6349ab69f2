package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/internal/observe/metrics"
	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/internal/observe/tracing"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// observer passes the record of each check to the decision log, metrics and traces.
type observer struct {
	decisions *decisionlog.Log // nil: off
	metrics   *metrics.Metrics // nil: without an admin listener nothing can scrape them
	tracer    *tracing.Tracer  // nil: off
}

// newObserver opens the decision log and the exporter of traces.
func newObserver(ctx context.Context, cfg *config.Config, log *slog.Logger, source metrics.Source) (o *observer, err error) {
	o = &observer{}
	if cfg.Admin.Listen != "" {
		o.metrics = metrics.New(cfg.Admin.MaxSeries, source)
	}
	if o.tracer, err = tracing.New(ctx, os.Environ(), log); err != nil {
		return o, fmt.Errorf("tracing: %w", err)
	}
	host, _ := os.Hostname() // "": the label stays empty
	o.decisions, err = decisionlog.New(cfg.DecisionLog, decisionlog.Options{
		Console: os.Stdout, Log: log, Labels: map[string]any{"app": "ussoauthz", "id": host},
	})
	return o, err
}

// useSnapshot is called with each snapshot that comes into force.
func (o *observer) useSnapshot(r *Snapshot) {
	o.decisions.Use(r.Policy)
	if o.metrics != nil {
		o.metrics.Use(r.Tenants)
	}
}

// Observe is the extauthz.Observer.
func (o *observer) Observe(ctx context.Context, r *extauthz.Record) {
	var trace tracecontext.Context
	if r.Message != nil {
		trace = tracecontext.Of(r.Message.Headers)
	}
	trace = o.tracer.Record(ctx, r, trace)
	if o.metrics != nil {
		o.metrics.Record(r, trace)
	}
	o.decisions.Record(r, trace)
}

// flushTime bounds how long the end of the process waits for records to be written.
const flushTime = 2 * time.Second

// close writes the records that are still buffered.
func (o *observer) close(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := errors.Join(o.decisions.Close(ctx), o.tracer.Close(ctx)); err != nil {
		log.Warn("records are lost", slog.String("error", err.Error()))
	}
}

// gauges is the metrics.Source of a service.
type gauges struct{ *Service }

func (g gauges) InFlight() int { return g.checks.InFlight() }

func (g gauges) Connections() int { return g.grpcListener.count() }

func (g gauges) Caches() (c metrics.Caches) {
	snapshot := g.snapshot.Load()
	if snapshot.tokens != nil {
		c.Tokens = metrics.Cache{Entries: snapshot.tokens.Len(), Bytes: snapshot.tokens.Bytes()}
	}
	decisions := snapshot.Policy.CacheStats()
	c.Decisions = metrics.Cache{Entries: decisions.Entries, Bytes: decisions.Bytes}
	return c
}

func (g gauges) LogDropped() int64 {
	if g.logDropped == nil {
		return 0
	}
	return g.logDropped()
}

func (g gauges) Spans() metrics.Spans { return metrics.Spans(g.observe.tracer.Stats()) }

func (g gauges) Keys() (list []metrics.Keys) {
	for _, t := range g.snapshot.Load().Tenants.Tenants() {
		if remote, ok := t.Keys.(*jwks.RemoteKeySet); ok {
			s := remote.Status()
			list = append(list, metrics.Keys{Tenant: t.ID, Keys: s.Keys, Fetched: s.Fetched, Fetches: s.Fetches, Failures: s.Failures})
		}
	}
	return list
}

func (g gauges) Reloads() metrics.Reloads {
	r := &g.reloads
	r.mu.Lock()
	defer r.mu.Unlock()
	return metrics.Reloads{Generation: r.generation, Applied: int64(r.generation - 1), Failed: r.failed, LastOK: r.err == nil, LastApplied: r.applied}
}

func (g gauges) KeyStoreFailures() int64 { return g.fetcher.StoreFailures() }

func (g gauges) Writers() (list []metrics.Writer) {
	for _, s := range g.observe.decisions.Stats() {
		list = append(list, metrics.Writer{Name: s.Writer, Written: s.Written, Dropped: s.Dropped})
	}
	return list
}
