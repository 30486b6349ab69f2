package tenants

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

// ErrNoTenant: a request selects no tenant, one that does not exist, or two
// that differ. Every error of Select wraps it.
var ErrNoTenant = errors.New("no tenant")

// Selection says what of a request selects its tenant, besides its host.
type Selection struct {
	Header    string // a header's name; "": no header selects
	Extension string // a key of Envoy's context extensions; "": none selects
	Default   string // the tenant of requests that select none; "": there is none
}

// Directory finds a request's tenant. It is immutable and safe for concurrent
// use; the cost of a Select does not depend on the number of tenants.
type Directory struct {
	list              []*Tenant
	byID              map[string]*Tenant
	exact, wild       map[string]*Tenant // wild: what follows the "*."
	header, extension string
	fallback          *Tenant
	single            bool // for Why
}

// NewDirectory returns the directory of the tenants in list. Every id and
// every host must be there only once, and the default tenant must exist. The
// directory owns the tenants from then on: Close closes them.
func NewDirectory(sel Selection, list []*Tenant) (*Directory, error) {
	d := &Directory{
		list:      slices.Clone(list),
		byID:      make(map[string]*Tenant, len(list)),
		exact:     make(map[string]*Tenant, len(list)),
		wild:      map[string]*Tenant{},
		header:    strings.ToLower(sel.Header),
		extension: sel.Extension,
	}
	var faults []error
	if sel.Header != "" && !isHTTPToken(sel.Header) {
		faults = append(faults, fmt.Errorf("selecting header %q is no header name", sel.Header))
	}
	for _, t := range list {
		faults = append(faults, d.add(t)...)
	}
	if sel.Default != "" {
		if d.fallback = d.byID[sel.Default]; d.fallback == nil {
			faults = append(faults, fmt.Errorf("default tenant %q does not exist", sel.Default))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return d, nil
}

func (d *Directory) add(t *Tenant) (faults []error) {
	switch {
	case !isID(t.ID):
		return []error{fmt.Errorf("%q %s", t.ID, idRule)}
	case d.byID[t.ID] != nil:
		return []error{fmt.Errorf("tenant %q is there twice", t.ID)}
	}
	d.byID[t.ID] = t
	for _, pattern := range t.Hosts {
		host, err := parseHostPattern(pattern)
		if err != nil {
			faults = append(faults, fmt.Errorf("tenant %q: host %q: %w", t.ID, pattern, err))
			continue
		}
		hosts := d.exact
		rest, wild := strings.CutPrefix(host, "*.")
		if wild {
			hosts = d.wild
		}
		if owner := hosts[rest]; owner != nil {
			faults = append(faults, fmt.Errorf("tenant %q: host %q belongs to tenant %q already", t.ID, host, owner.ID))
			continue
		}
		hosts[rest] = t
	}
	return faults
}

// NewSingle returns a directory of one tenant that every request belongs to,
// whatever it says: no name and no host selects another.
func NewSingle(t *Tenant) *Directory {
	return &Directory{list: []*Tenant{t}, byID: map[string]*Tenant{t.ID: t}, fallback: t, single: true}
}

// Select returns the tenant of a request: of its context extensions, its
// header lines and its host, which must have passed ParseHost or be "". All of
// them that name a tenant must name the same one. Nothing of a token is looked
// at: who picks the keys must not be the one who signed with them.
//
// The error wraps ErrNoTenant; its text is for logs.
func (d *Directory) Select(extensions []httpfield.Field, h Headers, host string) (*Tenant, error) {
	tenant, err := d.byName(extensions, h)
	if err != nil {
		return nil, err
	}
	// A host that belongs to nobody contradicts nothing: a mesh's inner names
	// are no tenant's. A host of another tenant does.
	if owner := d.byHost(host); owner != nil {
		if tenant != nil && tenant != owner {
			return nil, conflict(tenant, "host", owner)
		}
		return owner, nil
	}
	if tenant == nil {
		tenant = d.fallback
	}
	if tenant == nil {
		return nil, fmt.Errorf("%w: neither extension nor header nor host select one", ErrNoTenant)
	}
	return tenant, nil
}

// byName returns the tenant that extension and header name, nil where neither
// is there.
func (d *Directory) byName(extensions []httpfield.Field, h Headers) (tenant *Tenant, err error) {
	if id, ok := d.pinned(extensions); ok {
		if tenant = d.byID[id]; tenant == nil {
			return nil, unknown("context extension", id)
		}
	}
	if d.header == "" {
		return tenant, nil
	}
	id, lines := h.Get(d.header)
	for i := range h {
		// To servers in the CGI tradition X_Tenant_ID is the same header.
		if h[i].Name != d.header && httpfield.SameName(h[i].Name, d.header) {
			return nil, fmt.Errorf("%w: the header %s is another spelling of %s", ErrNoTenant, h[i].Name, d.header)
		}
	}
	if lines == 0 {
		return tenant, nil
	}
	if lines > 1 {
		return nil, fmt.Errorf("%w: %d lines of header %s", ErrNoTenant, lines, d.header)
	}
	named := d.byID[id]
	switch {
	case named == nil:
		return nil, unknown("header", id)
	case tenant != nil && tenant != named:
		return nil, conflict(tenant, "header", named)
	}
	return named, nil
}

// pinned returns the id that an Envoy route gives. Of two the last counts, as
// everywhere in protobuf.
func (d *Directory) pinned(extensions []httpfield.Field) (id string, ok bool) {
	for _, e := range extensions {
		if d.extension != "" && e.Name == d.extension {
			id, ok = e.Value, true
		}
	}
	return id, ok
}

func (d *Directory) byHost(host string) *Tenant {
	if t := d.exact[host]; t != nil {
		return t
	}
	// One label, not more: "*.example.com" is neither "example.com" nor
	// "a.b.example.com". An address has no labels.
	if i := strings.IndexByte(host, '.'); i > 0 && host[0] != '[' {
		return d.wild[host[i+1:]]
	}
	return nil
}

func unknown(where, id string) error {
	return fmt.Errorf("%w: unknown id %.64q in %s", ErrNoTenant, id, where)
}

func conflict(a *Tenant, where string, b *Tenant) error {
	return fmt.Errorf("%w: %s is of tenant %q, but tenant %q was selected", ErrNoTenant, where, b.ID, a.ID)
}

// Header returns the name of the header that selects, in lower case; "" where
// none does.
func (d *Directory) Header() string { return d.header }

// Tenants returns all tenants, in the order they were given.
func (d *Directory) Tenants() []*Tenant { return slices.Clone(d.list) }

// tenant returns the one of an id, nil where there is none. A nil Directory has none.
func (d *Directory) tenant(id string) *Tenant {
	if d == nil {
		return nil
	}
	return d.byID[id]
}

// Close closes every tenant.
func (d *Directory) Close() {
	for _, t := range d.list {
		t.Close()
	}
}
