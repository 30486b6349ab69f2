package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// operandsOf are the arguments of a call: values of OPA's, texts, and numbers.
func operandsOf(values ...any) (list []*ast.Term) {
	for _, value := range values {
		switch v := value.(type) {
		case ast.Value:
			list = append(list, ast.NewTerm(v))
		case string:
			list = append(list, ast.StringTerm(v))
		default:
			list = append(list, ast.NumberTerm(json.Number(fmt.Sprint(v))))
		}
	}
	return list
}

// wide is a list of n different numbers, or of what element makes.
func wide(n int, element func(i int) *ast.Term) *ast.Array {
	list := make([]*ast.Term, n)
	for i := range list {
		list[i] = element(i)
	}
	return ast.NewArray(list...)
}

func indexed(i int) *ast.Term { return ast.IntNumberTerm(i) }

func textual(i int) *ast.Term { return ast.StringTerm(fmt.Sprintf("text %d", i)) }

// alike share a hash, and are no texts.
func alike(i int) *ast.Term { return ast.NumberTerm(json.Number(fmt.Sprintf("0.%06d1", i))) }

// under nests a value in lists.
func under(levels int, value ast.Value) ast.Value {
	for range levels {
		value = ast.NewArray(ast.NewTerm(value))
	}
	return value
}

func parsed(t *testing.T, text string) ast.Value {
	t.Helper()
	value, err := ast.ParseTerm(text)
	if err != nil {
		t.Fatalf("%.80s: %v", text, err)
	}
	return value.Value
}

// limitCase is a call of a function, and how its refusal begins; "" for none.
type limitCase struct {
	name, function string
	operands       []*ast.Term
	want           string
}

func (tt limitCase) run(t *testing.T) {
	t.Run(tt.function+", "+tt.name, func(t *testing.T) {
		err := limits[tt.function].check(tt.operands)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	})
}

const (
	tooLong    = "it would take too long"
	tooLarge   = "the result could have more than"
	manyDigits = "the result would have more than 16384 digits"
)

// Each bound is that of its function, and no lower one: what stays within it is
// left to the function, and so is what has another type than it should.
func TestBoundsOfTexts(t *testing.T) {
	long := strings.Repeat("a", 10_000)
	names := ast.NewObject()
	for i := range 64 {
		names.Insert(ast.StringTerm(fmt.Sprintf("%02d", i)), ast.StringTerm(""))
	}
	for _, tt := range []limitCase{
		{"two widths", "sprintf", operandsOf("%999999d%999999d", ast.NewArray()), ""},
		{"an asterisk a million times", "sprintf", operandsOf(strings.Repeat("%*d", 20), ast.NewArray()), tooLarge},
		{"texts of 16 MiB", "concat", operandsOf("", wide(4, func(int) *ast.Term { return ast.StringTerm(strings.Repeat("a", 4<<20)) })), ""},
		{"a byte more", "concat", operandsOf("", wide(4, func(i int) *ast.Term { return ast.StringTerm(strings.Repeat("a", 4<<20+i/3)) })), tooLarge},
		{"a long text", "replace", operandsOf(strings.Repeat(long, 100), strings.Repeat(long, 100), ""), tooLong},
		{"each letter by a long text", "replace", operandsOf(long, "a", long), tooLarge},
		{"each letter by nothing", "replace", operandsOf(long, "a", ""), ""},
		{"no object", "strings.replace_n", operandsOf(ast.NewArray(), long), ""},
		{"more names than are counted", "strings.replace_n", operandsOf(names, strings.Repeat(long, 60)), tooLarge},
		{"a name that is long", "strings.replace_n", operandsOf(ast.NewObject(ast.Item(ast.StringTerm(long), ast.StringTerm(""))), long), tooLong},
		{"ASCII", "trim", operandsOf(long, long), ""},
		{"others", "trim", operandsOf(long, strings.Repeat("é", 10_000)), tooLong},
		{"ASCII", "indexof", operandsOf(long, long), ""},
		{"others", "indexof_n", operandsOf(long+"é", long), tooLong},
		{"others in what is searched", "indexof", operandsOf(long, long+"é"), tooLong},
		{"a pattern", "regex.replace", operandsOf("a", strings.Repeat("(c{1000})", 50), ""), "a pattern of more than"},
		{"a long replacement", "regex.replace", operandsOf(long, "a", long), tooLarge},
		{"a long text", "regex.replace", operandsOf(strings.Repeat("a", maxText+1), "", ""), tooLarge},
		{"many groups", "regex.replace", operandsOf(long, "a", strings.Repeat("$1", 4000)), tooLarge},
		{"a few groups", "regex.replace", operandsOf(long, "a", "$1$2"), ""},
	} {
		tt.run(t)
	}
}

func TestBoundsOfNumbers(t *testing.T) {
	digits := strings.Repeat("9", maxDigits/2)
	for _, tt := range []limitCase{
		{"by no number", "bits.lsh", operandsOf(1, "a"), ""},
		{"by half a bit", "bits.lsh", operandsOf(1, 0.5), "a shift by more than"},
		{"by as many bits as may be", "bits.lsh", operandsOf(1, maxShift), ""},
		{"by one more", "bits.lsh", operandsOf(1, maxShift+1), "a shift by more than"},
		{"by what no int holds", "bits.lsh", operandsOf(1, json.Number("1"+strings.Repeat("0", 30))), "a shift by more than"},
		{"many digits", "mul", operandsOf(json.Number(digits), json.Number(digits)), ""},
		{"one digit more", "mul", operandsOf(json.Number(digits), json.Number(digits+"9")), manyDigits},
		{"of an exponent", "mul", operandsOf(2, json.Number("1e16382")), ""},
		{"of a larger exponent", "mul", operandsOf(2, json.Number("1e16383")), manyDigits},
		{"of a smaller exponent", "product", operandsOf(ast.NewArray(operandsOf(json.Number("1e-16384"))...)), manyDigits},
		{"of an exponent that no int holds", "product", operandsOf(ast.NewSet(operandsOf(json.Number("1E99999999999999999999"))...)), manyDigits},
		{"of a negative one", "mul", operandsOf(2, json.Number("1e-99999999999999999999")), manyDigits},
		{"of texts", "numbers.range", operandsOf("a", "b"), ""},
		{"as many as may be", "numbers.range", operandsOf(maxElements, 1), ""},
		{"one more", "numbers.range", operandsOf(0, maxElements), "the result would have more than"},
		{"as many as may be", "array.concat", operandsOf(ast.NewArray(), wide(maxElements, indexed)), ""},
		{"one more", "array.concat", operandsOf(ast.NewArray(indexed(1)), wide(maxElements, indexed)), "the result would have more than"},
	} {
		tt.run(t)
	}
}

func TestBoundsOfPatterns(t *testing.T) {
	letters := func(n int) string { return strings.Repeat("a", n) }
	large := strings.Repeat("(c{1000})", 50)
	for _, tt := range []limitCase{
		{"a pattern", "regex.match", operandsOf("^[a-z]{1,64}$", letters(10_000)), ""},
		{"more instructions than may be", "regex.match", operandsOf(large, "a"), "a pattern of more than 20000"},
		{"many instructions for a long text", "regex.find_n", operandsOf("a{900}", letters(100_000)), "the pattern is too large for a text"},
		{"a pattern that is none", "regex.split", operandsOf("(aaaa{1000}", "a"), ""},
		{"a long pattern that is none", "regex.is_valid", operandsOf(strings.Repeat("(", 100_000)), "a pattern of 100000 bytes"},
		{"no delimiter before", "regex.template_match", operandsOf("a", "a", "", "}"), ""},
		{"no delimiter behind", "regex.template_match", operandsOf("a", "a", "{", ""), ""},
		{"a pattern that is none", "regex.template_match", operandsOf("{(}", "a", "{", "}"), ""},
		{"a large pattern", "regex.template_match", operandsOf("{"+large+"}", "a", "{", "}"), "a pattern of more than 20000"},
		{"a long template", "regex.template_match", operandsOf(letters(20_000), "a", "{", "}"), "a pattern of more than 20000"},
		{"a delimiter too many", "regex.template_match", operandsOf("}}{(}", "a", "{", "}"), ""},
		{"a pattern", "glob.match", operandsOf("{api,www}.*.example.com", ast.NewArray(), letters(100)), ""},
		{"a long pattern", "glob.match", operandsOf(letters(maxGlob+1), ast.NewArray(), "a"), "a pattern of 4097 bytes"},
		{"many stars", "glob.match", operandsOf(strings.Repeat("a*", maxGlobStars+1), ast.NewArray(), "a"), "a pattern with more than 32 wildcards"},
		{"lists in lists", "glob.match", operandsOf(strings.Repeat("{a,", maxGlobDepth+1), ast.NewArray(), "a"), "a pattern with lists in lists"},
		{"a long text", "glob.match", operandsOf(letters(maxGlob-10)+"*", ast.NewArray(), letters(1<<20)), tooLong},
		{"many repetitions", "regex.globs_match", operandsOf(strings.Repeat("a*", 9), strings.Repeat("a+", 8)), "patterns with more than 16"},
		{"a few", "regex.globs_match", operandsOf(strings.Repeat("a*", 8), strings.Repeat("a+", 8)), ""},
		{"long ones", "regex.globs_match", operandsOf(letters(10_000), letters(10_000)), tooLong},
	} {
		tt.run(t)
	}
	if n := testing.AllocsPerRun(10, func() { _ = limitMatch("^/[a-z]+$", 1000) }); n > 0 {
		t.Errorf("a small pattern is parsed, with %v allocations", n)
	}
}

func TestBoundsOfSets(t *testing.T) {
	few, twice := wide(fewElements, alike), wide(2000, alike)
	operation := func(op string) *ast.Term {
		return ast.ObjectTerm(ast.Item(ast.StringTerm("op"), ast.StringTerm(op)), ast.Item(ast.StringTerm("path"), ast.StringTerm("/a")))
	}
	patches := func(op string, n int) ast.Value { return wide(n, func(int) *ast.Term { return operation(op) }) }
	colliding := testkit.Colliding(fewElements+1, 1<<40)
	same := wide(len(colliding), func(i int) *ast.Term { return ast.StringTerm(colliding[i]) })
	for _, tt := range []limitCase{
		{"nothing", "union", operandsOf(ast.NewSet()), ""},
		{"a few texts that collide", "object.remove", operandsOf(ast.NewObject(), same.Slice(1, -1)), ""},
		{"one more", "object.remove", operandsOf(ast.NewObject(), same), errCrowded.Error()},
		{"numbers that collide", "object.filter", operandsOf(ast.NewObject(), twice), errCrowded.Error()},
		{"sets that collide", "union", operandsOf(ast.NewArray(ast.NewTerm(few), ast.NewTerm(twice))), errCrowded.Error()},
		{"a list in a list", "object.subset", operandsOf(wide(10_000, indexed), wide(300, indexed)), tooLong},
		{"a list in a list, below", "object.subset", operandsOf(ast.NewObject(ast.Item(textual(1), ast.NewTerm(wide(10_000, indexed)))), ast.NewObject(ast.Item(textual(1), ast.NewTerm(wide(300, indexed))))), tooLong},
		{"a list in an object", "object.subset", operandsOf(ast.NewObject(), ast.NewArray()), ""},
		{"paths that collide", "json.remove", operandsOf(ast.NewObject(), twice), errCrowded.Error()},
		{"many paths", "json.filter", operandsOf(ast.NewObject(), wide(20_000, textual)), tooLong},
		{"no list", "json.patch", operandsOf(ast.NewObject(), "a"), ""},
		{"copies", "json.patch", operandsOf(ast.NewObject(), patches("copy", 8)), ""},
		{"copies that fill the memory", "json.patch", operandsOf(ast.NewObject(), patches("copy", 15)), "the result would have more than"},
		{"copies that no int counts", "json.patch", operandsOf(ast.NewObject(), patches("copy", 64)), "the result would have more than"},
		{"many operations", "json.patch", operandsOf(wide(4000, indexed), patches("remove", 2000)), tooLong},
		{"networks", "net.cidr_merge", operandsOf(wide(10_000, textual)), ""},
		{"many networks", "net.cidr_merge", operandsOf(wide(40_000, textual)), tooLong},
		{"no graph", "graph.reachable_paths", operandsOf("a", ast.NewArray(textual(1))), ""},
		{"a circle", "graph.reachable_paths", operandsOf(parsed(t, `{"a": ["b"], "b": {"a"}}`), ast.NewArray(ast.StringTerm("a"))), ""},
		{"many ends", "graph.reachable_paths", operandsOf(ast.NewObject(), wide(maxPaths+1, indexed)), "the graph has too many paths"},
	} {
		tt.run(t)
	}
	if n := product(1<<40, 1<<40); n <= maxSteps {
		t.Errorf("%d, as no int holds the product", n)
	}
	large := ast.NewObject()
	for i := range 2 * fewElements {
		large.Insert(textual(i), textual(i))
	}
	small, one := operandsOf(ast.NewObject(), few), operandsOf(large, ast.NewArray(textual(1)))
	if n := testing.AllocsPerRun(10, func() { _ = limitSets(small) }); n > 0 {
		t.Errorf("a few elements are looked at, with %v allocations", n)
	}
	if n := testing.AllocsPerRun(10, func() { _ = limitPointers(one) }); n > 0 {
		t.Errorf("one path is looked at, with %v allocations", n)
	}
}

func TestBoundsOfDocuments(t *testing.T) {
	letters := func(n int) string { return strings.Repeat("a", n) }
	colliding := testkit.Colliding(fewTexts+1, 1<<40)
	keys := func(n int) string { return strings.Repeat(letters(1000)+" ", n) }
	options := func(name string, n int) ast.Value {
		return ast.NewObject(ast.Item(ast.StringTerm(name), ast.StringTerm(letters(n))))
	}
	for _, tt := range []limitCase{
		{"much", "yaml.unmarshal", operandsOf(letters(maxYAML + 1)), "131073 bytes"},
		{"as much as may be", "yaml.is_valid", operandsOf(letters(maxYAML)), ""},
		{"many parts", "yaml.marshal", operandsOf(wide(maxYAMLNodes, indexed)), "a value of more than 32768 parts"},
		{"many levels", "yaml.marshal", operandsOf(under(3000, ast.NewArray())), tooLarge},
		{"a long indent", "json.marshal_with_options", operandsOf(under(100, ast.NewArray()), options("indent", 2000)), tooLarge},
		{"a long prefix", "json.marshal_with_options", operandsOf(under(100, ast.NewArray()), options("prefix", 100_000)), tooLarge},
		{"neither", "json.marshal_with_options", operandsOf(under(100, ast.NewArray()), options("pretty", 100_000)), ""},
		{"no text", "to_number", operandsOf(5), ""},
		{"a unit", "units.parse", operandsOf("12.5Ki"), ""},
		{"a long unit", "units.parse", operandsOf("1" + letters(maxNumber+16)), "a number of 145 characters"},
		{"a large number", "units.parse", operandsOf(" 1e400Ki"), errNumber.Error()},
		{"quotes in a number", "units.parse", operandsOf(`1"e"400Ki`), errNumber.Error()},
		{"quotes in a number", "units.parse_bytes", operandsOf(`"1""e400"`), errNumber.Error()},
		{"names that collide", "urlquery.decode_object", operandsOf(strings.Join(colliding, "&")), errCollide.Error()},
		{"values that collide", "urlquery.decode_object", operandsOf("a=" + strings.Join(colliding, "&a=")), errCollide.Error()},
		{"what is no query", "urlquery.decode_object", operandsOf("a=%zz"), ""},
		{"a few keys", "io.jwt.verify_rs256", operandsOf("a.b.c", letters(maxFewKeys)), ""},
		{"a long token", "io.jwt.verify_rs256", operandsOf(letters(20_000)+"."+letters(20_000)+"."+letters(20_000), "a"), ""},
		{"a longer token", "io.jwt.decode", operandsOf(letters(30_000) + "." + letters(30_000) + "." + letters(30_000)), "a key or a certificate of more than"},
		{"many keys", "io.jwt.verify_rs256", operandsOf("a.b.c", keys(200)), ""},
		{"more keys than may be", "io.jwt.verify_rs256", operandsOf("a.b.c", keys(300)), "a key, a certificate or a token of 300300 bytes"},
		{"a long key among many", "io.jwt.verify_rs256", operandsOf("a.b.c", keys(30)+letters(maxOneKey+1)), "a key or a certificate of more than"},
		{"keys in lists", "crypto.x509.parse_certificates", operandsOf(under(18, ast.String("a"))), "keys are not nested so deep"},
		{"a private key", "crypto.x509.parse_rsa_private_key", operandsOf(letters(maxPrivateKey)), ""},
		{"a longer one", "crypto.x509.parse_rsa_private_key", operandsOf(letters(maxPrivateKey + 1)), "a key or a certificate of more than"},
		{"a key that signs", "io.jwt.encode_sign_raw", operandsOf("{}", "{}", letters(maxSigningKey+1)), "a key or a certificate of more than"},
		{"text that is signed", "io.jwt.encode_sign_raw", operandsOf("{}", letters(maxSigningKey+1), "a"), ""},
		{"tokens", "graphql.parse_query", operandsOf(strings.Repeat("a ", maxGraphQL)), ""},
		{"more tokens", "graphql.parse_query", operandsOf(strings.Repeat("a ", maxGraphQL+1)), "more than 8192 tokens"},
		{"levels", "graphql.is_valid", operandsOf("{a}", strings.Repeat("[", maxGraphQLDeep)), ""},
		{"more levels", "graphql.is_valid", operandsOf("{a}", strings.Repeat("[", maxGraphQLDeep+1)), "nested more than 100 deep"},
		{"levels of a value", "graphql.is_valid", operandsOf("{a}", under(maxGraphQLDeep, ast.NewArray())), "nested more than 100 deep"},
		{"parts of a value", "graphql.is_valid", operandsOf(wide(maxGraphQL, indexed), "{a}"), "more than 8192 tokens"},
	} {
		tt.run(t)
	}
}

func TestBoundsOfSchemas(t *testing.T) {
	large := strconv.Quote(strings.Repeat("(c{1000})", 50))
	const refused = "a pattern of more than"
	levels := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	nested := strings.Repeat(`{"a":`, 12) + "{}" + strings.Repeat("}", 12)
	long := fmt.Sprintf("%q", strings.Repeat("a", 33_000))
	slow := strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"pattern":%q},`, strings.Repeat("a", 1000)), 5), ",")
	for _, tt := range []struct{ name, schema, document, want string }{
		{"references within", `{"properties": {"a": {"$ref": "#/d/a"}}, "d": {"a": {}}}`, `{"a": 1}`, ""},
		{"another document", `{"allOf": [{"$ref": "x.json"}]}`, `{}`, errOutside.Error()},
		{"an id alone", `{"$id": "x.json"}`, `{}`, ""},
		{"an id beside a reference", `{"id": "x.json", "not": {"$ref": "#/a"}}`, `{}`, errOutside.Error()},
		{"many values", `{"enum": [1` + strings.Repeat(",1", maxSchema) + `]}`, `{}`, "a schema of more than 8192 values"},
		{"levels", `{"enum": ` + levels(maxSchemaDeep-1) + `}`, levels(maxSchemaDeep), ""},
		{"a deep schema", `{"enum": ` + levels(maxSchemaDeep) + `}`, `{}`, "nested more than 500 deep"},
		{"a deep document", `{}`, levels(maxSchemaDeep + 1), "nested more than 500 deep"},
		{"itself", `{"$ref": "#"}`, `{}`, "the schema refers to itself"},
		{"a boolean and a nested document", `{"additionalProperties": true}`, nested, ""},
		{"a pattern", `{"pattern": ` + large + `}`, `"a"`, refused},
		{"a pattern that is referred to", `{"$ref": "#/d", "d": {"pattern": ` + large + `}}`, `"a"`, refused},
		{"a pattern in a list", `{"anyOf": [{"pattern": ` + large + `}, {}]}`, `"a"`, refused},
		{"a pattern of a dependency", `{"dependencies": {"a": {"pattern": ` + large + `}}}`, `"a"`, refused},
		{"a pattern of a member", `{"properties": {"a": {"pattern": ` + large + `}}}`, `{"a": "a"}`, refused},
		{"a pattern of names", `{"patternProperties": {` + large + `: {}}}`, `{"a": "a"}`, refused},
		{"a pattern of members by a pattern", `{"patternProperties": {"a": {"pattern": ` + large + `}}}`, `{"a": "a"}`, refused},
		{"a pattern of other members", `{"additionalProperties": {"pattern": ` + large + `}}`, `{"a": "a"}`, refused},
		{"a pattern of an element", `{"items": [{"pattern": ` + large + `}]}`, `["a"]`, refused},
		{"slow patterns", `{"anyOf": [` + slow + `]}`, long, errApplied.Error()},
		{"references to nothing", `{"$ref": "#/%zz"}`, `{}`, ""},
		{"an element that is none", `{"$ref": "#/d/x", "d": [{"pattern": ` + large + `}]}`, `"a"`, ""},
		{"an element before the first", `{"$ref": "#/d/-1", "d": [{"pattern": ` + large + `}]}`, `"a"`, ""},
		{"an element behind the last", `{"$ref": "#/d/1", "d": [{"pattern": ` + large + `}]}`, `"a"`, ""},
		{"an element", `{"$ref": "#/d/0", "d": [{"pattern": ` + large + `}]}`, `"a"`, refused},
		{"a number beyond float64", `{"$ref": "#", "minimum": 1e999}`, `{}`, "the schema refers to itself"},
		{"a deep document with such a number", `{}`, levels(maxSchemaDeep) + `]`, ""},
		{"no JSON", `{`, `{}`, ""},
	} {
		value := func(text string) ast.Value {
			if v, err := ast.ValueFromReader(strings.NewReader(text)); err == nil && text[0] != '"' {
				return v
			}
			return ast.String(text) // which the function reads as JSON
		}
		for kind, operands := range map[string][2]ast.Value{
			"texts": {ast.String(tt.schema), ast.String(tt.document)}, "values": {value(tt.schema), value(tt.document)},
		} {
			err := limitSchema(operands[0], operands[1])
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("%s, as %s: %v, want %q", tt.name, kind, err, tt.want)
			}
		}
	}
	if err := limitSchema(ast.NewObject(), nil); err != nil {
		t.Errorf("without a document: %v", err)
	}
}

// What is of another type than it should be is refused by the function that was
// replaced; ours says the same.
func TestErrorsOfReplacedFunctions(t *testing.T) {
	for _, tt := range []struct {
		function string
		operands []*ast.Term
		want     string
	}{
		{"json.unmarshal", operandsOf(5), "operand 1 must be string"},
		{"json.unmarshal", operandsOf("{"), "unexpected EOF"},
		{"yaml.unmarshal", operandsOf(5), "operand 1 must be string"},
		{"yaml.unmarshal", operandsOf("a: ["), "yaml: "},
		{"net.cidr_contains_matches", operandsOf(ast.NewArray(operandsOf(5)...), ast.NewArray()), "element must be string or non-empty array"},
		{"net.cidr_contains_matches", operandsOf("a", "a"), "invalid CIDR address: a"},
		{"graph.reachable", operandsOf(ast.NewArray(), ast.NewArray(textual(1))), "operand 1 must be object"},
		{"graph.reachable", operandsOf(ast.NewObject(), "a"), "operand 2 must be {array, set}"},
	} {
		called := false
		err := limits[tt.function].call(topdown.BuiltinContext{}, tt.operands, func(*ast.Term) error { called = true; return nil })
		if err == nil || !strings.Contains(err.Error(), tt.want) || called {
			t.Errorf("%s: %v (a value: %v), want %q", tt.function, err, called, tt.want)
		}
	}
	err := screened("a", func(v any) error { *v.(*any) = make(chan int); return nil }, func(*ast.Term) error { return nil })
	if err == nil {
		t.Error("a channel has no value")
	}
}

// A call of a function that can take long ends with its evaluation.
func TestCancelledCalls(t *testing.T) {
	cancel := topdown.NewCancel()
	cancel.Cancel()
	networks := wide(3, func(int) *ast.Term { return ast.StringTerm("10.0.0.0/8") })
	graph := ast.NewObject(ast.Item(ast.StringTerm("a"), ast.ArrayTerm()))
	for function, operands := range map[string][]*ast.Term{
		"net.cidr_contains_matches": operandsOf(networks, networks),
		"walk":                      operandsOf(networks),
		"graph.reachable":           operandsOf(graph, ast.NewArray(ast.StringTerm("a"))),
	} {
		values := 0
		call := func(c topdown.Cancel) error {
			return limits[function].call(topdown.BuiltinContext{Cancel: c}, operands, func(*ast.Term) error { values++; return nil })
		}
		if err := call(cancel); !errors.Is(err, errCancelled) || values > 0 {
			t.Errorf("%s: %v, %d values", function, err, values)
		}
		if err := call(topdown.NewCancel()); err != nil || values == 0 {
			t.Errorf("%s, not cancelled: %v, %d values", function, err, values)
		}
	}
}
