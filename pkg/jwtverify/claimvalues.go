package jwtverify

import (
	stdjson "encoding/json"
	"maps"
	"sync/atomic"
)

// Claims are all claims of a token. They are kept as they were signed, and
// turned into values for those who ask. A nil *Claims has none. It is safe for
// concurrent use.
type Claims struct {
	raw  string // an object that claimSet.parse has checked
	tree atomic.Pointer[map[string]any]
}

// NewClaims returns claims of the given values, for an identity that comes from
// no token.
func NewClaims(values map[string]any) *Claims {
	c := &Claims{}
	values = maps.Clone(values)
	c.tree.Store(&values)
	return c
}

// Map returns the claims as values: objects are map[string]any, arrays []any,
// numbers encoding/json.Number with every digit kept. It is shared and must not
// be changed.
func (c *Claims) Map() map[string]any {
	if c == nil {
		return nil
	}
	if tree := c.tree.Load(); tree != nil {
		return *tree
	}
	tree := object(c.raw)
	c.tree.Store(&tree)
	return tree
}

// Get returns the value of one claim, in the form that Map has it; nil where
// there is none. Of a token it makes this one alone.
func (c *Claims) Get(name string) any {
	if c == nil {
		return nil
	}
	if tree := c.tree.Load(); tree != nil {
		return (*tree)[name]
	}
	text, found := lookUp(membersOf(c.raw), name)
	if !found {
		return nil
	}
	return value(text)
}

// MarshalJSON returns the claims as one object.
func (c *Claims) MarshalJSON() ([]byte, error) { return stdjson.Marshal(c.Map()) }

func object(text string) map[string]any {
	members := membersOf(text)
	tree := make(map[string]any, len(members))
	for _, m := range members {
		tree[m.name] = value(m.text)
	}
	return tree
}

// value turns JSON that was checked before into a value.
func value(text string) any {
	switch text[0] {
	case '{':
		return object(text)
	case '[':
		list := []any{}
		for _, text := range elements(text) {
			list = append(list, value(text))
		}
		return list
	case '"':
		return unquote(text)
	case 't', 'f':
		return text == "true"
	case 'n':
		return nil
	}
	return stdjson.Number(text) // every digit: 2^53+1 is an id somewhere
}
