package tenants_test

import (
	"testing"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

func TestWhy(t *testing.T) {
	sel := selection()
	sel.Default = "acme"
	d, err := tenants.NewDirectory(sel, twoTenants())
	if err != nil {
		t.Fatal(err)
	}
	acme := []httpfield.Field{{Name: "tenant", Value: "acme"}}
	header := tenants.Headers{{Name: "x-tenant-id", Value: "acme"}}
	for _, tt := range []struct {
		extensions []httpfield.Field
		headers    tenants.Headers
		host, want string
	}{
		{acme, header, "api.acme.example", "by the context extension tenant and the header x-tenant-id and the host api.acme.example"},
		{nil, header, "nobody.example", "by the header x-tenant-id"},
		{[]httpfield.Field{{Name: "other", Value: "x"}}, nil, "a.globex.example", "by the host a.globex.example"},
		{nil, nil, "nobody.example", "the default: neither extension nor header nor host selects one"},
	} {
		if _, err := d.Select(tt.extensions, tt.headers, tt.host); err != nil {
			t.Errorf("no tenant for %v: %v", tt, err)
		}
		if got := d.Why(tt.extensions, tt.headers, tt.host); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	single := tenants.NewSingle(twoTenants()[0])
	if got := single.Why(acme, header, ""); got != "the only one: every request belongs to it" {
		t.Error(got)
	}
}

func TestHowTo(t *testing.T) {
	many := make([]*tenants.Tenant, 8)
	for i := range many {
		many[i] = &tenants.Tenant{ID: string(rune('a' + i))}
	}
	for _, tt := range []struct {
		sel  tenants.Selection
		list []*tenants.Tenant
		want string
	}{
		{selection(), twoTenants(), "send the header x-tenant-id, or pin the context extension tenant in Envoy's route, or ask for a host of a tenant; the tenants are acme, globex"},
		{tenants.Selection{Header: "X-T"}, many, "send the header x-t; the tenants are a, b, c, d, e, f and 2 more"},
		{tenants.Selection{}, many[:1], "nothing can select one; the tenants are a"},
	} {
		d, err := tenants.NewDirectory(tt.sel, tt.list)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.HowTo(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
