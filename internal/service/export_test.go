package service

import (
	"context"
	"log/slog"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/watch"
)

// NewPatient is New with a patience of the test's.
func NewPatient(ctx context.Context, cfg *config.Config, log *slog.Logger, patience watch.Config) (*Service, error) {
	return newService(ctx, cfg, log, patience)
}
