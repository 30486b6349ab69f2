package policy

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// A function whose result can be far larger than its arguments could end the
// process before any time limit, and one that takes the square of their size
// outlives it: nothing interrupts a call. These look at the arguments first, or
// are written anew.
const (
	maxText     = 16 << 20 // bytes of a text that one call writes
	maxElements = 1 << 20  // of a list that one call makes
	maxShift    = 1 << 16  // bits
	maxDigits   = 1 << 14  // of a product
	maxPaths    = 1 << 14  // nodes on all paths through a graph
	maxSteps    = 1 << 25  // of some nanoseconds each, that one call may take
)

// limited is what is done about a function. What is of another type than it
// should be is left to the function.
type limited struct {
	check  func(operands []*ast.Term) error // before the call
	call   topdown.BuiltinFunc              // nil: OPA's
	result func(ast.Value) error            // of each value that the call has; nil: none
}

// limits are the limited functions.
var limits = map[string]limited{
	ast.Sprintf.Name:       {check: limitSprintf},
	ast.Concat.Name:        {check: limitConcat},
	ast.Replace.Name:       {check: limitReplace},
	ast.ReplaceN.Name:      {check: limitReplaceN},
	ast.Trim.Name:          {check: limitCutset},
	ast.TrimLeft.Name:      {check: limitCutset},
	ast.TrimRight.Name:     {check: limitCutset},
	ast.IndexOf.Name:       {check: limitSearch},
	ast.IndexOfN.Name:      {check: limitSearch},
	ast.BitsShiftLeft.Name: {check: limitShift},
	ast.ArrayConcat.Name:   {check: limitArrayConcat},
	ast.Multiply.Name:      {check: limitDigits},
	ast.Product.Name:       {check: limitDigits},
	ast.NumbersRange.Name:  {check: limitRange},

	ast.RegexMatch.Name:                 {check: limitRegex(0, 1)},
	ast.RegexMatchDeprecated.Name:       {check: limitRegex(0, 1)},
	ast.RegexSplit.Name:                 {check: limitRegex(0, 1)},
	ast.RegexFind.Name:                  {check: limitRegex(0, 1)},
	ast.RegexFindAllStringSubmatch.Name: {check: limitRegex(0, 1)},
	ast.RegexReplace.Name:               {check: limitRegexReplace},
	ast.RegexTemplateMatch.Name:         {check: limitTemplate},
	ast.RegexIsValid.Name:               {check: limitRegex(0, -1)},
	ast.GlobMatch.Name:                  {check: limitGlob},
	ast.GlobsMatch.Name:                 {check: limitGlobs},

	ast.ReachableBuiltin.Name:       {call: reachable},
	ast.ReachablePathsBuiltin.Name:  {check: limitPaths},
	ast.WalkBuiltin.Name:            {call: walk},
	ast.ObjectSubset.Name:           {check: limitSubset},
	ast.NetCIDRContainsMatches.Name: {call: containsMatches},
	ast.NetCIDRMerge.Name:           {check: limitMerge},

	ast.And.Name:          {check: limitSets},
	ast.Or.Name:           {check: limitSets},
	ast.Minus.Name:        {check: limitSets},
	ast.SetDiff.Name:      {check: limitSets},
	ast.Intersection.Name: {check: limitSetOfSets},
	ast.Union.Name:        {check: limitSetOfSets},
	ast.CastSet.Name:      {check: limitSets},
	ast.ObjectKeys.Name:   {check: limitSets},
	ast.ObjectFilter.Name: {check: limitSets},
	ast.ObjectRemove.Name: {check: limitSets},
	ast.ObjectUnion.Name:  {check: limitSets},
	ast.ObjectUnionN.Name: {check: limitSetOfSets},
	ast.JSONFilter.Name:   {check: limitPointers},
	ast.JSONRemove.Name:   {check: limitPointers},
	ast.JSONPatch.Name:    {check: limitPatch},

	ast.JSONUnmarshal.Name:          {call: unmarshalJSON},
	ast.YAMLUnmarshal.Name:          {check: limitYAML, call: unmarshalYAML},
	ast.YAMLIsValid.Name:            {check: limitYAML},
	ast.YAMLMarshal.Name:            {check: limitYAMLMarshal},
	ast.JSONMarshalWithOptions.Name: {check: limitPretty},
	ast.JSONMatchSchema.Name:        {check: func(operands []*ast.Term) error { return limitSchema(operands[1].Value, operands[0].Value) }},
	ast.JSONSchemaVerify.Name:       {check: func(operands []*ast.Term) error { return limitSchema(operands[0].Value, nil) }},
	ast.URLQueryDecodeObject.Name:   {check: limitQuery},
	ast.ToNumber.Name:               {check: limitNumberText, result: screenValue},
	ast.UnitsParse.Name:             {check: limitNumberText, result: screenValue},
	ast.UnitsParseBytes.Name:        {check: limitNumberText, result: screenValue},

	ast.GraphQLParse.Name:          {check: limitGraphQL},
	ast.GraphQLParseAndVerify.Name: {check: limitGraphQL},
	ast.GraphQLIsValid.Name:        {check: limitGraphQL},
	ast.GraphQLParseQuery.Name:     {check: limitGraphQL},
	ast.GraphQLParseSchema.Name:    {check: limitGraphQL},
	ast.GraphQLSchemaIsValid.Name:  {check: limitGraphQL},

	ast.JWTDecode.Name:        {check: limitKeys, result: screenValue},
	ast.JWTDecodeVerify.Name:  {check: limitKeys, result: screenValue},
	ast.JWTVerifyRS256.Name:   {check: limitKeys},
	ast.JWTVerifyRS384.Name:   {check: limitKeys},
	ast.JWTVerifyRS512.Name:   {check: limitKeys},
	ast.JWTVerifyPS256.Name:   {check: limitKeys},
	ast.JWTVerifyPS384.Name:   {check: limitKeys},
	ast.JWTVerifyPS512.Name:   {check: limitKeys},
	ast.JWTVerifyES256.Name:   {check: limitKeys},
	ast.JWTVerifyES384.Name:   {check: limitKeys},
	ast.JWTVerifyES512.Name:   {check: limitKeys},
	ast.JWTVerifyEdDSA.Name:   {check: limitKeys},
	ast.JWTVerifyHS256.Name:   {check: limitKeys},
	ast.JWTVerifyHS384.Name:   {check: limitKeys},
	ast.JWTVerifyHS512.Name:   {check: limitKeys},
	ast.JWTEncodeSign.Name:    {check: limitPrivateKeys},
	ast.JWTEncodeSignRaw.Name: {check: limitPrivateKeys},

	ast.CryptoX509ParseCertificates.Name:                     {check: limitKeys},
	ast.CryptoX509ParseAndVerifyCertificates.Name:            {check: limitKeys},
	ast.CryptoX509ParseAndVerifyCertificatesWithOptions.Name: {check: limitKeys},
	ast.CryptoX509ParseCertificateRequest.Name:               {check: limitKeys},
	ast.CryptoX509ParseKeyPair.Name:                          {check: limitPrivateKeys},
	ast.CryptoX509ParseRSAPrivateKey.Name:                    {check: limitPrivateKeys},
	ast.CryptoParsePrivateKeys.Name:                          {check: limitPrivateKeys},
}

// refuse ends the evaluation: what is only undefined could turn a rule that
// denies into one that does not. The decision is then an error of the policy.
func refuse(name string, err error) error {
	return topdown.Halt{Err: fmt.Errorf("%s: %w", name, err)}
}

// limitedBuiltin is the function of this name within its limits.
func limitedBuiltin(name string, limit limited) topdown.BuiltinFunc {
	call := limit.call
	if call == nil {
		call = topdown.GetBuiltin(name)
	}
	return func(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		if limit.check != nil {
			err := limit.check(operands)
			if errors.Is(err, errOutside) {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err != nil {
				return refuse(name, err)
			}
		}
		if limit.result == nil {
			return call(bctx, operands, iter)
		}
		return call(bctx, operands, func(value *ast.Term) error {
			if err := limit.result(value.Value); err != nil {
				return refuse(name, err)
			}
			return iter(value)
		})
	}
}

func limitSteps(n int) error {
	if n > maxSteps {
		return errors.New("it would take too long for these arguments")
	}
	return nil
}

// product is the steps of two loops, one in the other, without an overflow.
func product(n, m int) int {
	if n > 0 && m > maxSteps/n {
		return maxSteps + 1
	}
	return n * m
}

func limitText(n int) error {
	if n > maxText {
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
	if err := limitSteps(product(len(old), len(old))); err != nil {
		return err // to prepare the search takes the square of what is searched
	}
	return limitText(len(s) + product(strings.Count(string(s), string(old)), len(replacement)))
}

func limitReplaceN(operands []*ast.Term) error {
	patterns, ok := operands[0].Value.(ast.Object)
	s, _ := operands[1].Value.(ast.String)
	if !ok {
		return nil
	}
	n, longest, names := len(s), 0, 0
	patterns.Foreach(func(old, replacement *ast.Term) {
		o, _ := old.Value.(ast.String)
		r, _ := replacement.Value.(ast.String)
		names, longest = names+len(o), max(longest, len(o))
		n += len(r)
	})
	if err := limitSteps(max(product(names, 1<<8), product(len(s), longest), product(longest, longest))); err != nil {
		return err // it builds a tree of all the patterns, and follows it at each byte
	}
	if product(len(s), patterns.Len()) > maxSteps {
		return limitText(product(n, len(s)+1))
	}
	n = len(s)
	patterns.Foreach(func(old, replacement *ast.Term) {
		o, _ := old.Value.(ast.String)
		r, _ := replacement.Value.(ast.String)
		n += strings.Count(string(s), string(o)) * len(r)
	})
	return limitText(n)
}

// limitCutset: of letters beyond ASCII the function tries each at each place.
func limitCutset(operands []*ast.Term) error {
	s, _ := operands[0].Value.(ast.String)
	cutset, _ := operands[1].Value.(ast.String)
	if ascii(cutset) {
		return nil
	}
	return limitSteps(product(len(s), utf8.RuneCountInString(string(cutset))))
}

// limitSearch: in a text with letters beyond ASCII the function compares at each place.
func limitSearch(operands []*ast.Term) error {
	s, _ := operands[0].Value.(ast.String)
	search, _ := operands[1].Value.(ast.String)
	if ascii(s) && ascii(search) {
		// Every match is written down, and overlapping ones are searched anew.
		return limitSteps(product(len(s), len(search)/64))
	}
	return limitSteps(product(len(s), len(search)))
}

func ascii(s ast.String) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// limitRegexReplace expects a match at every byte, and all of the text in every
// group that the replacement names.
func limitRegexReplace(operands []*ast.Term) error {
	if err := limitRegex(1, 0)(operands); err != nil {
		return err
	}
	s, _ := operands[0].Value.(ast.String)
	replacement, _ := operands[2].Value.(ast.String)
	// What a group of all matches holds is no more than the text itself, as matches
	// don't overlap; nor is what no match holds.
	groups := strings.Count(string(replacement), "$")
	return limitText(product(len(s)+1, len(replacement)+groups+1))
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

// limitDigits adds up the digits of all factors, written out without an
// exponent: the product has as many, and takes their square to be written.
func limitDigits(operands []*ast.Term) error {
	n := 0
	add := func(term *ast.Term) {
		number, _ := term.Value.(ast.Number)
		n += digitsOf(number)
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

func digitsOf(n ast.Number) int {
	text := string(n)
	i := strings.IndexAny(text, "eE")
	if i < 0 {
		return len(text)
	}
	exponent, _ := strconv.Atoi(text[i+1:]) // where no int holds it, the nearest that there is
	exponent = min(max(exponent, -maxDigits-1), maxDigits+1)
	return i + max(exponent, -exponent)
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
