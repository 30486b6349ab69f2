package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// block is a tenant's block, or the defaults, with what the file writes in it.
type block struct {
	tenants.Config
	written   keySet
	inherited keySet
}

var configType = reflect.TypeFor[tenants.Config]()

var tenantID = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// keySource is one group: what it says makes sense together only.
func keySource() []string {
	return []string{"jwks_url", "discovery_url", "jwks_file", "key", "type"}
}

// neverEmpty are the lists that mean "any" or "the default" when they are
// missing: written but empty, they would silently accept more than they show.
func neverEmpty() []string {
	return []string{"issuer", "audience", "algorithms", "token_types", "tenant_ids", "routes"}
}

// blocks decodes the defaults and every tenant, each over what it inherits.
// ids are those of all tenants of the file, with faults or not.
func (d *decoder) blocks(defaults, section *yaml.Node) (list []block) {
	var base block
	base.Config = tenants.DefaultConfig()
	if defaults != nil {
		d.block(defaults, &base, &path{key: "defaults"})
	}
	if section == nil {
		return nil
	}
	root := &path{key: "tenants"}
	if section.Kind != yaml.MappingNode {
		d.fail(section.Line, root, "is "+kindOf(section)+`: write the tenants' ids as keys, like "acme:"`)
		return nil
	}
	lines := make(map[string]int, len(section.Content)/2)
	list = make([]block, 0, len(section.Content)/2)
	for i := 0; i+1 < len(section.Content) && !d.stopped; i += 2 {
		k := section.Content[i]
		if !d.key(k, root) {
			continue
		}
		if first := lines[k.Value]; first > 0 {
			d.doubled(k, root, first)
			continue
		}
		lines[k.Value] = k.Line
		p := root.child(k.Value)
		if !tenantID.MatchString(k.Value) {
			d.fail(k.Line, p, "is no tenant id: write a-z, 0-9, - and _, a letter or digit first, 63 at most")
		}
		b := block{Config: tenants.DefaultConfig()}
		b.ID = k.Value
		d.block(section.Content[i+1], &b, p)
		d.inherit(&b, &base)
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b block) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func (d *decoder) block(n *yaml.Node, b *block, p *path) {
	d.value(n, reflect.ValueOf(b).Elem(), p)
	s := d.shape(configType)
	v := reflect.ValueOf(&b.Config).Elem()
	for _, name := range neverEmpty() {
		number := s.number[name]
		f := v.FieldByIndex(s.fields[number])
		if b.written.has(number) && f.Len() == 0 && !f.IsNil() {
			q := p.child(name)
			d.fail(lineOf(n, name), q, "is an empty list: remove the key for the default, or write at least one")
		}
	}
}

// inherit copies into b what it does not write and the defaults do.
func (d *decoder) inherit(b, base *block) {
	if base.written == 0 {
		return
	}
	s := d.shape(configType)
	b.inherited = base.written &^ b.written
	for _, name := range keySource() {
		if name != "type" && b.written.has(s.number[name]) {
			for _, name := range keySource() {
				b.inherited &^= 1 << s.number[name]
			}
			break
		}
	}
	to, from := reflect.ValueOf(&b.Config).Elem(), reflect.ValueOf(&base.Config).Elem()
	for number := range s.names {
		if b.inherited.has(number) {
			index := s.fields[number]
			to.FieldByIndex(index).Set(from.FieldByIndex(index))
		}
	}
}
