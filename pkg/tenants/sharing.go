package tenants

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Mixups are the tenants whose tokens nothing but tenant_id tells from each
// other's. Make them with FindMixups.
type Mixups struct {
	all    []Config
	groups [][]int // of two and more, as indexes of all
	blind  []int   // those whose keys may be any other's, for all that is known
}

// SharedIssuers tells for each tenant whether its tokens must have the claim
// tenant_id, because nothing else would tell them from another tenant's. Give
// it to Build as Shared.RequireTenantID.
//
// What verifies decides, not how it is written. Two tenants are mixed up where
// both accept the same issuer, or where one of them does not look at the issuer
// ("blind") and both have the same source of keys, or the same key in a file
// and in the configuration. And what a URL will serve nobody knows beforehand:
// as soon as one of them has remote keys, a blind tenant is never proven to be
// apart from the others.
func (m *Mixups) SharedIssuers() map[string]bool {
	shared := make(map[string]bool, len(m.all))
	for i := range m.all {
		shared[m.all[i].ID] = false
	}
	for _, group := range m.groups {
		for _, i := range group {
			shared[m.all[i].ID] = true
		}
	}
	for _, i := range m.blind {
		shared[m.all[i].ID] = true
	}
	return shared
}

// OthersIDs tells for each tenant that accepts any tenant_id which ones it refuses
// all the same, because they are those of a tenant that it could be mixed up with:
// "*" must not open one tenant to the tokens of another. Give it to Build as
// Shared.OthersIDs. A tenant that lists an id itself accepts it. The maps may be
// shared and must not be changed.
func (m *Mixups) OthersIDs() map[string]map[string]string {
	refused := map[string]map[string]string{}
	bind := func(group []int) {
		owned := map[string]string{} // tenant_id to a tenant that lists it
		for _, i := range group {
			for _, id := range m.all[i].ownTenantIDs() {
				owned[id] = m.all[i].ID
			}
		}
		for _, i := range group {
			if c := &m.all[i]; len(owned) > 0 && c.acceptsAnyTenantID() {
				refused[c.ID] = merged(refused[c.ID], owned, c.ID)
			}
		}
	}
	for _, group := range m.groups {
		bind(group)
	}
	if len(m.blind) > 0 { // it could be mixed up with each
		everyone := make([]int, len(m.all))
		for i := range m.all {
			everyone[i] = i
		}
		bind(everyone)
	}
	return refused
}

// OpenToEachOther names for a tenant another one, where each accepts the tokens of
// the other: both take any tenant_id, and nothing else tells them apart. Of a group
// each stands with the next one.
func (m *Mixups) OpenToEachOther() map[string]string {
	pairs := map[string]string{}
	for _, group := range m.groups {
		before := ""
		for _, i := range group {
			if c := &m.all[i]; c.acceptsAnyTenantID() {
				if before != "" {
					pairs[before] = c.ID
				}
				before = c.ID
			}
		}
	}
	return pairs
}

// merged adds ids to those that are refused already; never the tenant's own.
func merged(refused, more map[string]string, own string) map[string]string {
	if _, mine := more[own]; !mine && len(refused) == 0 {
		return more
	}
	all := maps.Clone(refused)
	if all == nil {
		all = make(map[string]string, len(more))
	}
	maps.Copy(all, more)
	delete(all, own)
	return all
}

func (c *Config) acceptsAnyTenantID() bool { return slices.Contains(c.TenantIDs, anyTenantID) }

// ownTenantIDs are the ids that the tenant accepts by name.
func (c *Config) ownTenantIDs() []string {
	switch {
	case c.TenantIDs == nil:
		return []string{c.ID}
	case c.acceptsAnyTenantID():
		return nil
	}
	return c.TenantIDs
}

// FindMixups finds the tenants that SharedIssuers describes. dir is where relative
// file names begin: keys in files are read, once for all that is asked of the
// result. It holds on to all, which must not be changed.
func FindMixups(all []Config, dir string) *Mixups {
	m := &Mixups{all: all}
	type group struct {
		tenants []int
		blind   bool // one of them accepts any issuer
	}
	byIssuer, byKey := map[string]*group{}, map[string]*group{}
	join := func(groups map[string]*group, key string, tenant int, blind bool) {
		g := groups[key]
		if g == nil {
			g = &group{}
			groups[key] = g
		}
		// An issuer that is listed twice does not make its tenant two.
		if n := len(g.tenants); n == 0 || g.tenants[n-1] != tenant {
			g.tenants = append(g.tenants, tenant)
		}
		g.blind = g.blind || blind
	}
	open := 0 // tenants whose keys are not known now
	for i := range all {
		c := &all[i]
		for _, issuer := range c.Issuer {
			join(byIssuer, issuer, i, false)
		}
		isBlind := !c.VerifyIss || len(c.Issuer) == 0
		names, known := c.keyNames(dir)
		for _, name := range names {
			join(byKey, name, i, isBlind)
		}
		if !known {
			open++
		}
		if isBlind {
			m.blind = append(m.blind, i)
		}
	}
	add := func(groups map[string]*group, needsBlind bool) {
		for _, g := range groups {
			if len(g.tenants) > 1 && (g.blind || !needsBlind) {
				m.groups = append(m.groups, g.tenants)
			}
		}
	}
	add(byIssuer, false)
	add(byKey, true)
	if len(all) < 2 || open == 0 {
		m.blind = nil
	}
	return m
}

// keyNames names what the tenant verifies with, equal where that is equal.
// known says that these are the keys themselves, and no others can come.
func (c *Config) keyNames(dir string) (names []string, known bool) {
	switch {
	case c.JWKSURL != "":
		return []string{"url " + canonicalURL(c.JWKSURL)}, false
	case c.DiscoveryURL != "":
		return []string{"discovery " + canonicalURL(c.DiscoveryURL)}, false
	case c.Type == string(jwtverify.HS256):
		return []string{"secret " + c.Key.Reveal()}, true
	}
	in := inspector{Config: c, dir: dir}
	if in.checkKeySource(); in.parts.keys == nil {
		return nil, false // Build tells what is wrong with it
	}
	for _, key := range in.parts.keys.Keys() {
		names = append(names, "key "+key.Thumbprint())
	}
	return names, true
}

// canonicalURL undoes what changes a URL's spelling but not its meaning.
func canonicalURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.Host = strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		u.Host = strings.TrimSuffix(u.Host, ":443")
	case "http":
		u.Host = strings.TrimSuffix(u.Host, ":80")
	}
	return u.String()
}
