package envoycheck

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// node is a value of a file, or of no file: what is absent answers as what is
// empty. It is never an alias.
type node struct {
	n    *yaml.Node
	near *yaml.Node // for the line of what is absent: what it is absent from
}

// at follows aliases. A file can't hold more of them in a row than this: each
// needs an anchor of its own.
func at(n, near *yaml.Node) node {
	for range 100 {
		if n == nil || n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	return node{n, near}
}

// foldName is a name without what its spellings differ in: protobuf's JSON reads
// failure_mode_allow and failureModeAllow.
func foldName(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// get returns the member at a path of names, in either spelling. Of two members of
// one name the last counts, as for Envoy.
func (n node) get(path ...string) node {
	for _, name := range path {
		n = n.member(foldName(name))
	}
	return n
}

func (n node) member(name string) node {
	near := n.n
	if near == nil {
		near = n.near
	}
	if n.n == nil || n.n.Kind != yaml.MappingNode {
		return node{nil, near}
	}
	for i := len(n.n.Content) - 2; i >= 0; i -= 2 {
		if key := n.n.Content[i]; foldName(key.Value) == name {
			return at(n.n.Content[i+1], near)
		}
	}
	return node{nil, near}
}

// set reports whether the value is there; null is not.
func (n node) set() bool { return n.n != nil && n.n.ShortTag() != "!!null" }

// each calls f for the members of a mapping, in the order of the file.
func (n node) each(f func(key string, value node)) {
	if n.n == nil || n.n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.n.Content); i += 2 {
		f(n.n.Content[i].Value, at(n.n.Content[i+1], n.n))
	}
}

// list returns the elements of a sequence.
func (n node) list() []node {
	if n.n == nil || n.n.Kind != yaml.SequenceNode {
		return nil
	}
	all := make([]node, len(n.n.Content))
	for i, element := range n.n.Content {
		all[i] = at(element, n.n)
	}
	return all
}

// texts returns the elements of a sequence of scalars.
func (n node) texts() []string {
	var all []string
	for _, element := range n.list() {
		all = append(all, element.text())
	}
	return all
}

// text returns a scalar as it is written, without quotes.
func (n node) text() string {
	if n.n == nil || n.n.Kind != yaml.ScalarNode || !n.set() {
		return ""
	}
	return n.n.Value
}

func (n node) truth() bool { return n.text() == "true" }

// number returns a number, also one that stands in quotes, as 64 bits do in JSON.
func (n node) number() (float64, bool) {
	v, err := strconv.ParseFloat(n.text(), 64)
	return v, err == nil
}

// duration returns a duration of protobuf's JSON ("0.5s") or of Kubernetes ("500ms").
func (n node) duration() (time.Duration, bool) {
	d, err := time.ParseDuration(n.text())
	return d, err == nil
}

// typed returns the message of a typed_config and its type's name. A TypedStruct
// stands for the message that it names.
func (n node) typed() (message node, name string) {
	name = n.get("@type").text()
	if strings.HasSuffix(name, ".TypedStruct") {
		return n.get("value"), n.get("type_url").text()
	}
	return n, name
}

// is reports whether the message in a typed_config has a type, by the end of its
// name.
func (n node) is(suffix string) bool {
	_, name := n.typed()
	return strings.HasSuffix(name, "."+suffix)
}

func (n node) line() int {
	switch {
	case n.n != nil:
		return n.n.Line
	case n.near != nil:
		return n.near.Line
	}
	return 1
}
