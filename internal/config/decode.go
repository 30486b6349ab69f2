package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxDepth   = 64        // levels of the file below its root
	maxAliased = 1_000_000 // nodes read through aliases: nine lines of "billion laughs" ask for more
)

// decoder fills structs from YAML nodes by their yaml tags and gathers every
// fault on its way. A value with a fault leaves its field as it was.
type decoder struct {
	file   string
	lookup LookupEnv
	errs   Errors
	failed map[string]bool // the fields that have a fault
	under  map[string]bool // the sections around them
	shapes map[reflect.Type]*shape

	depth     int
	aliases   []*yaml.Node // the aliased nodes around the current one
	aliased   int          // nodes read through aliases so far
	stopped   bool         // a bound was met: nothing more is read
	truncated bool         // faults were left out
}

func newDecoder(file string, lookup LookupEnv) *decoder {
	return &decoder{
		file: file, lookup: lookup,
		failed: map[string]bool{}, under: map[string]bool{}, shapes: map[reflect.Type]*shape{},
	}
}

// path is the way from the root to a node; it becomes text in a fault only.
type path struct {
	up    *path
	key   string // "" in an item of a list
	index int
}

func (p *path) child(key string) *path { return &path{up: p, key: keyText(key)} }

func (p *path) String() string {
	if p == nil {
		return ""
	}
	up := p.up.String()
	switch {
	case p.key == "":
		return up + "[" + strconv.Itoa(p.index) + "]"
	case up == "":
		return p.key
	}
	return up + "." + p.key
}

// fail notes a problem of the field at p.
func (d *decoder) fail(line int, p *path, problem string) {
	d.mark(p)
	d.add(FieldError{File: d.file, Line: line, Field: p.String(), Problem: problem})
}

// mark keeps later checks from reporting what follows from a fault at p.
func (d *decoder) mark(p *path) {
	d.failed[p.String()] = true
	for up := p; up != nil; up = up.up {
		d.under[up.up.String()] = true
	}
}

func (d *decoder) add(f FieldError) {
	if len(d.errs) < maxErrors {
		d.errs = append(d.errs, f)
		return
	}
	d.stopped, d.truncated = true, true
}

// value decodes n into v, of whatever type that is.
func (d *decoder) value(n *yaml.Node, v reflect.Value, p *path) {
	if d.stopped {
		return
	}
	d.depth++
	defer func() { d.depth-- }()
	if d.depth > maxDepth {
		d.fail(n.Line, p, fmt.Sprintf("is nested deeper than %d levels", maxDepth))
		return
	}
	if n.Kind == yaml.AliasNode {
		if slices.Contains(d.aliases, n.Alias) {
			d.fail(n.Line, p, "is an alias of a section that holds the alias itself")
			return
		}
		d.aliases = append(d.aliases, n.Alias)
		defer func() { d.aliases = d.aliases[:len(d.aliases)-1] }()
		n = n.Alias
	}
	if len(d.aliases) > 0 {
		if d.aliased++; d.aliased > maxAliased {
			d.fail(n.Line, p, fmt.Sprintf(`is one of more than %d values read through aliases: write what tenants share under "defaults:"`, maxAliased))
			d.stopped = true
			return
		}
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(n.Line, p, "has a YAML tag ("+keyText(n.Tag)+"): remove the tag")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		d.fail(n.Line, p, `has no value: write one, or remove it for the default ("" is the empty string)`)
		return
	}
	d.typed(n, v, p)
}

// typed decodes a node that is no alias, has no tag and is not null.
func (d *decoder) typed(n *yaml.Node, v reflect.Value, p *path) {
	switch target := v.Addr().Interface().(type) {
	case **yaml.Node:
		*target = n
		return
	case *block:
		target.written = d.structure(n, reflect.ValueOf(&target.Config).Elem(), p)
		return
	}
	if parse, ok := scalarParser(v.Type()); ok {
		d.scalar(n, v, p, parse)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, p)
	case reflect.Slice:
		d.list(n, v, p)
	case reflect.Map:
		d.table(n, v, p)
	case reflect.Pointer:
		e := reflect.New(v.Type().Elem())
		d.value(n, e.Elem(), p)
		v.Set(e)
	case reflect.Interface:
		d.open(n, v, p)
	default:
		panic("config: no rule to decode " + v.Type().String())
	}
}

// shape is what a struct type takes: its keys in the order of the fields.
type shape struct {
	names  []string
	fields [][]int
	number map[string]int
}

func (d *decoder) shape(t reflect.Type) *shape {
	if s := d.shapes[t]; s != nil {
		return s
	}
	s := &shape{number: map[string]int{}}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		s.number[name] = len(s.names)
		s.names = append(s.names, name)
		s.fields = append(s.fields, f.Index)
	}
	if len(s.names) > 64 {
		panic("config: more keys than a keySet holds in " + t.String())
	}
	d.shapes[t] = s
	return s
}

// keySet is the set of a struct's keys that a section writes, by number.
type keySet uint64

func (k keySet) has(number int) bool { return k&(1<<number) != 0 }

// structure decodes a section into a struct and returns the keys it writes.
func (d *decoder) structure(n *yaml.Node, v reflect.Value, p *path) (written keySet) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n, v, p, "a section of keys")
		return 0
	}
	s := d.shape(v.Type())
	lines := make([]int, len(s.names))
	for i := 0; i+1 < len(n.Content) && !d.stopped; i += 2 {
		k := n.Content[i]
		if !d.key(k, p) {
			continue
		}
		number, known := s.number[k.Value]
		switch {
		case !known:
			d.unknown(k, p, s.names, n)
			continue
		case lines[number] > 0:
			d.doubled(k, p, lines[number])
			continue
		}
		lines[number] = k.Line
		written |= 1 << number
		d.value(n.Content[i+1], v.FieldByIndex(s.fields[number]), &path{up: p, key: k.Value})
	}
	return written
}

// key reports whether k can be a key: plain text, and no merge key, whose
// rules for doubled keys nobody remembers.
func (d *decoder) key(k *yaml.Node, p *path) bool {
	switch {
	case k.Kind != yaml.ScalarNode:
		d.fail(k.Line, p, "has a key that is "+kindOf(k)+": a key is plain text")
	case k.Tag == "!!merge":
		d.fail(k.Line, p.child("<<"), `merge keys are not supported: write the keys out; what all tenants share belongs under "defaults:"`)
	case k.Style&yaml.TaggedStyle != 0:
		d.fail(k.Line, p.child(k.Value), "has a YAML tag ("+keyText(k.Tag)+"): remove the tag")
	default:
		return true
	}
	return false
}

func (d *decoder) unknown(k *yaml.Node, p *path, known []string, section *yaml.Node) {
	problem := "unknown key."
	if guess := nearest(k.Value, known); guess != "" {
		problem = fmt.Sprintf("unknown key: did you mean %q?", guess)
		if !hasKey(section, guess) {
			d.mark(p.child(guess)) // so that it is not reported as missing too
		}
	}
	sorted := slices.Sorted(slices.Values(known))
	d.fail(k.Line, p.child(k.Value), problem+" Known here: "+list(sorted, len(sorted)))
}

func hasKey(section *yaml.Node, name string) bool {
	for i := 0; i+1 < len(section.Content); i += 2 {
		if section.Content[i].Value == name {
			return true
		}
	}
	return false
}

func (d *decoder) doubled(k *yaml.Node, p *path, first int) {
	d.fail(k.Line, p.child(k.Value), fmt.Sprintf("is written twice, first on line %d: remove one", first))
}

// list decodes a list; one string stands for a list of one where v is a StringList.
func (d *decoder) list(n *yaml.Node, v reflect.Value, p *path) {
	if n.Kind != yaml.SequenceNode {
		if n.Kind == yaml.ScalarNode && acceptsScalar(v.Type()) {
			one := reflect.MakeSlice(v.Type(), 1, 1)
			d.item(n, one.Index(0), p)
			v.Set(one)
			return
		}
		d.wrong(n, v, p, "a list, like [a, b]")
		return
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.item(item, all.Index(i), &path{up: p, index: i})
	}
	v.Set(all)
}

// item decodes one item of a list. An empty string in a list is always a
// mistake, most often a variable that is empty: as an accepted issuer or
// tenant id it would match what is missing.
func (d *decoder) item(n *yaml.Node, v reflect.Value, p *path) {
	before := len(d.errs)
	d.value(n, v, p)
	if v.Kind() == reflect.String && v.Len() == 0 && len(d.errs) == before && !d.stopped {
		d.fail(n.Line, p, "is an empty string: write a value or remove it")
	}
}

// table decodes a map with keys of the user's choice.
func (d *decoder) table(n *yaml.Node, v reflect.Value, p *path) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n, v, p, "a section of keys")
		return
	}
	all := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content) && !d.stopped; i += 2 {
		k := n.Content[i]
		if !d.key(k, p) {
			continue
		}
		if first := lines[k.Value]; first > 0 {
			d.doubled(k, p, first)
			continue
		}
		lines[k.Value] = k.Line
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(n.Content[i+1], e, p.child(k.Value))
		all.SetMapIndex(reflect.ValueOf(k.Value), e)
	}
	v.Set(all)
}

// open decodes a section that another program defines into maps, lists,
// strings, numbers and booleans.
func (d *decoder) open(n *yaml.Node, v reflect.Value, p *path) {
	switch n.Kind {
	case yaml.MappingNode:
		all := map[string]any{}
		d.table(n, reflect.ValueOf(&all).Elem(), p)
		v.Set(reflect.ValueOf(all))
	case yaml.SequenceNode:
		all := make([]any, len(n.Content))
		for i, item := range n.Content {
			d.value(item, reflect.ValueOf(&all[i]).Elem(), &path{up: p, index: i})
		}
		v.Set(reflect.ValueOf(all))
	default:
		text, _, ok := d.expand(n, p)
		if !ok {
			return
		}
		v.Set(reflect.ValueOf(openScalar(n, text)))
	}
}

// openScalar gives a plain scalar the type that its text shows; one in quotes
// and a date stay text.
func openScalar(n *yaml.Node, text string) any {
	if quoted(n) {
		return text
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i
	}
	switch text {
	case "true", "false":
		return text == "true"
	}
	// Not .inf and .nan: JSON, which such a section becomes, has no word for them.
	if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return f
	}
	return text
}
