package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A function whose result can be far larger than its arguments could end the
// process before any time limit: these look at the arguments first. A call that
// is refused is an error of the function, undefined as any other.
const (
	maxText     = 16 << 20 // bytes of a text that one call writes
	maxElements = 1 << 20  // of a list that one call makes
	maxShift    = 1 << 16  // bits
	maxDigits   = 1 << 14  // of a product
	maxPaths    = 1 << 18  // nodes on all paths through a graph
)

// limits holds a check of the arguments for each limited function. What is of
// another type than it should be is left to the function.
var limits = map[string]func(operands []*ast.Term) error{
	ast.Sprintf.Name:               limitSprintf,
	ast.Concat.Name:                limitConcat,
	ast.Replace.Name:               limitReplace,
	ast.ReplaceN.Name:              limitReplaceN,
	ast.RegexReplace.Name:          limitRegexReplace,
	ast.BitsShiftLeft.Name:         limitShift,
	ast.ArrayConcat.Name:           limitArrayConcat,
	ast.Multiply.Name:              limitDigits,
	ast.Product.Name:               limitDigits,
	ast.NumbersRange.Name:          limitRange,
	ast.ReachablePathsBuiltin.Name: limitPaths,
	ast.JSONMatchSchema.Name:       func(operands []*ast.Term) error { return limitSchema(operands[1].Value) },
	ast.JSONSchemaVerify.Name:      func(operands []*ast.Term) error { return limitSchema(operands[0].Value) },
}

func limitText(n int) error {
	if n < 0 || n > maxText {
		return fmt.Errorf("the result could have more than %d bytes", maxText)
	}
	return nil
}

// limitSprintf adds up the widths and precisions, of which each may ask for a
// million characters: an asterisk takes one of the arguments for it. Indexes
// let a format repeat an argument.
func limitSprintf(operands []*ast.Term) error {
	const most = 1_000_000 // what fmt takes
	format, _ := operands[0].Value.(ast.String)
	longest := 0
	if args, ok := operands[1].Value.(*ast.Array); ok && strings.Contains(string(format), "[") {
		args.Foreach(func(t *ast.Term) { longest = max(longest, t.Value.StringLength()) })
	}
	n, inVerb, number := len(format), false, 0
	for i := range len(format) {
		switch c := format[i]; {
		case !inVerb:
			inVerb, number = c == '%', 0
		case '0' <= c && c <= '9':
			number = min(most, number*10+int(c-'0'))
		case c == '*':
			n += most
		case strings.IndexByte(".[]", c) >= 0:
			n, number = n+number, 0
		case strings.IndexByte("+-# ", c) < 0: // the verb
			n, inVerb = n+number+longest, false
		}
	}
	return limitText(n)
}

func limitConcat(operands []*ast.Term) error {
	separator, _ := operands[0].Value.(ast.String)
	n := 0
	add := func(term *ast.Term) {
		s, _ := term.Value.(ast.String)
		n += len(s) + len(separator)
	}
	switch v := operands[1].Value.(type) {
	case *ast.Array:
		v.Foreach(add)
	case ast.Set:
		v.Foreach(add)
	}
	return limitText(n)
}

func limitReplace(operands []*ast.Term) error {
	s, _ := operands[0].Value.(ast.String)
	old, _ := operands[1].Value.(ast.String)
	replacement, _ := operands[2].Value.(ast.String)
	return limitText(len(s) + strings.Count(string(s), string(old))*len(replacement))
}

func limitReplaceN(operands []*ast.Term) error {
	patterns, ok := operands[0].Value.(ast.Object)
	s, _ := operands[1].Value.(ast.String)
	if !ok {
		return nil
	}
	n := len(s)
	patterns.Foreach(func(old, replacement *ast.Term) {
		o, _ := old.Value.(ast.String)
		r, _ := replacement.Value.(ast.String)
		n += strings.Count(string(s), string(o)) * len(r)
	})
	return limitText(n)
}

// limitRegexReplace expects a match at every byte, and all of the text in every
// group that the replacement names.
func limitRegexReplace(operands []*ast.Term) error {
	s, _ := operands[0].Value.(ast.String)
	replacement, _ := operands[2].Value.(ast.String)
	if len(s) > maxText || len(replacement) > maxText {
		return limitText(maxText + 1)
	}
	groups := strings.Count(string(replacement), "$")
	if groups > maxElements {
		return limitText(maxText + 1)
	}
	// What the groups of all matches hold is no more than the text itself, as
	// matches don't overlap.
	return limitText((len(s)+1)*len(replacement) + groups*len(s))
}

func limitShift(operands []*ast.Term) error {
	number, ok := operands[1].Value.(ast.Number)
	if !ok {
		return nil
	}
	if n, ok := number.Int(); !ok || n > maxShift {
		return fmt.Errorf("a shift by more than %d bits", maxShift)
	}
	return nil
}

// limitDigits adds up the digits of all factors: the product has as many, and
// takes their square to be written.
func limitDigits(operands []*ast.Term) error {
	n := 0
	add := func(term *ast.Term) {
		number, _ := term.Value.(ast.Number)
		n += len(number)
	}
	for _, operand := range operands {
		switch v := operand.Value.(type) {
		case ast.Number:
			add(operand)
		case *ast.Array:
			v.Foreach(add)
		case ast.Set:
			v.Foreach(add)
		}
	}
	if n > maxDigits {
		return fmt.Errorf("the result would have more than %d digits", maxDigits)
	}
	return nil
}

func limitArrayConcat(operands []*ast.Term) error {
	n := 0
	for _, operand := range operands[:2] {
		if a, ok := operand.Value.(*ast.Array); ok {
			n += a.Len()
		}
	}
	return limitElements(n)
}

func limitElements(n int) error {
	if n > maxElements {
		return fmt.Errorf("the result would have more than %d elements", maxElements)
	}
	return nil
}

func limitRange(operands []*ast.Term) error {
	var ends [2]*big.Int
	for i := range ends {
		number, _ := operands[i].Value.(ast.Number)
		end, ok := new(big.Int).SetString(string(number), 10)
		if !ok {
			return nil
		}
		ends[i] = end
	}
	if size := ends[0].Sub(ends[1], ends[0]); size.CmpAbs(big.NewInt(maxElements)) >= 0 {
		return limitElements(maxElements + 1)
	}
	return nil
}

// limitPaths walks the paths as the function does, without keeping them: their
// number grows with the factorial of the graph's size.
func limitPaths(operands []*ast.Term) error {
	graph, ok := operands[0].Value.(ast.Object)
	if !ok {
		return nil
	}
	w := pathWalk{graph: graph, room: maxPaths}
	if !w.each(operands[1].Value, nil) {
		return errors.New("the graph has too many paths, or too long ones")
	}
	return nil
}

type pathWalk struct {
	graph ast.Object
	room  int
}

// each returns false where there is no more room.
func (w *pathWalk) each(nodes ast.Value, path []*ast.Term) bool {
	visit := func(node *ast.Term) (stop bool) {
		w.room -= 1 + len(path) // the function copies the path at each of its steps
		if w.room < 0 {
			return true
		}
		edges := w.graph.Get(node)
		if edges == nil || slices.ContainsFunc(path, node.Equal) {
			return false
		}
		return !w.each(edges.Value, append(slices.Clip(path), node))
	}
	switch v := nodes.(type) {
	case *ast.Array:
		return !v.Until(visit)
	case ast.Set:
		return !v.Until(visit)
	}
	return true
}

// limitSchema refuses a schema that refers to another document: the function
// would fetch it, or read it from a local file.
func limitSchema(schema ast.Value) error {
	var native any
	if text, ok := schema.(ast.String); ok {
		if json.Unmarshal([]byte(text), &native) != nil {
			return nil // the function says what is wrong with it
		}
	} else {
		var err error
		if native, err = ast.JSON(schema); err != nil {
			return err
		}
	}
	var refs schemaRefs
	refs.read(native)
	if refs.outside || refs.any && refs.based {
		return errors.New(`the schema refers to another document: "$ref" may begin with "#" alone, and "$id" not stand beside it`)
	}
	return nil
}

type schemaRefs struct {
	any     bool
	outside bool // one of them names a document
	based   bool // an id says which document "#" is
}

func (r *schemaRefs) read(v any) {
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
