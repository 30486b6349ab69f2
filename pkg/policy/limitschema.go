package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

const (
	maxSchema     = 8 << 10 // values in a schema
	maxSchemaDeep = 500     // of a schema and of a document: the validator calls itself
	maxApplied    = 1 << 16 // schemas that are applied, each to a value of the document
)

// limitSchema refuses a schema that refers to another document, which the
// function would fetch, or read from a local file; and one whose definitions
// refer to each other so that few of them are applied without an end. document
// is nil where there is none.
func limitSchema(schema, document ast.Value) error {
	native, err := nativeOf(schema)
	if native == nil {
		return err
	}
	var refs schemaRefs
	refs.read(native)
	if refs.outside || refs.any && refs.based {
		return errOutside
	}
	if refs.values > maxSchema {
		return fmt.Errorf("a schema of more than %d values", maxSchema)
	}
	if document == nil {
		return nil
	}
	value, err := nativeOf(document)
	if err != nil {
		return err
	}
	a := appliedSchemas{root: native, active: map[appliedSchema]bool{}}
	return a.apply(native, value, 0)
}

// nativeOf is nil where the function says what is wrong with a value.
func nativeOf(value ast.Value) (native any, err error) {
	if depthOf(value, maxSchemaDeep) > maxSchemaDeep {
		return nil, fmt.Errorf("nested more than %d deep", maxSchemaDeep)
	}
	text, ok := value.(ast.String)
	if !ok {
		return ast.JSON(value)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber() // as the function's: another one gives up at 1e999, and would leave the rest unread
	_ = decoder.Decode(&native)
	if nativeDepth(native) > maxSchemaDeep {
		return nil, fmt.Errorf("nested more than %d deep", maxSchemaDeep)
	}
	return native, nil
}

func nativeDepth(v any) (deepest int) {
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			deepest = max(deepest, nativeDepth(member))
		}
	case []any:
		for _, element := range v {
			deepest = max(deepest, nativeDepth(element))
		}
	default:
		return 0
	}
	return deepest + 1
}

// appliedSchemas counts how often a part of a schema is applied to a part of a
// document, as the function will do it.
type appliedSchemas struct {
	root   any
	count  int
	active map[appliedSchema]bool // references that are followed without a step into the document
}

type appliedSchema struct {
	ref   string
	depth int
}

// errOutside is an error of the function, as a fetch that fails is.
var errOutside = errors.New(`the schema refers to another document: "$ref" may begin with "#" alone, and "$id" not stand beside it`)

var errApplied = errors.New("the schema takes too long for this document")

func (a *appliedSchemas) apply(schema, value any, depth int) error {
	s, ok := schema.(map[string]any)
	if a.count++; a.count > maxApplied {
		return errApplied
	}
	if !ok {
		return nil
	}
	if err := a.refer(s, value, depth); err != nil {
		return err
	}
	for _, name := range [...]string{"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependencies"} {
		if err := a.applyEach(s[name], value, depth); err != nil {
			return err
		}
	}
	switch value := value.(type) {
	case string:
		if pattern, ok := s["pattern"].(string); ok {
			return a.match(pattern, value)
		}
	case map[string]any:
		return a.members(s, value, depth)
	case []any:
		return a.elements(s, value, depth)
	}
	return nil
}

// refer follows a reference within the schema.
func (a *appliedSchemas) refer(s map[string]any, value any, depth int) error {
	ref, ok := s["$ref"].(string)
	if !ok {
		return nil
	}
	step := appliedSchema{ref, depth}
	if a.active[step] {
		return errors.New("the schema refers to itself")
	}
	a.active[step] = true
	defer delete(a.active, step)
	return a.apply(resolve(a.root, ref), value, depth)
}

// applyEach applies a schema, or those in a list or an object, to one value.
func (a *appliedSchemas) applyEach(schemas, value any, depth int) error {
	switch schemas := schemas.(type) {
	case []any:
		for _, schema := range schemas {
			if err := a.apply(schema, value, depth); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, schema := range schemas { // of dependencies
			if err := a.apply(schema, value, depth); err != nil {
				return err
			}
		}
		return a.apply(schemas, value, depth)
	}
	return nil
}

func (a *appliedSchemas) members(s, value map[string]any, depth int) error {
	properties, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	for name, member := range value {
		if err := a.apply(properties[name], member, depth+1); err != nil {
			return err
		}
		for pattern, schema := range patterns {
			if err := a.match(pattern, name); err != nil {
				return err
			}
			if err := a.apply(schema, member, depth+1); err != nil {
				return err
			}
		}
		for _, schema := range [...]any{s["additionalProperties"], s["propertyNames"]} {
			if err := a.apply(schema, member, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *appliedSchemas) elements(s map[string]any, value []any, depth int) error {
	list, _ := s["items"].([]any)
	for i, element := range value {
		schemas := [...]any{s["items"], s["additionalItems"], s["contains"], nil}
		if i < len(list) {
			schemas[3] = list[i]
		}
		for _, schema := range schemas {
			if err := a.apply(schema, element, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// match counts a pattern as the schemas that take its time.
func (a *appliedSchemas) match(pattern, text string) error {
	if err := limitMatch(pattern, len(text)); err != nil {
		return err
	}
	a.count += roughInstructions(pattern) / 64 * (len(text) + regexStart) / 64
	if a.count > maxApplied {
		return errApplied
	}
	return nil
}

// resolve follows a JSON pointer in a schema; nil where it leads nowhere.
func resolve(schema any, ref string) any {
	pointer, err := url.PathUnescape(strings.TrimPrefix(ref, "#"))
	if err != nil {
		return nil
	}
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if step == "" {
			continue
		}
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch v := schema.(type) {
		case map[string]any:
			schema = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			schema = v[i]
		default:
			return nil
		}
	}
	return schema
}

type schemaRefs struct {
	any     bool
	outside bool // one of them names a document
	based   bool // an id says which document "#" is
	values  int
}

func (r *schemaRefs) read(v any) {
	r.values++
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			text, ok := member.(string)
			switch {
			case ok && name == "$ref":
				r.any, r.outside = true, r.outside || !strings.HasPrefix(text, "#")
			case ok && (name == "$id" || name == "id"):
				r.based = true
			}
			r.read(member)
		}
	case []any:
		for _, element := range v {
			r.read(element)
		}
	}
}
