package service

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Snapshot is everything that one configuration decides by: tenants, routes, keys,
// policy and data. It is immutable: a reload builds another one beside it, and
// requests use whichever they loaded first, to their end.
type Snapshot struct {
	Tenants    *tenants.Directory
	Policy     *policy.Engine
	Authorizer *extauthz.Authorizer

	cfg         *config.Config
	tokens      *jwtverify.Cache // of verified tokens; nil: switched off
	revocations *revocation.List // nil: off; closed with a fetcher of its own, else by the service
	fetcher     *jwks.Fetcher    // of its own; nil: the service's
}

// Open builds the snapshot of a configuration without a server around it, for
// tools. It returns before the keys are fetched: fetching and following revocations
// go on in the background until Close.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Snapshot, error) {
	engine, err := OpenPolicy(ctx, cfg)
	if err != nil {
		return nil, err
	}
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{Logger: log, DenyPrivate: cfg.JWKSDenyPrivate})
	r, err := openSnapshot(cfg, fetcher, engine, nil)
	if err != nil {
		fetcher.Close()
		return nil, err
	}
	r.fetcher = fetcher
	if list := openRevocations(ctx, cfg, log); list != nil {
		revoking, err := r.withRevocations(list)
		if err != nil {
			list.Close()
			r.Close()
			return nil, err
		}
		return revoking, nil
	}
	return r, nil
}

// newFetcher returns the fetcher of a service. With jwks_dir it starts from the key
// sets that an earlier process persisted. Tools do without: they fetch anew.
func newFetcher(cfg *config.Config, log *slog.Logger) (*jwks.Fetcher, error) {
	f := jwks.FetcherConfig{Logger: log, DenyPrivate: cfg.JWKSDenyPrivate}
	if cfg.JWKSDir != "" {
		var err error
		if f.Store, err = jwks.OpenKeyStore(cfg.JWKSDir, log); err != nil {
			return nil, fmt.Errorf("jwks_dir: %w", err)
		}
	}
	return jwks.NewFetcher(f), nil
}

// openSnapshot builds a snapshot whose tenants fetch keys by fetcher. Where another
// snapshot has the same key URL open, both share its keys. before are the tenants in
// force, whose keys may serve until a changed key URL answers; nil at the start.
// On an error everything is closed.
func openSnapshot(cfg *config.Config, fetcher *jwks.Fetcher, engine *policy.Engine, before *tenants.Directory) (*Snapshot, error) {
	cache, err := tokenCache(cfg)
	if err != nil {
		return nil, err
	}
	directory, err := openTenants(cfg, tenants.Shared{Fetcher: fetcher, Cache: cache, Before: before})
	if err != nil {
		return nil, err
	}
	r, err := (&Snapshot{Tenants: directory, cfg: cfg, tokens: cache}).withPolicy(engine)
	if err != nil {
		directory.Close()
		return nil, err
	}
	return r, nil
}

// withPolicy returns a copy of the snapshot with another policy.
func (r *Snapshot) withPolicy(engine *policy.Engine) (*Snapshot, error) {
	c := extauthz.Config{Tenants: r.Tenants, Policy: engine, Headers: identityHeaders(r.cfg), StripToken: !r.cfg.ForwardToken}
	if r.revocations != nil { // an interface that holds a nil pointer is not nil
		c.Revocations = r.revocations
	}
	authorizer, err := extauthz.NewAuthorizer(c)
	if err != nil {
		return nil, err
	}
	return &Snapshot{
		Tenants: r.Tenants, Policy: engine, Authorizer: authorizer,
		cfg: r.cfg, tokens: r.tokens, revocations: r.revocations, fetcher: r.fetcher,
	}, nil
}

// Close ends the fetching of keys that no other snapshot uses. A check that loaded
// this snapshot before can go on: it holds the keys that it needs.
func (r *Snapshot) Close() {
	r.Tenants.Close()
	if r.fetcher != nil {
		r.fetcher.Close()
		r.revocations.Close()
	}
}

// openTenants builds the tenants and their directory. The caller closes it.
func openTenants(cfg *config.Config, shared tenants.Shared) (*tenants.Directory, error) {
	common, faults := tenants.NewRoutes(cfg.Routes)
	if len(faults) > 0 {
		return nil, fmt.Errorf("routes%s: %s", faults[0].Field, faults[0].Problem)
	}
	readings, faults := tenants.ParseReadings(cfg.PathReadings)
	if len(faults) > 0 {
		return nil, fmt.Errorf("path_readings%s: %s", faults[0].Field, faults[0].Problem)
	}
	shared.Routes, shared.Readings = common, &readings
	mixups := tenants.FindMixups(cfg.Tenants, cfg.Dir)
	required, others := mixups.SharedIssuers(), mixups.OthersIDs()
	list := make([]*tenants.Tenant, 0, len(cfg.Tenants))
	closeAll := func() {
		for _, t := range list {
			t.Close()
		}
	}
	for i := range cfg.Tenants {
		shared.RequireTenantID, shared.OthersIDs = required[cfg.Tenants[i].ID], others[cfg.Tenants[i].ID]
		t, err := cfg.Tenants[i].Build(cfg.Dir, shared)
		if err != nil {
			closeAll()
			return nil, fmt.Errorf("tenant %s: %w", cfg.Tenants[i].ID, err)
		}
		list = append(list, t)
	}
	if cfg.Single {
		return tenants.NewSingle(list[0]), nil
	}
	directory, err := tenants.NewDirectory(tenants.Selection{
		Header:    cfg.TenantSelection.Header,
		Extension: cfg.TenantSelection.ContextExtension,
		Default:   cfg.TenantSelection.Default,
	}, list)
	if err != nil {
		closeAll()
		return nil, err
	}
	return directory, nil
}

// tokenCache returns nil if the configuration switches the cache off.
func tokenCache(cfg *config.Config) (*jwtverify.Cache, error) {
	if cfg.Caches.Tokens == 0 {
		return nil, nil
	}
	return jwtverify.NewCache(int64(cfg.Caches.Tokens))
}

// policyConfig returns the policy's part of a configuration.
func policyConfig(cfg *config.Config) policy.Config {
	return policy.Config{
		Entrypoint:    cfg.Policy.Entrypoint,
		Paths:         cfg.Policy.Paths,
		Timeout:       cfg.Policy.Timeout,
		AllowNet:      cfg.Policy.AllowNet,
		DecisionCache: int64(cfg.Caches.Decisions),

		ProtoDescriptor: cfg.Policy.ProtoDescriptor,

		QueryNames:  cfg.Limits.MaxQueryNames,
		ObjectNames: cfg.Limits.MaxObjectNames,
	}
}

func identityHeaders(cfg *config.Config) extauthz.IdentityHeaders {
	h := cfg.IdentityHeaders
	return extauthz.IdentityHeaders{
		UserID: h.UserID, TenantID: h.TenantID, WorkspaceID: h.WorkspaceID,
		Roles: h.Roles, Scopes: h.Scopes, Claims: h.Claims,
	}
}

// Validate compiles the policy of a configuration whose policy section has no
// errors. After config.Load and Validate everything that New would build has been
// checked, without a listener, a request to a key URL or a download. If the policy
// comes from bundles, Validate only parses the local files beside them.
//
// It returns which inputs the policy can read (nil with bundles), and warnings about
// what is valid but probably a mistake.
func Validate(ctx context.Context, cfg *config.Config) (analysis *policy.Analysis, warnings []policy.Finding, err error) {
	if len(cfg.Policy.Bundles) > 0 {
		if err := policy.Parse(cfg.Policy.Paths); err != nil {
			return nil, nil, fmt.Errorf("policy: %w", err)
		}
		return nil, nil, nil
	}
	engine, err := policy.New(ctx, policyConfig(cfg))
	if err != nil {
		return nil, nil, fmt.Errorf("policy: %w", err)
	}
	if len(cfg.Policy.Paths) > 0 {
		if warnings, err = policy.Lint(policyConfig(cfg)); err != nil {
			return nil, nil, fmt.Errorf("policy: %w", err)
		}
	}
	return engine.Analysis(), warnings, nil
}
