package config

import (
	"strings"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// environment is the name of the source of FromEnvironment, in faults.
const environment = "environment"

// FromEnvironment returns the configuration of one tenant, "default", that
// every request belongs to and whose every path needs a valid token, nothing
// more. USSO_JWKS_URL, USSO_ISSUER and USSO_AUDIENCE are needed; USSO_LISTEN
// and USSO_ADMIN_LISTEN replace the addresses. Its error is Faults.
func FromEnvironment(getenv func(string) string) (*Config, error) {
	c := Default()
	c.Single, c.Dir = true, "."
	c.Routes = []tenants.Route{{Match: "/"}}
	if listen := getenv("USSO_LISTEN"); listen != "" {
		c.Listen = listen
	}
	if listen := getenv("USSO_ADMIN_LISTEN"); listen != "" {
		c.Admin.Listen = listen
	}
	t := tenants.DefaultConfig()
	t.ID, t.TenantIDs = "default", tenants.StringList{"*"}
	t.JWKSURL = getenv("USSO_JWKS_URL")
	t.Issuer = tenants.StringList{getenv("USSO_ISSUER")}
	t.Audience = tenants.StringList{getenv("USSO_AUDIENCE")}
	c.Tenants = []tenants.Config{t}

	d := newDecoder(environment, nil)
	k := &checker{c: &c, blocks: []block{{Config: t}}, d: d, place: variableOf}
	for _, needed := range []struct{ field, value string }{
		{"tenants.default.jwks_url", t.JWKSURL},
		{"tenants.default.issuer", t.Issuer[0]},
		{"tenants.default.audience", t.Audience[0]},
	} {
		if needed.value == "" {
			k.fail(needed.field, "is not set: set it, or name a configuration file with -c FILE")
			d.failed[needed.field] = true
		}
	}
	k.all()
	if err := d.errs.asError(); err != nil {
		return nil, err
	}
	return &c, nil
}

// variableOf names the variable that a field comes from.
func variableOf(field string) (line int, name string) {
	rest, _ := strings.CutPrefix(field, "tenants.default.")
	variable := map[string]string{
		"jwks_url": "USSO_JWKS_URL", "issuer": "USSO_ISSUER", "audience": "USSO_AUDIENCE",
		"listen": "USSO_LISTEN", "admin.listen": "USSO_ADMIN_LISTEN",
	}
	for known, name := range variable {
		if rest == known || strings.HasPrefix(rest, known+"[") {
			return 0, name
		}
	}
	return 0, field
}
