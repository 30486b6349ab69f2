package service

import (
	"context"
	"log/slog"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/metrics"
	"github.com/ussoio/ussoauthz/internal/revocation"
)

// openRevocations returns nil if the configuration has no revocation.
func openRevocations(ctx context.Context, cfg *config.Config, log *slog.Logger) *revocation.List {
	if !cfg.Revocation.Enabled() {
		return nil
	}
	return revocation.Open(ctx, revocation.Config{
		File: cfg.Revocation.File, Redis: cfg.Revocation.Redis, Deny: cfg.Revocation.Deny(), Log: log,
	})
}

// withRevocations returns a copy of the snapshot with a list of revocations.
func (r *Snapshot) withRevocations(list *revocation.List) (*Snapshot, error) {
	next := *r
	next.revocations = list
	return next.withPolicy(r.Policy)
}

func (g gauges) Revocations() (list []metrics.Revocations) {
	for _, s := range g.snapshot.Load().revocations.States() {
		list = append(list, metrics.Revocations{Source: s.Source, Available: s.Available, Entries: s.Entries, LastSync: s.LastSync, Dropped: s.Dropped})
	}
	return list
}
