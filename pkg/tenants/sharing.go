package tenants

import (
	"encoding/pem"
	"net/url"
	"path/filepath"
	"strings"
)

// SharedIssuers tells for each tenant whether its tokens must have the claim
// tenant_id, because nothing else would tell them from another tenant's: both
// accept the same issuer, or both have the same source of keys and one of them
// does not look at the issuer. Give it to Build as Shared.RequireTenantID.
//
// Sources are compared by name: two URLs that serve the same keys are two.
func SharedIssuers(all []Config) map[string]bool {
	type group struct {
		tenants []string
		blind   bool // one of them accepts any issuer
	}
	byIssuer, bySource := map[string]*group{}, map[string]*group{}
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
	for i := range all {
		c := &all[i]
		for _, issuer := range c.Issuer {
			join(byIssuer, issuer, c.ID, false)
		}
		if source := c.keySource(); source != "" {
			join(bySource, source, c.ID, !c.VerifyIss || len(c.Issuer) == 0)
		}
	}
	shared := make(map[string]bool, len(all))
	for i := range all {
		shared[all[i].ID] = false
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
	mark(bySource, true)
	return shared
}

// keySource names where the keys come from, equal for equal sources.
func (c *Config) keySource() string {
	switch {
	case c.JWKSURL != "":
		return "url " + canonicalURL(c.JWKSURL)
	case c.DiscoveryURL != "":
		return "discovery " + canonicalURL(c.DiscoveryURL)
	case c.JWKSFile != "":
		return "file " + filepath.Clean(c.JWKSFile)
	case c.Key != "":
		if block, _ := pem.Decode([]byte(c.Key)); block != nil {
			return "key " + string(block.Bytes)
		}
		return "key " + string(c.Key)
	}
	return ""
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
