package jwtverify

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config says which tokens a Verifier accepts. Every check is on unless a
// field switches it off.
type Config struct {
	Keys       KeySet
	Algorithms []Algorithm // nil: every asymmetric one
	Issuers    []string    // accepted values of iss, compared byte by byte
	Audiences  []string    // accepted values of aud; any match is enough

	SkipExpiry    bool // exp may be missing or past; a malformed one is still refused
	SkipNotBefore bool // nbf may lie in the future; iat is checked all the same
	SkipAudience  bool
	SkipIssuer    bool

	Leeway          time.Duration // tolerance for exp, nbf and iat; zero is none
	TokenTypes      []string      // accepted values of token_type, "access" where missing; nil: access
	TenantIDs       []string      // accepted values of tenant_id; nil: any
	RequireTenantID bool          // a token without tenant_id is refused
	// OtherTenants maps values of tenant_id that are refused although TenantIDs is nil
	// to the tenants that they belong to. It must not be changed afterwards.
	OtherTenants map[string]string

	// Claims maps user_id, sub, tenant_id, workspace_id, roles, scopes,
	// token_type and session_id to where the issuer puts them: the name of a
	// claim, or a JSON pointer (RFC 6901) where it starts with a slash.
	Claims map[string]string

	Cache *Cache // of verified tokens; nil: none

	Now func() time.Time // nil: time.Now
}

// New makes a Verifier. It checks the whole configuration, and its error joins all that
// is wrong with it. Lists are copied.
func New(c Config) (*Verifier, error) {
	v := &Verifier{
		keys:            c.Keys,
		algorithms:      slices.Clone(c.Algorithms),
		issuers:         slices.Clone(c.Issuers),
		audiences:       slices.Clone(c.Audiences),
		skipExpiry:      c.SkipExpiry,
		skipNotBefore:   c.SkipNotBefore,
		skipAudience:    c.SkipAudience,
		skipIssuer:      c.SkipIssuer,
		leeway:          c.Leeway,
		tokenTypes:      slices.Clone(c.TokenTypes),
		tenantIDs:       slices.Clone(c.TenantIDs),
		anyTenantID:     c.TenantIDs == nil,
		requireTenantID: c.RequireTenantID,
		otherTenants:    c.OtherTenants,
		now:             c.Now,
		cache:           c.Cache,
	}
	if c.Cache != nil {
		v.share = c.Cache.entries.Join()
	}
	if c.Algorithms == nil {
		v.algorithms = Asymmetric()
	}
	if c.TokenTypes == nil {
		v.tokenTypes = []string{"access"}
	}
	if c.Now == nil {
		v.now = time.Now
	}
	names, err := newClaimNames(c.Claims)
	v.names = names
	if err := errors.Join(v.check(), err); err != nil {
		return nil, fmt.Errorf("making a verifier: %w", err)
	}
	return v, nil
}

// check returns what is wrong with a configuration. An empty list where one is needed
// is an error: it must not come to mean "any".
func (v *Verifier) check() error {
	var errs []error
	refuse := func(wrong bool, text string) {
		if wrong {
			errs = append(errs, errors.New(text))
		}
	}
	refuse(v.keys == nil, "no key set is given")
	refuse(len(v.algorithms) == 0, "algorithms: the list is empty, so no token could pass")
	for i, a := range v.algorithms {
		parsed, err := ParseAlgorithm(string(a))
		if err != nil {
			errs = append(errs, fmt.Errorf("algorithms: %w", err))
		}
		v.algorithms[i] = parsed
	}
	refuse(!v.skipIssuer && len(v.issuers) == 0, "issuer: none is given although iss is verified")
	refuse(slices.Contains(v.issuers, ""), "issuer: an empty one is no issuer")
	refuse(!v.skipAudience && len(v.audiences) == 0, "audience: none is given although aud is verified")
	refuse(slices.Contains(v.audiences, ""), "audience: an empty one is no audience")
	refuse(v.leeway < 0, "leeway: negative")
	refuse(len(v.tokenTypes) == 0, "token_types: the list is empty, so no token could pass")
	refuse(slices.Contains(v.tokenTypes, ""), "token_types: an empty one is no type")
	refuse(!v.anyTenantID && len(v.tenantIDs) == 0, "tenant_ids: the list is empty, so no token could pass")
	refuse(slices.Contains(v.tenantIDs, ""), "tenant_ids: an empty one is no tenant")
	return errors.Join(errs...)
}
