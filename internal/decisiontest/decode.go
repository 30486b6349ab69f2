package decisiontest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/config"
)

// Bounds on a file of cases: what is larger is something else.
const (
	maxFile  = 4 << 20
	maxNodes = 200_000
	maxDepth = 32
)

// Load reads files of cases. cfg is the configuration that they are for. Its
// error is config.Faults: all of them, of all files.
func Load(files []string, cfg *config.Config) ([]Suite, error) {
	var suites []Suite
	var faults config.Errors
	for _, file := range files {
		d := decoder{file: file, cfg: cfg}
		suite := Suite{File: file}
		if root := d.parse(); root != nil {
			suite.Cases = d.suite(root)
		}
		slices.SortStableFunc(d.errs, func(a, b config.FieldError) int { return a.Line - b.Line })
		faults = append(faults, d.errs...)
		suites = append(suites, suite)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return suites, nil
}

// decoder reads one file and gathers every fault on its way.
type decoder struct {
	file   string
	cfg    *config.Config
	tokens map[string]Token
	errs   config.Errors
	nodes  int
}

func (d *decoder) fail(line int, field, format string, args ...any) {
	d.errs = append(d.errs, config.FieldError{File: d.file, Line: line, Field: field, Problem: fmt.Sprintf(format, args...)})
}

// parse returns the root of the file's only document.
func (d *decoder) parse() *yaml.Node {
	f, err := os.Open(d.file)
	if err != nil {
		d.fail(0, "", "can't be read: %v", errors.Unwrap(err))
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(data) > maxFile {
		d.fail(0, "", "can't be read, or is larger than %d MiB", maxFile>>20)
		return nil
	}
	var document, second yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(data))
	if err := reader.Decode(&document); errors.Is(err, io.EOF) || err == nil && len(document.Content) == 0 {
		d.fail(1, "", `is empty: write at least one case under "cases:"`)
		return nil
	} else if err != nil {
		d.syntax(err)
		return nil
	}
	if err := reader.Decode(&second); err == nil {
		d.fail(second.Line, "", `holds a second document: write one, without "---"`)
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return nil
	}
	return document.Content[0]
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

func (d *decoder) syntax(err error) {
	text, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits
		text = text[len(m[0]):]
	}
	d.fail(line, "", "is not valid YAML at or after this line: %s", strings.TrimPrefix(text, "yaml: "))
}

// read reads the value of one key.
type read func(n *yaml.Node, field string)

// section reads a mapping with known keys. It returns those that are there.
func (d *decoder) section(n *yaml.Node, field string, keys map[string]read) map[string]bool {
	written := map[string]bool{}
	for key, value := range d.pairs(n, field) {
		at := join(field, key.Value)
		f, known := keys[key.Value]
		if !known {
			names := make([]string, 0, len(keys))
			for name := range keys {
				names = append(names, name)
			}
			slices.Sort(names)
			d.fail(key.Line, at, "unknown key. Known here: %s", strings.Join(names, ", "))
			continue
		}
		written[key.Value] = true
		f(value, at)
	}
	return written
}

// pairs yields the keys of a mapping, each once, with their values.
func (d *decoder) pairs(n *yaml.Node, field string) func(func(*yaml.Node, *yaml.Node) bool) {
	return func(yield func(*yaml.Node, *yaml.Node) bool) {
		n = resolve(n)
		if n.Kind != yaml.MappingNode {
			d.fail(n.Line, field, "is no section of keys")
			return
		}
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			switch {
			case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
				d.fail(key.Line, field, "has a key that is no plain text")
			case first[key.Value] > 0:
				d.fail(key.Line, join(field, key.Value), "is written twice, first on line %d", first[key.Value])
			default:
				first[key.Value] = key.Line
				if !yield(key, resolve(n.Content[i+1])) {
					return
				}
			}
		}
	}
}

// items yields the items of a list.
func (d *decoder) items(n *yaml.Node, field string) func(func(int, *yaml.Node) bool) {
	return func(yield func(int, *yaml.Node) bool) {
		n = resolve(n)
		if n.Kind != yaml.SequenceNode {
			d.fail(n.Line, field, "is no list")
			return
		}
		for i, item := range n.Content {
			if !yield(i, resolve(item)) {
				return
			}
		}
	}
}

// resolve follows an alias; an anchor never stands on an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// text reads a scalar as it is written: a header "1" is text, quoted or not.
func (d *decoder) text(n *yaml.Node, field string) string {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.fail(n.Line, field, "is no text")
		return ""
	}
	return n.Value
}

func (d *decoder) textPointer(n *yaml.Node, field string) *string {
	s := d.text(n, field)
	return &s
}

// optionalTexts reads names to texts, where null says that there must be none.
func (d *decoder) optionalTexts(n *yaml.Node, field string) map[string]*string {
	all := map[string]*string{}
	for key, value := range d.pairs(n, field) {
		name := strings.ToLower(key.Value)
		all[name] = nil
		if !isNull(value) {
			all[name] = d.textPointer(value, join(field, key.Value))
		}
	}
	return all
}

// any reads a claim's value as JSON has it.
func (d *decoder) any(n *yaml.Node, field string, depth int) any {
	n = resolve(n)
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		if d.nodes <= maxNodes+1 { // once
			d.nodes = maxNodes + 1
			d.fail(n.Line, field, "is too deep, or one of too many values")
		}
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for key, value := range d.pairs(n, field) {
			object[key.Value] = d.any(value, join(field, key.Value), depth+1)
		}
		return object
	case yaml.SequenceNode:
		list := []any{}
		for i, item := range d.items(n, field) {
			list = append(list, d.any(item, fmt.Sprintf("%s[%d]", field, i), depth+1))
		}
		return list
	}
	switch n.Tag {
	case "!!null", "!!bool", "!!int", "!!float":
		var value any
		if err := n.Decode(&value); err != nil {
			d.fail(n.Line, field, "can't be read: %v", err)
		}
		return value
	}
	return n.Value
}
