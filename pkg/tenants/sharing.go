package tenants

import (
	"net/url"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// SharedIssuers tells for each tenant whether its tokens must have the claim
// tenant_id, because nothing else would tell them from another tenant's. Give
// it to Build as Shared.RequireTenantID. dir is where relative file names begin.
//
// What verifies decides, not how it is written. Two tenants are mixed up where
// both accept the same issuer, or where one of them does not look at the issuer
// ("blind") and both have the same source of keys, or the same key in a file
// and in the configuration. And what a URL will serve nobody knows beforehand:
// as soon as one of them has remote keys, a blind tenant is never proven to be
// apart from the others.
func SharedIssuers(all []Config, dir string) map[string]bool {
	type group struct {
		tenants []string
		blind   bool // one of them accepts any issuer
	}
	byIssuer, byKey := map[string]*group{}, map[string]*group{}
	join := func(groups map[string]*group, key, tenant string, blind bool) {
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
	shared := make(map[string]bool, len(all))
	var blind []string // those whose keys may be another's, for all that is known
	open := 0          // tenants whose keys are not known now
	for i := range all {
		c := &all[i]
		for _, issuer := range c.Issuer {
			join(byIssuer, issuer, c.ID, false)
		}
		isBlind := !c.VerifyIss || len(c.Issuer) == 0
		names, known := c.keyNames(dir)
		for _, name := range names {
			join(byKey, name, c.ID, isBlind)
		}
		if !known {
			open++
		}
		if isBlind {
			blind = append(blind, c.ID)
		}
		shared[c.ID] = false
	}
	mark := func(groups map[string]*group, needsBlind bool) {
		for _, g := range groups {
			if len(g.tenants) < 2 || needsBlind && !g.blind {
				continue
			}
			for _, tenant := range g.tenants {
				shared[tenant] = true
			}
		}
	}
	mark(byIssuer, false)
	mark(byKey, true)
	if len(all) > 1 && open > 0 {
		for _, tenant := range blind {
			shared[tenant] = true
		}
	}
	return shared
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
