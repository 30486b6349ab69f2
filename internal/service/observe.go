package service

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/decisionlog"
	"github.com/ussoio/ussoauthz/internal/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
)

// observer tells of each check to all that want to know.
type observer struct {
	decisions *decisionlog.Log // nil: off
}

// newObserver opens what decisions are written to.
func newObserver(cfg *config.Config, log *slog.Logger) (o *observer, err error) {
	host, _ := os.Hostname() // "" names nobody
	o = &observer{}
	o.decisions, err = decisionlog.New(cfg.DecisionLog, decisionlog.Options{
		Console: os.Stdout, Log: log, Labels: map[string]any{"app": "ussoauthz", "id": host},
	})
	return o, err
}

// use is told of each road that is taken.
func (o *observer) use(r *Road) { o.decisions.Use(r.Policy) }

// Observe is the extauthz.Observer.
func (o *observer) Observe(_ context.Context, r *extauthz.Record) {
	if o.decisions == nil {
		return
	}
	var trace tracecontext.Context
	if r.Message != nil {
		trace = tracecontext.Of(r.Message.Headers)
	}
	o.decisions.Record(r, trace)
}

// flushTime bounds what the end of the process waits for records to be written.
const flushTime = 2 * time.Second

// close writes what is left.
func (o *observer) close(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := o.decisions.Close(ctx); err != nil {
		log.Warn("records are lost", slog.String("error", err.Error()))
	}
}
