package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lineOf returns the line of a field below n: that of its key, or of the item
// in a list. Of a field that the file does not write it is the line of the
// innermost section that it does.
func lineOf(n *yaml.Node, field string) int {
	line := n.Line
	for range maxDepth {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			next, line, field = inMapping(n, field, line)
		case yaml.SequenceNode:
			next, line, field = inSequence(n, field, line)
		}
		if next == nil || field == "" {
			return line
		}
		n = next
	}
	return line
}

// inMapping finds the key that field begins with; a key may hold a dot.
func inMapping(n *yaml.Node, field string, line int) (*yaml.Node, int, string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		rest, found := strings.CutPrefix(field, k.Value)
		if !found {
			rest, found = strings.CutPrefix(field, keyText(k.Value))
		}
		if !found || k.Value == "" {
			continue
		}
		switch {
		case rest == "" || rest[0] == '[':
			return n.Content[i+1], k.Line, rest
		case rest[0] == '.':
			return n.Content[i+1], k.Line, rest[1:]
		}
	}
	return nil, line, field
}

func inSequence(n *yaml.Node, field string, line int) (*yaml.Node, int, string) {
	number, rest, found := strings.Cut(strings.TrimPrefix(field, "["), "]")
	index, err := strconv.Atoi(number)
	if !found || err != nil || index < 0 || index >= len(n.Content) {
		return nil, line, field
	}
	return n.Content[index], n.Content[index].Line, strings.TrimPrefix(rest, ".")
}
