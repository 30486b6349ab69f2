package policy

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	operand "github.com/open-policy-agent/opa/v1/topdown/builtins"
	"github.com/open-policy-agent/opa/v1/util"
	graphql "github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/lexer"
)

const (
	maxYAML        = 128 << 10 // bytes: its parser is slow
	maxYAMLNodes   = 1 << 15   // of a value that is written as YAML
	maxToken       = 64 << 10  // bytes of a token that a policy reads
	maxKeys        = 256 << 10 // bytes of keys or certificates
	maxFewKeys     = 32 << 10  // bytes of keys that may be one key
	maxOneKey      = 12 << 10  // letters of base64 for one of many keys: 72,000 bits
	maxPrivateKey  = 8 << 10   // the same for a private key that is parsed
	maxSigningKey  = 1400      // the same for a number of one that signs: 8,192 bits
	maxGraphQL     = 8 << 10   // tokens
	maxGraphQLDeep = 100       // brackets in brackets
)

// unmarshalJSON is json.unmarshal, which refuses what OPA takes long for.
func unmarshalJSON(_ topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	text, err := operand.StringOperandByteSlice(operands[0].Value, 1)
	if err != nil {
		return err
	}
	return screened(ast.JSONUnmarshal.Name, func(v any) error { return util.UnmarshalJSON(text, v) }, iter)
}

// unmarshalYAML is yaml.unmarshal, the same.
func unmarshalYAML(_ topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	text, err := operand.StringOperand(operands[0].Value, 1)
	if err != nil {
		return err
	}
	// Behind a comment it is never JSON, which would be read in another way.
	document := []byte("#\n" + strings.TrimPrefix(string(text), "\uFEFF"))
	return screened(ast.YAMLUnmarshal.Name, func(v any) error { return util.Unmarshal(document, v) }, iter)
}

func screened(name string, decode func(any) error, iter func(*ast.Term) error) error {
	var document any
	if err := decode(&document); err != nil {
		return err
	}
	if err := screen(document); err != nil {
		return refuse(name, err)
	}
	value, err := ast.InterfaceToValue(document)
	if err != nil {
		return err
	}
	return iter(ast.NewTerm(value))
}

func limitYAML(operands []*ast.Term) error {
	if text, _ := operands[0].Value.(ast.String); len(text) > maxYAML {
		return fmt.Errorf("%d bytes, more than %d", len(text), maxYAML)
	}
	return nil
}

func limitYAMLMarshal(operands []*ast.Term) error {
	if nodesOf(operands[0].Value, maxYAMLNodes) > maxYAMLNodes {
		return fmt.Errorf("a value of more than %d parts", maxYAMLNodes)
	}
	return limitPrettyOf(operands[0].Value, 0, 4)
}

// limitPretty adds up the indents: of a value nested deep they are its square.
func limitPretty(operands []*ast.Term) error {
	prefix, indent := 0, 1
	if options, ok := operands[1].Value.(ast.Object); ok {
		length := func(name string, usual int) int {
			if term := options.Get(ast.StringTerm(name)); term != nil {
				text, _ := term.Value.(ast.String)
				return len(text)
			}
			return usual
		}
		prefix, indent = length("prefix", prefix), length("indent", indent)
	}
	return limitPrettyOf(operands[0].Value, prefix, indent)
}

func limitPrettyOf(value ast.Value, prefix, indent int) error {
	return limitText(prettyLength(value, prefix, indent, maxText))
}

// prettyLength is how long the lines of a value are, at most: it stops above most.
func prettyLength(value ast.Value, line, indent, most int) (n int) {
	inner := line + indent
	visit := func(term *ast.Term) (stop bool) {
		n += prettyLength(term.Value, inner, indent, most-n)
		return n > most
	}
	n = 2*line + 4
	switch v := value.(type) {
	case *ast.Array:
		v.Until(visit)
	case ast.Set:
		v.Until(visit)
	case ast.Object:
		v.Until(func(key, member *ast.Term) bool {
			name, _ := key.Value.(ast.String)
			n += len(name)
			return visit(member)
		})
	case ast.String:
		n += len(v)
	case ast.Number:
		n += len(v)
	}
	return n
}

// limitNumberText is for a text that is read as a number, with a unit or not.
func limitNumberText(operands []*ast.Term) error {
	text, _ := operands[0].Value.(ast.String)
	digits := strings.Trim(strings.ReplaceAll(string(text), `"`, ""), " ") // units.parse takes quotes away, wherever they are
	if end := strings.IndexFunc(digits, func(r rune) bool { return !strings.ContainsRune("0123456789.+-eE", r) }); end >= 0 {
		digits = digits[:min(end, len(digits))]
	}
	if len(text) > maxNumber+16 {
		return fmt.Errorf("a number of %d characters, more than %d", len(text), maxNumber)
	}
	return checkNumber(strings.TrimRight(digits, "eE+-"))
}

// limitQuery refuses names that share a hash.
func limitQuery(operands []*ast.Term) error {
	text, _ := operands[0].Value.(ast.String)
	query, _ := url.ParseQuery(string(text)) // where it can't be read the function says so
	var names textSet
	for name, values := range query {
		if err := names.add(name); err != nil {
			return err
		}
		for _, value := range values {
			if err := names.add(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// limitKeys is for functions that read a token, keys or certificates: one RSA
// key of a megabyte takes minutes.
func limitKeys(operands []*ast.Term) error {
	for _, operand := range operands {
		if err := limitKeyTexts(operand.Value, maxFewKeys, maxOneKey, 0); err != nil {
			return err
		}
	}
	return nil
}

// limitPrivateKeys is for functions that read, or sign with, a private key.
func limitPrivateKeys(operands []*ast.Term) error {
	for i, operand := range operands {
		err := limitKeyTexts(operand.Value, maxPrivateKey, maxPrivateKey, 0)
		if i == 2 { // the key of io.jwt.encode_sign
			err = limitKeyTexts(operand.Value, maxSigningKey, maxSigningKey, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// limitKeyTexts looks at a text, or at those in an object or list.
func limitKeyTexts(value ast.Value, few, one, depth int) (err error) {
	visit := func(term *ast.Term) (stop bool) {
		if err = limitKeyTexts(term.Value, few, one, depth+1); depth > 16 {
			err = errors.New("keys are not nested so deep")
		}
		return err != nil
	}
	switch v := value.(type) {
	case ast.String:
		return limitKeyText(string(v), few, one)
	case *ast.Array:
		v.Until(visit)
	case ast.Set:
		v.Until(visit)
	case ast.Object:
		v.Until(func(_, member *ast.Term) bool { return visit(member) })
	}
	return err
}

func limitKeyText(text string, few, one int) error {
	if len(text) <= few {
		return nil
	}
	if len(text) <= maxToken && strings.Count(text, ".") == 2 && !strings.ContainsAny(text, "{- \n") {
		return nil // a token
	}
	if len(text) > maxKeys {
		return fmt.Errorf("a key, a certificate or a token of %d bytes", len(text))
	}
	run := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '-' || c == '"' || c == ',' || c == ' ': // between keys and between their members
			run = 0
		default:
			run++
		}
		if run > one {
			return fmt.Errorf("a key or a certificate of more than %d bytes", one)
		}
	}
	return nil
}

// limitGraphQL bounds the tokens, and how deep brackets stand in brackets: the
// parser calls itself for each, and a stack that overflows ends the process.
func limitGraphQL(operands []*ast.Term) error {
	for _, operand := range operands {
		var tokens, deep int
		if text, ok := operand.Value.(ast.String); ok {
			tokens, deep = graphqlSize(string(text))
		} else {
			tokens, deep = nodesOf(operand.Value, maxGraphQL), depthOf(operand.Value, maxGraphQLDeep)
		}
		if tokens > maxGraphQL {
			return fmt.Errorf("more than %d tokens", maxGraphQL)
		}
		if deep > maxGraphQLDeep {
			return fmt.Errorf("nested more than %d deep", maxGraphQLDeep)
		}
	}
	return nil
}

func depthOf(value ast.Value, most int) (deepest int) {
	visit := func(term *ast.Term) (stop bool) {
		if most > 0 {
			deepest = max(deepest, depthOf(term.Value, most-1))
		}
		return false
	}
	switch v := value.(type) {
	case *ast.Array:
		v.Foreach(func(t *ast.Term) { visit(t) })
	case ast.Set:
		v.Foreach(func(t *ast.Term) { visit(t) })
	case ast.Object:
		v.Foreach(func(_, t *ast.Term) { visit(t) })
	default:
		return 0
	}
	return deepest + 1
}

// graphqlSize counts with the parser's own lexer, up to where the parser would
// give up or the limit is passed. Brackets that don't fit count as if they did.
func graphqlSize(text string) (tokens, deepest int) {
	lex := lexer.New(&graphql.Source{Input: text})
	for depth := 0; tokens <= maxGraphQL; tokens++ {
		token, err := lex.ReadToken()
		if err != nil || token.Kind == lexer.EOF {
			break
		}
		switch token.Kind {
		case lexer.BraceL, lexer.BracketL, lexer.ParenL:
			depth++
			deepest = max(deepest, depth)
		case lexer.BraceR, lexer.BracketR, lexer.ParenR:
			depth = max(0, depth-1)
		}
	}
	return tokens, deepest
}
