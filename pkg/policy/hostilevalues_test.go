package policy

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

func elements(n int, element func(i int) ast.Value) *ast.Array {
	terms := make([]*ast.Term, n)
	for i := range terms {
		terms[i] = ast.NewTerm(element(i))
	}
	return ast.NewArray(terms...)
}

func members(n int, key, value func(i int) ast.Value) ast.Object {
	items := make([][2]*ast.Term, n)
	for i := range items {
		items[i] = ast.Item(ast.NewTerm(key(i)), ast.NewTerm(value(i)))
	}
	return ast.NewObject(items...)
}

func number(i int) ast.Value { return ast.Number(fmt.Sprint(i)) }
func word(i int) ast.Value   { return ast.String(fmt.Sprintf("n%d", i)) }
func fixed(v ast.Value) func(int) ast.Value {
	return func(int) ast.Value { return v }
}

func setOf(n int, element func(i int) ast.Value) ast.Set {
	s := ast.NewSetWithCapacity(n)
	for i := range n {
		s.Add(ast.NewTerm(element(i)))
	}
	return s
}

// nested is deeper than what JSON of a request can be.
func nested(levels int, around func(*ast.Term) ast.Value) ast.Value {
	var v ast.Value = ast.NewArray()
	for range levels {
		v = around(ast.NewTerm(v))
	}
	return v
}

func inArray(t *ast.Term) ast.Value  { return ast.NewArray(t) }
func inObject(t *ast.Term) ast.Value { return ast.NewObject(ast.Item(ast.StringTerm("a"), t)) }
func inSet(t *ast.Term) ast.Value    { return ast.NewSet(t) }

// permutation i of eight letters: OPA adds up the hashes of an array's elements.
func permutation(i int) ast.Value {
	letters := strings.Split("abcdefgh", "")
	terms := make([]*ast.Term, 0, 8)
	for n := len(letters); n > 0; n-- {
		terms = append(terms, ast.StringTerm(letters[i%n]))
		letters = append(letters[:i%n:i%n], letters[i%n+1:]...)
		i /= n
	}
	return ast.NewArray(terms...)
}

// tree i of empty lists and nulls: each has the hash 0.
func tree(i int) ast.Value {
	terms := []*ast.Term{}
	for ; i > 0; i >>= 1 {
		if i&1 == 1 {
			terms = append(terms, ast.NewTerm(ast.NewArray()))
		} else {
			terms = append(terms, ast.InternedNullTerm)
		}
	}
	return ast.NewArray(terms...)
}

func address(i int) ast.Value {
	return ast.String(fmt.Sprintf("10.%d.%d.%d/32", i>>16&255, i>>8&255, i&255))
}

func wideAddress(i int) ast.Value {
	return ast.String(fmt.Sprintf("%d.%d.0.0/%d", i>>8&255, i&255, i%16))
}

func oddAddress(i int) ast.Value {
	return ast.String(fmt.Sprintf("%x:%x::/%d", i>>12&0xfff+1, i&0xfff, 24+i%100))
}

const lots = 60_000 // elements, of about a mebibyte in JSON

// elementKinds are what lists and sets are made of.
var elementKinds = []struct {
	name    string
	n       int
	of      types.Type
	element func(i int) ast.Value
}{
	{"numbers", 2 * lots, types.N, number},
	{"fractions", lots, types.N, func(i int) ast.Value { return ast.Number(fmt.Sprintf("0.%d", i+1)) }},
	{"large numbers", lots, types.N, func(i int) ast.Value { return ast.Number(fmt.Sprintf("1.%de%d", i, 250+i%50)) }},
	{"tiny numbers", lots, types.N, func(i int) ast.Value { return ast.Number(fmt.Sprintf("1.%de-%d", i, 250+i%50)) }},
	{"numbers of 120 digits", lots / 8, types.N, func(i int) ast.Value { return ast.Number("9" + strings.Repeat("8", 114) + fmt.Sprint(10_000+i)) }},
	{"words", 2 * lots, types.S, word},
	{"colliding words", 3000, types.S, func(i int) ast.Value { return ast.String(colliding()[i%3000]) }},
	{"long words with one beginning", 1000, types.S, func(i int) ast.Value { return ast.String(strings.Repeat("a", 1000) + fmt.Sprint(i)) }},
	{"addresses", lots, types.S, address},
	{"wide addresses", lots, types.S, wideAddress},
	{"odd addresses of IPv6", lots, types.S, oddAddress},
	{"one letter", 4 * lots, types.S, fixed(ast.String("a"))},
	{"a mebibyte", 1, types.S, func(int) ast.Value { return ast.String(fill("a")) }},
	{"paths", lots, types.S, func(i int) ast.Value { return ast.String(fmt.Sprintf("/n%d/a/b", i)) }},
	{"deep paths", 100, types.S, func(i int) ast.Value { return ast.String(strings.Repeat("/a", 5000) + fmt.Sprint(i)) }},
	{"lists of a word", lots, types.NewArray(nil, types.S), func(i int) ast.Value { return ast.NewArray(ast.NewTerm(word(i))) }},
	{"deep lists", 100, types.NewArray(nil, types.S), func(i int) ast.Value { return elements(5000, fixed(ast.String("a"))) }},
	{"permutations", lots / 3, types.NewArray(nil, types.S), permutation},
	{"trees", lots / 2, types.NewArray(nil, types.A), tree},
	{"small objects", lots, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return members(1, word, fixed(number(i))) }},
	{"objects of one name each", lots, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return members(1, fixed(word(i)), fixed(number(i))) }},
	{"objects of colliding names", 3000, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return members(1, fixed(ast.String(colliding()[i%3000])), number) }},
	{"patches that add", lots / 4, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return patch("add", fmt.Sprintf("/n%d", i), number(i)) }},
	{"patches that insert first", lots / 4, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return patch("add", "/0", number(i)) }},
	{"patches that remove", lots / 4, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return patch("remove", "/0", nil) }},
	{"patches that replace", lots / 4, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return patch("replace", "/0", number(i)) }},
	{"patches that copy", lots / 4, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value {
		return ast.NewObject(item("op", ast.StringTerm("copy")), item("from", ast.StringTerm("")), item("path", ast.StringTerm("/n"+fmt.Sprint(i))))
	}},
	{"patches that copy into themselves", 60, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value {
		return ast.NewObject(item("op", ast.StringTerm("copy")), item("from", ast.StringTerm("")), item("path", ast.StringTerm("/n"+fmt.Sprint(i))))
	}},
	{"patches that test", lots / 4, types.NewObject(nil, types.NewDynamicProperty(types.A, types.A)), func(i int) ast.Value { return patch("test", "/0", number(i)) }},
	{"sets of numbers", 300, types.NewSet(types.A), func(i int) ast.Value { return setOf(200, func(j int) ast.Value { return number(i*200 + j) }) }},
	{"sets of one number", lots / 2, types.NewSet(types.A), func(i int) ast.Value { return setOf(1, func(int) ast.Value { return number(i) }) }},
	{"sets of colliding words", 5000, types.NewSet(types.A), func(i int) ast.Value {
		return setOf(1, func(int) ast.Value { return ast.String(colliding()[i%3000]) })
	}},
	{"sets that are nearly equal", 200, types.NewSet(types.A), func(i int) ast.Value { return setOf(300, func(j int) ast.Value { return number(j + i/100) }) }},
}

func patch(op, path string, value ast.Value) ast.Value {
	o := ast.NewObject(item("op", ast.StringTerm(op)), item("path", ast.StringTerm(path)))
	if value != nil {
		o.Insert(ast.StringTerm("value"), ast.NewTerm(value))
	}
	return o
}

var hostileNumbers = func() (list []argument) {
	for _, text := range []string{"0", "1", "-1", "2", "62", "65535", "65537", "1048576", "-1048576", "2147483648", "9223372036854775807", "9223372036854775808", "1e19", "1.7e308", "-1.7e308", "1e-300", "0.1", "1767225600000000000", strings.Repeat("9", 128), "0." + strings.Repeat("3", 120)} {
		list = append(list, argument{"the number " + text, func() ast.Value { return ast.Number(text) }})
	}
	return list
}()

var hostileObjects = []argument{
	{"an object of words", func() ast.Value { return members(lots, word, word) }},
	{"an object of long words", func() ast.Value { return members(1000, word, fixed(ast.String(strings.Repeat("a", 1000)))) }},
	{"an object of patterns", func() ast.Value {
		return members(lots, func(i int) ast.Value { return ast.String(fmt.Sprintf("%06x", i)) }, fixed(ast.String("b")))
	}},
	{"an object of long patterns", func() ast.Value {
		return members(1000, func(i int) ast.Value { return ast.String(strings.Repeat("a", 1000) + fmt.Sprint(i)) }, fixed(ast.String("b")))
	}},
	{"an object of patterns by length", func() ast.Value {
		return members(1400, func(i int) ast.Value { return ast.String(strings.Repeat("a", i)) }, fixed(ast.String("b")))
	}},
	{"an object of single letters", func() ast.Value {
		return members(256, func(i int) ast.Value { return ast.String(string(rune(i))) }, word)
	}},
	{"an object of lists of words", func() ast.Value {
		return members(300, word, func(i int) ast.Value { return elements(200, word) })
	}},
	{"an object of addresses", func() ast.Value { return members(lots, word, address) }},
	{"an object nested deep", func() ast.Value { return nested(9_998, inObject).(ast.Object) }},
	{"a dense graph", func() ast.Value { return members(250, word, fixed(elements(250, word))) }},
	{"a long chain", func() ast.Value {
		return members(lots, word, func(i int) ast.Value { return ast.NewArray(ast.NewTerm(word(i + 1))) })
	}},
	{"a ladder", func() ast.Value {
		return members(60, word, func(i int) ast.Value { return ast.NewArray(ast.NewTerm(word(i+1)), ast.NewTerm(word(i+2))) })
	}},
	{"a graph of one node with many edges", func() ast.Value {
		return members(1, word, fixed(elements(lots, word)))
	}},
	{"an object of colliding lists", func() ast.Value { return members(800, permutation, number) }},
	{"a schema that doubles", func() ast.Value { return ast.MustInterfaceToValue(doublingSchema(40)) }},
	{"a schema of choices", func() ast.Value { return ast.MustInterfaceToValue(choiceSchema(10_000)) }},
	{"a schema of unique items", func() ast.Value { return ast.MustInterfaceToValue(map[string]any{"uniqueItems": true}) }},
	{"a schema that follows the value", func() ast.Value {
		ref := map[string]any{"$ref": "#"}
		return ast.MustInterfaceToValue(map[string]any{"items": ref, "additionalProperties": ref})
	}},
	{"a schema of a pattern", func() ast.Value { return ast.MustInterfaceToValue(map[string]any{"pattern": "(a?b?){900}c$"}) }},
	{"options for pretty JSON", func() ast.Value {
		return ast.NewObject(item("pretty", ast.InternedTerm(true)), item("indent", ast.StringTerm("    ")), item("prefix", ast.StringTerm("xxxx")))
	}},
	{"options for very pretty JSON", func() ast.Value {
		return ast.NewObject(item("pretty", ast.InternedTerm(true)), item("indent", ast.StringTerm(strings.Repeat(" ", 10_000))))
	}},
	{"constraints of a token", func() ast.Value { return ast.NewObject(item("secret", ast.StringTerm(fill("a")))) }},
	{"constraints with a set of keys", func() ast.Value { return ast.NewObject(item("cert", ast.StringTerm(documents["a set of keys"]()))) }},
	{"constraints with a huge key", func() ast.Value { return ast.NewObject(item("cert", ast.StringTerm(documents["a huge RSA key"]()))) }},
	{"a header of a token", func() ast.Value { return ast.NewObject(item("alg", ast.StringTerm("HS256"))) }},
	{"a header of a token by RSA", func() ast.Value { return ast.NewObject(item("alg", ast.StringTerm("RS256"))) }},
	{"a key for HMAC", func() ast.Value {
		return ast.NewObject(item("kty", ast.StringTerm("oct")), item("k", ast.StringTerm("YWFhYWFhYWE")))
	}},
	{"a request to AWS", func() ast.Value {
		return ast.NewObject(item("method", ast.StringTerm("get")), item("url", ast.StringTerm("https://h.example/"+fill("a/"))), item("headers", ast.NewTerm(members(lots, word, word))), item("raw_body", ast.StringTerm(fill("a"))))
	}},
	{"credentials of AWS", func() ast.Value {
		return ast.NewObject(item("aws_access_key", ast.StringTerm(fill("a"))), item("aws_secret_access_key", ast.StringTerm(fill("b"))), item("aws_service", ast.StringTerm("s3")), item("aws_region", ast.StringTerm("eu")))
	}},
}

// hostileOf are the values of a type, and some that are of it only at a glance.
func hostileOf(builtin string, t types.Type) (list []argument) {
	switch t := unnamed(t).(type) {
	case types.String:
		return hostileTexts(builtin)
	case types.Number:
		return hostileNumbers
	case types.Boolean:
		return []argument{{"true", func() ast.Value { return ast.Boolean(true) }}}
	case types.Null:
		return []argument{{"null", func() ast.Value { return ast.NullValue }}}
	case *types.Array:
		list = append(list, hostileTuples(builtin, t)...)
		return append(list, lists("a list of ", elementType(t), func(n int, element func(int) ast.Value) ast.Value { return elements(n, element) }, inArray)...)
	case *types.Set:
		return lists("a set of ", types.Values(t), func(n int, element func(int) ast.Value) ast.Value { return setOf(n, element) }, inSet)
	case *types.Object:
		return hostileObjects
	case types.Any:
		if len(t) == 0 {
			list = append(list, hostileNumbers[3], hostileNumbers[13])
			for _, text := range hostileTexts(builtin) {
				if strings.HasPrefix(text.name, "JSON, a list") || text.name == `"a" again and again` {
					list = append(list, text)
				}
			}
			list = append(list, hostileOf(builtin, types.NewArray(nil, types.A))...)
			list = append(list, hostileOf(builtin, types.NewSet(types.A))...)
			return append(list, hostileObjects...)
		}
		for _, alternative := range t {
			list = append(list, hostileOf(builtin, alternative)...)
		}
	}
	return list
}

// hostileTuples are lists of a fixed form: of a time and its zone, say.
func hostileTuples(builtin string, t *types.Array) (list []argument) {
	if t.Len() == 0 {
		return nil
	}
	for i := range t.Len() {
		for _, hostile := range hostileOf(builtin, t.Select(i)) {
			list = append(list, argument{fmt.Sprintf("a tuple with %s", hostile.name), func() ast.Value {
				return elements(t.Len(), func(j int) ast.Value {
					if j == i {
						return hostile.build()
					}
					return plainOf(t.Select(j))[0].build()
				})
			}})
		}
	}
	return list
}

func elementType(t *types.Array) types.Type {
	if d := t.Dynamic(); d != nil {
		return d
	}
	return types.A
}

// lists are made of each kind of elements that fits.
func lists(prefix string, of types.Type, build func(int, func(int) ast.Value) ast.Value, around func(*ast.Term) ast.Value) (list []argument) {
	for _, kind := range elementKinds {
		n := kind.n
		isSet := prefix == "a set of "
		if isSet && (kind.of == types.N && kind.name != "numbers" || strings.Contains(kind.name, "colliding") || kind.name == "permutations" || kind.name == "trees") {
			n = min(n, 800) // more are not collected within the time of an evaluation
		}
		if fits(of, kind.of) {
			list = append(list, argument{prefix + kind.name, func() ast.Value { return build(n, kind.element) }})
		}
	}
	if fits(of, types.NewArray(nil, types.A)) || fits(of, types.NewSet(types.A)) {
		list = append(list, argument{prefix + "one, nested deep", func() ast.Value { return nested(9_998, around) }})
	}
	if prefix == "a set of " && fits(of, types.S) {
		list = append(list, argument{prefix + "neighbours", func() ast.Value {
			return setOf(300, func(i int) ast.Value { return ast.String(neighbours()[2*i]) })
		}}, argument{prefix + "the other neighbours", func() ast.Value {
			return setOf(300, func(i int) ast.Value { return ast.String(neighbours()[2*i+1]) })
		}})
	}
	return list
}

// fits is generous: what does not fit is refused by the builtin at once.
func fits(want, got types.Type) bool {
	switch want := unnamed(want).(type) {
	case types.Any:
		if len(want) == 0 {
			return true
		}
		for _, alternative := range want {
			if fits(alternative, got) {
				return true
			}
		}
		return false
	default:
		return fmt.Sprintf("%T", want) == fmt.Sprintf("%T", unnamed(got))
	}
}

// plainOf are small values of a type, to stand beside a hostile one.
func plainOf(t types.Type) []argument {
	text := func(s string) argument {
		return argument{fmt.Sprintf("%q", s), func() ast.Value { return ast.String(s) }}
	}
	digits := func(s string) argument { return argument{s, func() ast.Value { return ast.Number(s) }} }
	switch t := unnamed(t).(type) {
	case types.String:
		return []argument{text("a"), text("")}
	case types.Number:
		return []argument{digits("2"), digits("1000000")}
	case types.Boolean:
		return []argument{{"true", func() ast.Value { return ast.Boolean(true) }}}
	case *types.Array:
		return []argument{{"a short list", func() ast.Value {
			return elements(max(1, t.Len()), func(i int) ast.Value {
				if e := t.Select(i); e != nil {
					return plainOf(e)[0].build()
				}
				return ast.String("a")
			})
		}}}
	case *types.Set:
		return []argument{{"a small set", func() ast.Value { return ast.NewSet(ast.NewTerm(plainOf(types.Values(t))[0].build())) }}}
	case types.Any:
		if len(t) > 0 {
			return plainOf(t[0])
		}
		return []argument{text("a"), {"a small object", func() ast.Value { return members(1, word, number) }}, {"a short list", func() ast.Value { return elements(2, number) }}}
	case *types.Object:
		return []argument{{"a small object", func() ast.Value { return members(1, word, word) }}, {"an object with its names", func() ast.Value { return plainObject(t) }}}
	}
	return []argument{{"null", func() ast.Value { return ast.NullValue }}}
}

func plainObject(t *types.Object) ast.Value {
	o := ast.NewObject()
	for _, p := range t.StaticProperties() {
		o.Insert(ast.NewTerm(ast.MustInterfaceToValue(p.Key)), ast.NewTerm(plainOf(p.Value)[0].build()))
	}
	return o
}

func unnamed(t types.Type) types.Type {
	if named, ok := t.(*types.NamedType); ok {
		return named.Type
	}
	return t
}
