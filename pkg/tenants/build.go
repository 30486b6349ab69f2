package tenants

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// Shared is what the tenants of one configuration have in common.
type Shared struct {
	Fetcher *jwks.Fetcher // of remote keys; nil where no tenant has some
	Routes  *Routes       // for tenants without their own; nil: they have none
	// Readings are those of tenants that name none; nil: AllReadings.
	Readings *Readings
	// RequireTenantID refuses tokens without tenant_id: see Mixups.SharedIssuers.
	RequireTenantID bool
	// OthersIDs are values of tenant_id that "*" does not accept: see Mixups.OthersIDs.
	OthersIDs map[string]string
	Cache     *jwtverify.Cache // of verified tokens; nil: none
	Now       func() time.Time // nil: time.Now
	// Before are the tenants that these replace; nil: none. The keys of one serve
	// its successor until that has keys of its own (jwks_keep_old).
	Before *Directory
}

// Build makes the tenant. The error holds every fault that Check finds. It
// never waits for the network; the caller closes the tenant.
func (c *Config) Build(dir string, shared Shared) (*Tenant, error) {
	read, faults := c.inspect(dir)
	if len(faults) > 0 {
		errs := make([]error, len(faults))
		for i, f := range faults {
			errs[i] = f
		}
		return nil, fmt.Errorf("tenant %.80q: %w", c.ID, errors.Join(errs...))
	}
	t := &Tenant{
		ID:        c.ID,
		Hosts:     read.hosts,
		Token:     TokenSource{Header: strings.ToLower(c.Header.Header), Cookie: c.Header.Cookie},
		Routes:    read.routes,
		KeySource: c.KeySource(),
	}
	prefix := c.Header.scheme()
	t.Token.Prefix = &prefix
	if len(c.Issuer) > 0 {
		t.Issuer = c.Issuer[0]
	}
	if t.Routes == nil {
		t.Routes = shared.Routes
	}
	if t.Routes == nil {
		t.Routes, _ = NewRoutes(nil)
	}
	t.Routes = t.Routes.WithReadings(*cmp.Or(read.readings, shared.Readings, new(AllReadings)))
	if c.VerifyIss {
		t.issuers = slices.Sorted(slices.Values(c.Issuer))
	}
	err := c.openKeys(t, dir, read.keys, shared)
	if err == nil {
		t.Verifier, err = jwtverify.New(c.verifierConfig(t.Keys, read.algorithms, shared))
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("tenant %q: %w", c.ID, err)
	}
	return t, nil
}

// openKeys gives the tenant its key set and what releases it.
func (c *Config) openKeys(t *Tenant, dir string, static *jwtverify.StaticKeySet, shared Shared) error {
	if static != nil {
		t.Keys = static
		return nil
	}
	if shared.Fetcher == nil {
		return errors.New("remote keys need a Fetcher in Shared")
	}
	remote, err := shared.Fetcher.Open(c.Remote(dir))
	if err != nil {
		return fmt.Errorf("opening the key set: %w", err)
	}
	if old := shared.Before.tenant(c.ID); old != nil && c.JWKSKeepOld && len(t.issuers) > 0 && slices.Equal(old.issuers, t.issuers) {
		remote.TakeOver(old.Keys)
	}
	t.Keys, t.release = remote, remote.Close
	return nil
}

// Remote is where the tenant's keys are on the network; dir is the folder that
// file names are relative to. Its URL is "" where the keys are not there.
func (c *Config) Remote(dir string) jwks.RemoteConfig {
	return jwks.RemoteConfig{
		URL:       c.JWKSURL + c.DiscoveryURL, // one of them is empty
		Discovery: c.DiscoveryURL != "",
		Issuers:   c.Issuer,
		AllowHTTP: c.AllowHTTP,
		CAFile:    within(dir, c.JWKSTLS.CAFile),
		CertFile:  within(dir, c.JWKSTLS.CertFile),
		KeyFile:   within(dir, c.JWKSTLS.KeyFile),
		TTL:       c.JWKSCache.TTL,
		MaxStale:  c.JWKSCache.MaxStale,
	}
}

func (c *Config) verifierConfig(keys jwtverify.KeySet, algorithms []jwtverify.Algorithm, shared Shared) jwtverify.Config {
	ids := []string(c.TenantIDs)
	switch {
	case ids == nil:
		ids = []string{c.ID}
	case c.acceptsAnyTenantID():
		ids = nil
	}
	return jwtverify.Config{
		Keys:            keys,
		Algorithms:      algorithms,
		Issuers:         c.Issuer,
		Audiences:       c.Audience,
		SkipExpiry:      !c.VerifyExp,
		SkipNotBefore:   !c.VerifyNbf,
		SkipAudience:    !c.VerifyAud,
		SkipIssuer:      !c.VerifyIss,
		Leeway:          c.Leeway,
		TokenTypes:      c.TokenTypes,
		TenantIDs:       ids,
		RequireTenantID: shared.RequireTenantID,
		OtherTenants:    shared.OthersIDs,
		Claims:          c.Claims,
		Cache:           shared.Cache,
		Now:             shared.Now,
	}
}
