package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// tenantWarnings reports what a tenant may do, but rarely means.
func (k *checker) tenantWarnings(b *block) {
	for _, check := range []struct {
		field string
		on    bool
		means string
	}{
		{"verify_exp", b.VerifyExp, "tokens never expire"},
		{"verify_nbf", b.VerifyNbf, "tokens are good before their time"},
		{"verify_aud", b.VerifyAud, "tokens for other applications of the issuer are good"},
		{"verify_iss", b.VerifyIss, "tokens of any issuer that uses these keys are good"},
	} {
		if !check.on {
			k.warnTenant(b, check.field, "is off: "+check.means)
		}
	}
	if b.Type == "HS256" {
		k.warnTenant(b, "type", "is HS256: whoever can verify a token can mint one; an asymmetric key is safer")
	}
	if b.AllowHTTP {
		k.plainKeys(b, "jwks_url", b.JWKSURL)
		k.plainKeys(b, "discovery_url", b.DiscoveryURL)
	}
	k.warnUnreachable(b)
	s := k.c.TenantSelection
	if len(b.Hosts) == 0 && s.Header == "" && s.Default != b.ID && !k.c.Single {
		if s.ContextExtension == "" {
			k.warnTenant(b, "hosts", "are missing, and tenant_selection names neither header nor extension: no request can select this tenant")
		} else {
			k.warnTenant(b, "hosts", "are missing and tenant_selection.header is off: only the extension of a route selects this tenant")
		}
	}
}

// anyTenantID warns of two tenants that accept each other's tokens. It must come
// after the tenants' own checks.
func (k *checker) anyTenantID() {
	open := tenants.FindMixups(k.c.Tenants, k.c.Dir).OpenToEachOther()
	for i := range k.blocks {
		if b := &k.blocks[i]; open[b.ID] != "" {
			k.warnTenant(b, "tenant_ids", fmt.Sprintf(`is "*" here and in tenant %q, whose issuer or keys are the same: each accepts the tokens of the other; list the ids of each`, open[b.ID]))
		}
	}
}

// warnUnreachable looks at inherited routes once, not for every tenant.
func (k *checker) warnUnreachable(b *block) {
	whole, shared := k.tenantField(b, "routes")
	if id := whole + "\x00reached"; len(b.Routes) == 0 || shared && k.reported[id] {
		return
	} else {
		k.reported[id] = true
	}
	routes, _ := tenants.NewRoutes(b.Routes) // its faults are told
	readings := k.common
	if b.PathReadings != nil {
		readings, _ = tenants.ParseReadings(b.PathReadings)
	}
	for i, why := range unreachableRoutes(routes, readings) {
		k.warnTenant(b, fmt.Sprintf("routes[%d].match", i), why)
	}
}

func (k *checker) plainKeys(b *block, field, address string) {
	u, err := url.Parse(address)
	if err != nil || !strings.EqualFold(u.Scheme, "http") || jwks.IsLoopbackHost(u.Hostname()) {
		return
	}
	k.warnTenant(b, field, "fetches keys without TLS: whoever sits on the way can put in keys of their own")
}
