package tenants_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

type selectionVector struct {
	Name       string
	Default    string
	Extensions map[string]string
	Headers    [][2]string
	Host       string
	Expect     string // a tenant's id, or "refused"
}

func twoTenants() []*tenants.Tenant {
	return []*tenants.Tenant{
		{ID: "acme", Hosts: []string{"api.acme.example", "shop.globex.example"}},
		{ID: "globex", Hosts: []string{"*.globex.example"}},
	}
}

func selection() tenants.Selection {
	return tenants.Selection{Header: "X-Tenant-ID", Extension: "tenant"}
}

func headers(pairs [][2]string) tenants.Headers {
	var h tenants.Headers
	for _, p := range pairs {
		h = append(h, tenants.Header{Name: p[0], Value: p[1]})
	}
	return h
}

func TestSelect(t *testing.T) {
	for _, v := range vectors[selectionVector](t, "selection.json") {
		t.Run(v.Name, func(t *testing.T) {
			sel := selection()
			sel.Default = v.Default
			d, err := tenants.NewDirectory(sel, twoTenants())
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Select(httpfield.FromMap(v.Extensions), headers(v.Headers), v.Host)
			switch v.Expect {
			case "refused":
				if got != nil || !errors.Is(err, tenants.ErrNoTenant) {
					t.Errorf("got %v, %v; want ErrNoTenant", got, err)
				}
			case "acme", "globex":
				if err != nil || got.ID != v.Expect {
					t.Errorf("got %v, %v; want %s", got, err, v.Expect)
				}
			default:
				t.Fatalf("unknown expectation %q", v.Expect)
			}
		})
	}
}

func TestSelectSwitchedOff(t *testing.T) {
	d, err := tenants.NewDirectory(tenants.Selection{}, twoTenants())
	if err != nil {
		t.Fatal(err)
	}
	// Neither "" as a header's name nor "" as a key selects anything.
	h := headers([][2]string{{"", "globex"}, {"x-tenant-id", "globex"}})
	if got, err := d.Select(httpfield.FromMap(map[string]string{"": "globex", "tenant": "globex"}), h, ""); !errors.Is(err, tenants.ErrNoTenant) {
		t.Errorf("got %v, %v; want ErrNoTenant", got, err)
	}
	if got, err := d.Select(nil, h, "api.acme.example"); err != nil || got.ID != "acme" {
		t.Errorf("got %v, %v; want acme", got, err)
	}
}

func TestNewSingle(t *testing.T) {
	only := &tenants.Tenant{ID: "default"}
	d := tenants.NewSingle(only)
	got, err := d.Select(httpfield.FromMap(map[string]string{"tenant": "acme"}), headers([][2]string{{"x-tenant-id", "acme"}, {"x-tenant-id", ""}}), "any.example")
	if err != nil || got != only {
		t.Errorf("got %v, %v", got, err)
	}
	if list := d.Tenants(); len(list) != 1 || list[0] != only {
		t.Errorf("Tenants() = %v", list)
	}
	d.Close()
	d.Close()
}

func TestNewDirectoryFaults(t *testing.T) {
	tests := []struct {
		name string
		sel  tenants.Selection
		list []*tenants.Tenant
		want string
	}{
		{"id twice", selection(), []*tenants.Tenant{{ID: "a"}, {ID: "a"}}, `tenant "a" is there twice`},
		{"no id", selection(), []*tenants.Tenant{{}}, "is no tenant id"},
		{"upper case", selection(), []*tenants.Tenant{{ID: "Acme"}}, "is no tenant id"},
		{"leading hyphen", selection(), []*tenants.Tenant{{ID: "-a"}}, "is no tenant id"},
		{"64 bytes", selection(), []*tenants.Tenant{{ID: strings.Repeat("a", 64)}}, "is no tenant id"},
		{"host twice", selection(), []*tenants.Tenant{{ID: "a", Hosts: []string{"x.example"}}, {ID: "b", Hosts: []string{"X.example."}}}, `host "x.example" belongs to tenant "a" already`},
		{"wildcard twice", selection(), []*tenants.Tenant{{ID: "a", Hosts: []string{"*.example"}}, {ID: "b", Hosts: []string{"*.EXAMPLE"}}}, `host "*.example" belongs to tenant "a" already`},
		{"bad host", selection(), []*tenants.Tenant{{ID: "a", Hosts: []string{"*"}}}, "tenant_selection.default"},
		{"no such default", tenants.Selection{Default: "b"}, []*tenants.Tenant{{ID: "a"}}, `default tenant "b" does not exist`},
		{"bad header", tenants.Selection{Header: "x tenant"}, []*tenants.Tenant{{ID: "a"}}, "is no header name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := tenants.NewDirectory(test.sel, test.list)
			if d != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want %q", d, err, test.want)
			}
		})
	}
}

// The text of a refusal goes to logs: a client must not be able to fill them.
func TestSelectErrorIsBounded(t *testing.T) {
	d, err := tenants.NewDirectory(selection(), twoTenants())
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Select(nil, headers([][2]string{{"x-tenant-id", strings.Repeat("a\n", 1<<16)}}), "")
	if !errors.Is(err, tenants.ErrNoTenant) || len(err.Error()) > 300 || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %.400v", err)
	}
}

func manyTenants(t testing.TB, n int) *tenants.Directory {
	t.Helper()
	var list []*tenants.Tenant
	for i := range n {
		list = append(list, &tenants.Tenant{
			ID:    fmt.Sprintf("t%d", i),
			Hosts: []string{fmt.Sprintf("api.t%d.example", i), fmt.Sprintf("*.t%d.example", i)},
		})
	}
	d, err := tenants.NewDirectory(selection(), list)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSelectAllocations(t *testing.T) {
	d := manyTenants(t, 100)
	extensions := []httpfield.Field{{Name: "tenant", Value: "t7"}}
	h := headers([][2]string{{"accept", "*/*"}, {"x-tenant-id", "t7"}})
	for _, host := range []string{"api.t7.example", "eu.t7.example", "gateway.internal"} {
		n := testing.AllocsPerRun(100, func() {
			if tenant, err := d.Select(extensions, h, host); err != nil || tenant.ID != "t7" {
				t.Fatal(tenant, err)
			}
		})
		if n != 0 {
			t.Errorf("host %s: %v allocations", host, n)
		}
	}
}

func BenchmarkSelect(b *testing.B) {
	for _, n := range []int{2, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := manyTenants(b, n)
			h := headers([][2]string{{"accept", "*/*"}, {"x-tenant-id", "t1"}})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Select(nil, h, "eu.t1.example"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
