package service

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Road is what a configuration decides by, without a server around it: for
// tools. Close it after use.
type Road struct {
	Tenants    *tenants.Directory
	Policy     *policy.Engine
	Authorizer *extauthz.Authorizer
	fetcher    *jwtverify.Fetcher
}

// Open builds the road of a configuration. Keys are fetched behind it.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *Road, err error) {
	r := &Road{fetcher: jwtverify.NewFetcher(jwtverify.FetcherConfig{Logger: log})}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.Tenants, err = openTenants(cfg, r.fetcher); err != nil {
		return nil, err
	}
	if r.Policy, err = policy.New(ctx, policyConfig(cfg)); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	r.Authorizer, err = extauthz.NewAuthorizer(extauthz.Config{
		Tenants: r.Tenants, Policy: r.Policy, Headers: identityHeaders(cfg), StripToken: !cfg.ForwardToken,
	})
	return r, err
}

// Close releases what Open opened.
func (r *Road) Close() {
	if r.Tenants != nil {
		r.Tenants.Close()
	}
	r.fetcher.Close()
}
