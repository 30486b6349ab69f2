package policy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// mebibyte is the size of each argument: what a request can bring.
const mebibyte = 1 << 20

// argument is a value that a client could have chosen. It is built when it is
// used: together they would fill the memory.
type argument struct {
	name  string
	build func() ast.Value
}

func fill(unit string) string { return strings.Repeat(unit, mebibyte/len(unit)) }

// around nests text, as deep as a mebibyte allows, but not deeper than most.
func around(open, text, end string, most int) string {
	n := min(most, mebibyte/(len(open)+len(end)))
	return strings.Repeat(open, n) + text + strings.Repeat(end, n)
}

// list writes n elements, as long as they take no more than a mebibyte.
func list(open, separator, end string, n int, element func(i int) string) string {
	var b strings.Builder
	b.WriteString(open)
	for i := range n {
		e := element(i)
		if b.Len()+len(separator)+len(e)+len(end) > mebibyte {
			break
		}
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(e)
	}
	return b.String() + end
}

const many = mebibyte // more elements than fit

// colliding are texts that share a hash, made once.
var colliding = sync.OnceValue(func() []string { return testkit.Colliding(3000, 1<<40) })

// neighbours have hashes one beside the other, each twice: no three are equal.
var neighbours = sync.OnceValue(func() (list []string) {
	for i := range uint64(300) {
		list = append(list, testkit.Colliding(2, 1<<50+i)...)
	}
	return list
})

// units are written again and again: what opens, ends or separates something in
// some language, and letters of each kind.
var units = []string{
	"a", "1", " ", "\n", "\x00", "\u00e9", "\U0001F600", "\xff",
	"(", "[", "{", "<", `"`, "'", "`", `\`, "-", "#", "&", "*", "@", "!", "|", ">", "%", "~", ":", ",", ".", "/", "?", "+", "^", "$", "=", ";", "_",
	"ab", "a,", "a.", "[]", "[[],", `{"a":`, "- ", "? ", "a: ", "a=1&", "eyJ", "{{", "%s", "$1",
}

// documentGroups say which builtins get which documents, by the beginnings of their names.
var documentGroups = []struct{ document, builtins string }{
	{"JSON", "json. yaml. to_number graphql. count"}, {"YAML", "yaml."}, {"GraphQL", "graphql."},
	{"number", "to_number units. json.unmarshal yaml.unmarshal semver. format"}, {"digits", "to_number units. semver."}, {"infinity", "to_number units."},
	{"pattern", "regex. re_match json.match_schema json.verify_schema glob."}, {"glob", "glob. regex."}, {"template", "regex. internal.template sprintf"},
	{"CIDR", "net."}, {"address", "net."}, {"duration", "time."}, {"layout", "time."}, {"time", "time."}, {"zone", "time."},
	{"version", "semver."}, {"UUID", "uuid."}, {"URL", "uri. urlquery. providers."}, {"query", "urlquery. uri."}, {"base64", "base64 hex crypto."},
	{"token", "io.jwt."}, {"key", "io.jwt. crypto."}, {"certificate", "crypto. io.jwt.verify_rs256 io.jwt.decode_verify"}, {"schema", "json.match_schema json.verify_schema"},
}

// gets tells whether a document is for a builtin: one that no group names is for all.
func gets(builtin, document string) bool {
	grouped := false
	for _, group := range documentGroups {
		if !strings.Contains(document, group.document) {
			continue
		}
		grouped = true
		for prefix := range strings.FieldsSeq(group.builtins) {
			if strings.HasPrefix(builtin, prefix) {
				return true
			}
		}
	}
	return !grouped
}

// hostileTexts are the texts for a builtin.
func hostileTexts(builtin string) (list []argument) {
	for _, unit := range units {
		list = append(list, argument{fmt.Sprintf("%q again and again", unit), func() ast.Value { return ast.String(fill(unit)) }})
	}
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		if gets(builtin, name) {
			list = append(list, argument{name, func() ast.Value { return ast.String(documents[name]()) }})
		}
	}
	return list
}

// documents are texts that some builtin parses.
var documents map[string]func() string

func init() {
	documents = map[string]func() string{
		"nothing": func() string { return "" },
		"a word":  func() string { return "abc" },
		"JSON, a list of numbers": func() string {
			return list("[", ",", "]", many, func(i int) string { return fmt.Sprint(i) })
		},
		"JSON, a list of fractions": func() string {
			return list("[", ",", "]", many, func(i int) string { return fmt.Sprintf("0.%d", i+1) })
		},
		"JSON, a list of huge numbers": func() string {
			return list("[", ",", "]", many, func(i int) string { return fmt.Sprintf("1e%d", 19000+i%1000) })
		},
		"JSON, a list of large numbers": func() string {
			return list("[", ",", "]", many, func(i int) string { return fmt.Sprintf("1.%de%d", i, 250+i%50) })
		},
		"JSON, a list of tiny numbers": func() string {
			return list("[", ",", "]", many, func(i int) string { return fmt.Sprintf("1.%de-%d", i, 250+i%50) })
		},
		"JSON, a number with a huge exponent": func() string { return "1e999999999" },
		"JSON, a number that is tiny":         func() string { return "1e-999999999" },
		"JSON, a number of a mebibyte":        func() string { return fill("9") },
		"JSON, a fraction of a mebibyte":      func() string { return "0." + fill("9") },
		"JSON, an object of names": func() string {
			return list("{", ",", "}", many, func(i int) string { return fmt.Sprintf(`"n%d":1`, i) })
		},
		"JSON, an object of colliding names": func() string {
			return list("{", ",", "}", len(colliding()), func(i int) string { return fmt.Sprintf(`"%s":1`, colliding()[i]) })
		},
		"JSON, an object of neighbours": func() string {
			return list("{", ",", "}", len(neighbours()), func(i int) string { return fmt.Sprintf(`"%s":1`, neighbours()[i]) })
		},
		"JSON, one name again and again": func() string { return list("{", ",", "}", many, func(i int) string { return `"a":1` }) },
		"JSON, nested lists":             func() string { return around("[", "", "]", 9_999) },
		"JSON, nested objects":           func() string { return around(`{"a":`, "1", "}", 9_999) },
		"JSON, lists nested without end": func() string { return around("[", "", "]", many) },
		"JSON, empty lists":              func() string { return list("[", ",", "]", many, func(i int) string { return "[]" }) },
		"JSON, empty objects":            func() string { return list("[", ",", "]", many, func(i int) string { return "{}" }) },
		"JSON, small objects": func() string {
			return list("[", ",", "]", many, func(i int) string { return fmt.Sprintf(`{"a":%d}`, i) })
		},
		"YAML, aliases of aliases": func() string {
			var b strings.Builder
			b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
			for i := 1; i < 20; i++ {
				fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
			}
			return b.String()
		},
		"YAML, one alias again and again": func() string {
			return "a: &a [" + strings.Repeat("x,", 1000) + "]\nb:\n" + list("", "\n", "\n", many, func(i int) string { return "- *a" })
		},
		"YAML, merged aliases": func() string {
			return "a: &a {" + list("", ",", "", 1000, func(i int) string { return fmt.Sprintf("k%d: 1", i) }) + "}\nb:\n" + list("", "\n", "\n", 50_000, func(i int) string { return "- {<<: *a}" })
		},
		"YAML, a list of words": func() string {
			return list("", "\n", "\n", many, func(i int) string { return fmt.Sprintf("- a%d", i) })
		},
		"YAML, names": func() string {
			return list("", "\n", "\n", many, func(i int) string { return fmt.Sprintf("a%d: 1", i) })
		},
		"YAML, deeper and deeper": func() string {
			return list("", "\n", "\n", 1400, func(i int) string { return strings.Repeat(" ", i) + "a:" })
		},
		"YAML, lists in flow": func() string { return around("[", "x", "]", 9_000) },
		"YAML, dates": func() string {
			return list("", "\n", "\n", many, func(i int) string { return "- 2020-01-01T00:00:00Z" })
		},
		"YAML, numbers in base 60": func() string {
			return list("", "\n", "\n", many, func(i int) string { return "- 1:30:30:30:30" })
		},
		"YAML, huge numbers": func() string {
			return list("", "\n", "\n", many, func(i int) string { return fmt.Sprintf("- 1e%d", 19000+i%1000) })
		},
		"YAML, block scalars": func() string { return "a: |\n" + fill("  b\n") },

		"GraphQL, fields":         func() string { return list("{", " ", "}", many, func(i int) string { return fmt.Sprintf("a%d", i) }) },
		"GraphQL, one field":      func() string { return list("{", " ", "}", many, func(i int) string { return "a" }) },
		"GraphQL, nested fields":  func() string { return around("{a", "{a}", "}", many) },
		"GraphQL, nested lists":   func() string { return "{a(x:" + around("[", "1", "]", many-20) + ")}" },
		"GraphQL, an open list":   func() string { return "{a(x:" + fill("[") },
		"GraphQL, an open type":   func() string { return "query($a:" + fill("[") },
		"GraphQL, nested objects": func() string { return "{a(x:" + around("{b:", "1", "}", many-20) + ")}" },
		"GraphQL, depth of 60": func() string {
			return list("", "\n", "", many, func(i int) string { return around("{a", "{a}", "}", 60) })
		},
		"GraphQL, operations": func() string {
			return list("", " ", "", many, func(i int) string { return fmt.Sprintf("query q%d {a}", i) })
		},
		"GraphQL, directives": func() string { return "{a " + fill("@b ") + "}" },
		"GraphQL, arguments": func() string {
			return list("{a(", ",", ")}", many, func(i int) string { return fmt.Sprintf("x%d:1", i) })
		},
		"GraphQL, variables": func() string {
			return list("query(", ",", "){a}", many, func(i int) string { return fmt.Sprintf("$x%d:I", i) })
		},
		"GraphQL, a long text":  func() string { return `{a(x:"` + fill("a") + `")}` },
		"GraphQL, a comment":    func() string { return "{a}#" + fill("[") },
		"GraphQL, a block text": func() string { return `{a(x:"""` + fill(" \n") + `""")}` },
		"GraphQL, fragments":    func() string { return graphqlFragments(many) },
		"GraphQL, cyclic fragments": func() string {
			return "{...a0}" + graphqlFragmentsOf(10_000, func(i int) string { return fmt.Sprintf("...a%d", (i+1)%10_000) })
		},
		"GraphQL, fragments that double": func() string {
			return "{...a0}" + graphqlFragmentsOf(60, func(i int) string { return fmt.Sprintf("a{...a%d} b:a{...a%d}", i+1, i+1) }) + " fragment a60 on Query {a{b}}"
		},
		"GraphQL, fields with one name": func() string {
			return list("{", " ", "}", many, func(i int) string { return "a{b}" })
		},
		"GraphQL, aliases": func() string {
			return list("{", " ", "}", many, func(i int) string { return fmt.Sprintf("x%d:a{b}", i) })
		},
		"GraphQL, types": func() string {
			return list("", "\n", "", many, func(i int) string { return fmt.Sprintf("type T%d{a:Int}", i) })
		},
		"GraphQL, implementers": func() string {
			return "interface I{a:Int}type Query{i:I}" + list("", "\n", "", many-100, func(i int) string { return fmt.Sprintf("type T%d implements I{a:Int}", i) })
		},
		"GraphQL, interfaces": func() string {
			return list("type Query implements ", "&", "{a:Int}", many, func(i int) string { return fmt.Sprintf("I%d", i) })
		},
		"GraphQL, enum values": func() string {
			return list("enum E{", " ", "}", many, func(i int) string { return fmt.Sprintf("A%d", i) })
		},
		"GraphQL, a union": func() string {
			return list("union U=", "|", "", many, func(i int) string { return fmt.Sprintf("A%d", i) })
		},
		"GraphQL, extensions": func() string {
			return "type Query{a:Int}" + list("", "\n", "", many-100, func(i int) string { return fmt.Sprintf("extend type Query{b%d:Int}", i) })
		},
		"GraphQL, a schema":      func() string { return graphqlSchema },
		"GraphQL, a small query": func() string { return "{a{b}}" },
		"GraphQL, type of fields": func() string {
			return list("type Query{", " ", "}", many, func(i int) string { return fmt.Sprintf("a%d:Int", i) })
		},
		"GraphQL, descriptions": func() string { return fill(`"" `) + "type Query{a:Int}" },

		"a number":                        func() string { return "42" },
		"a number with a unit":            func() string { return "1.5Gi" },
		"a huge number with a unit":       func() string { return "1e19000Ki" },
		"a large number with a unit":      func() string { return "1e999999999Mi" },
		"digits with a unit":              func() string { return fill("9")[4:] + "Ki" },
		"a fraction of digits, a unit":    func() string { return "0." + fill("9")[4:] + "Ki" },
		"hexadecimal digits":              func() string { return "0x" + fill("f")[2:] },
		"a number with a binary exponent": func() string { return "0x1p999999999" },
		"a number of 300 digits":          func() string { return strings.Repeat("9", 300) },
		"a number above all":              func() string { return "1e400" },
		"infinity":                        func() string { return "Infinity" },

		"a pattern that is repeated":        func() string { return "(a?b?){900}c$" },
		"a pattern of repeated groups":      func() string { return "((a{1,30}){1,30}){1,1}c" },
		"a pattern of great repetition":     func() string { return "(((((a{1,10}){1,10}){1,10}){1,10}){1,10}){1,10}" },
		"a pattern of 1000 repetitions":     func() string { return "(?:[a-z]|b|c|d){1000}x" },
		"a pattern with nested stars":       func() string { return "(((a*)*)*)*x" },
		"a pattern of nested groups":        func() string { return around("(", "a", ")", 900) + "x" },
		"a pattern of deeply nested groups": func() string { return around("(", "a", ")", 500_000) },
		"a pattern of any words":            func() string { return `(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)[0-9]x` },
		"a pattern of all letters":          func() string { return strings.Repeat(`\pL`, 3000) + "x" },
		"a pattern of letters of any case":  func() string { return "(?i)" + strings.Repeat(`[\pL\pN\pM]`, 400) + "x" },
		"a pattern of many classes":         func() string { return "(?:" + strings.Repeat("[a-z0-9]?", 2000) + ")x" },
		"a pattern of alternatives":         func() string { return list("(", "|", ")x", many, func(i int) string { return fmt.Sprintf("a%d", i) }) },
		"a pattern of 3000 alternatives":    func() string { return list("(", "|", ")x", 3000, func(i int) string { return fmt.Sprintf("a%d", i) }) },
		"a pattern of many names": func() string {
			return list("", "", "", many, func(i int) string { return fmt.Sprintf("(?P<a%d>a?)", i) })
		},
		"a pattern for everything":     func() string { return "" },
		"a pattern for a word's edges": func() string { return `\b` },
		"a glob of stars":              func() string { return strings.Repeat("a*", 500) + "b" },
		"a glob of many alternatives": func() string {
			return list("{", ",", "}", many, func(i int) string { return fmt.Sprintf("a%d*b*c", i) })
		},
		"a glob of nested alternatives": func() string { return around("{a,", "b", "}", many) },
		"a glob of some nested ones":    func() string { return around("{a*,*", "b", "}", 300) },
		"a glob of double stars":        func() string { return strings.Repeat("**", 2000) + "b" },
		"globs for a product":           func() string { return strings.Repeat("[a-z]*", 2000) + "b" },
		"a glob of any and ranges":      func() string { return strings.Repeat("?[a-z]", 10_000) },
		"a template":                    func() string { return strings.Repeat("{a*}", 5000) },

		"a wide CIDR":            func() string { return "0.0.0.0/0" },
		"a wide CIDR of IPv6":    func() string { return "::/0" },
		"an address":             func() string { return "10.1.2.3" },
		"a duration":             func() string { return "1h5m" },
		"a long duration":        func() string { return strings.Repeat("1ns", mebibyte/3) },
		"a duration of digits":   func() string { return fill("9") + "h" },
		"a layout":               func() string { return "2006-01-02T15:04:05Z07:00" },
		"a layout again":         func() string { return fill("2006-01-02T15:04:05.999999999Z07:00") },
		"a time":                 func() string { return "2026-01-02T15:04:05Z" },
		"a time of digits":       func() string { return "2026-01-02T15:04:05." + fill("9") + "Z" },
		"a zone":                 func() string { return "Europe/Berlin" },
		"a version":              func() string { return "1.2.3" },
		"a version of parts":     func() string { return "1.2.3-" + fill("a.") + "a" },
		"a version of numbers":   func() string { return "1.2.3-" + fill("1.") + "1" },
		"a version of digits":    func() string { return fill("9") + ".1.1" },
		"a version with a build": func() string { return "1.2.3+" + fill("a.") + "a" },
		"a UUID":                 func() string { return "00000000-0000-1000-8000-000000000000" },
		"a URL":                  func() string { return "https://user@host.example:8080/a/b?c=d#e" },
		"a long URL":             func() string { return "https://h/" + fill("a/") + "?" + fill("a=b&") },
		"a query of names":       func() string { return list("", "&", "", many, func(i int) string { return fmt.Sprintf("n%d=1", i) }) },
		"a query of one name":    func() string { return list("", "&", "", many, func(i int) string { return "a=1" }) },
		"a query of colliding names": func() string {
			return list("", "&", "", len(colliding()), func(i int) string { return escapeQuery(colliding()[i]) + "=1" })
		},
		"base64 of a mebibyte": func() string { return base64.StdEncoding.EncodeToString([]byte(fill("a")[:mebibyte*3/4])) },

		"a token":                      func() string { return token(`{"alg":"HS256"}`, `{"a":1}`) },
		"a token of nested lists":      func() string { return token(`{"alg":"HS256"}`, around("[", "", "]", 9_999)) },
		"a token of lists without end": func() string { return token(`{"alg":"HS256"}`, around("[", "", "]", mebibyte*3/8)) },
		"a token of huge numbers": func() string {
			return token(`{"alg":"RS256"}`, list(`{"a":[`, ",", "]}", 80_000, func(i int) string { return fmt.Sprintf("1e%d", 19000+i%1000) }))
		},
		"a token of names": func() string {
			return token(`{"alg":"RS256"}`, list("{", ",", "}", 60_000, func(i int) string { return fmt.Sprintf(`"n%d":1`, i) }))
		},
		"a token of colliding names": func() string {
			return token(`{"alg":"RS256"}`, list("{", ",", "}", 30_000, func(i int) string { return fmt.Sprintf(`"%s":1`, colliding()[i%len(colliding())]) }))
		},
		"a token in a token": func() string { return nestedToken(40) },
		"a token with a header of names": func() string {
			return token(list(`{"alg":"RS256",`, ",", "}", 60_000, func(i int) string { return fmt.Sprintf(`"n%d":1`, i) }), `{"a":1}`)
		},
		"a token by RS256": func() string { return token(`{"alg":"RS256"}`, `{"a":1}`) },
		"a token by PS512": func() string { return token(`{"alg":"PS512"}`, `{"a":1}`) },
		"a token by ES256": func() string { return token(`{"alg":"ES256"}`, `{"a":1}`) },
		"a token by EdDSA": func() string { return token(`{"alg":"EdDSA"}`, `{"a":1}`) },
		"a huge RSA key":   func() string { return hugeRSAKey(mebibyte * 3 / 4) },
		"a large RSA key":  func() string { return hugeRSAKey(8 << 10) },
		"a set of keys":    func() string { return list(`{"keys":[`, ",", "]}", many, func(i int) string { return rsaKey(256) }) },
		"a set of keys for HMAC": func() string {
			return list(`{"keys":[`, ",", "]}", many, func(i int) string { return `{"kty":"oct","k":"YQ"}` })
		},
		"a set of large keys":          func() string { return list(`{"keys":[`, ",", "]}", many, func(i int) string { return rsaKey(2048) }) },
		"certificates":                 func() string { return certificates() },
		"certificates in base64":       func() string { return base64.StdEncoding.EncodeToString([]byte(certificates()[:mebibyte/2])) },
		"a certificate of a huge key":  func() string { return certificateOf(mebibyte * 3 / 4) },
		"a certificate of a large key": func() string { return certificateOf(16 << 10) },
		"a certificate of many names":  func() string { return certificateOfNames() },
		"a request for a certificate":  func() string { return requestOfNames() },
		"an RSA private key":           func() string { return rsaPrivateKey(2048) },
		"RSA private keys":             func() string { return strings.Repeat(rsaPrivateKey(2048), mebibyte/1700) },
		"a schema":                     func() string { return `{"type":"object"}` },
		"a schema that doubles":        func() string { return mustJSON(doublingSchema(40)) },
		"a schema of a pattern":        func() string { return `{"pattern":"(a?b?){900}c$"}` },
		"a schema of unique items":     func() string { return `{"uniqueItems":true}` },
		"a schema of choices":          func() string { return mustJSON(choiceSchema(20_000)) },
		"a schema of choices of lists": func() string { return list(`{"enum":[`, ",", "]}", many, func(i int) string { return `[1,[2]]` }) },
		"a schema of many properties": func() string {
			return list(`{"properties":{`, ",", "}}", many, func(i int) string { return fmt.Sprintf(`"n%d":{"type":"string"}`, i) })
		},
		"a schema of pattern properties": func() string {
			return list(`{"patternProperties":{`, ",", "}}", many, func(i int) string { return fmt.Sprintf(`"n%d.*x":{"type":"string"}`, i) })
		},
		"a schema nested deep":           func() string { return around(`{"not":`, "{}", "}", 9_000) },
		"a schema that refers to itself": func() string { return `{"$ref":"#"}` },
		"a schema of cyclic references": func() string {
			return `{"definitions":{"a":{"$ref":"#/definitions/b"},"b":{"$ref":"#/definitions/a"}},"$ref":"#/definitions/a"}`
		},
		"a schema that follows the value": func() string { return `{"items":{"$ref":"#"},"additionalProperties":{"$ref":"#"}}` },
	}
}

func graphqlFragments(n int) string {
	return list("{...a0}", "", "", n, func(i int) string { return fmt.Sprintf(" fragment a%d on Query {a}", i) })
}

func graphqlFragmentsOf(n int, body func(i int) string) string {
	return list("", "", "", n, func(i int) string { return fmt.Sprintf(" fragment a%d on Query {%s}", i, body(i)) })
}

const graphqlSchema = `type Query { a(x: [Int]): Query b: Int i: I } interface I { a: Int }`

func escapeQuery(name string) string {
	var b strings.Builder
	for i := range len(name) {
		fmt.Fprintf(&b, "%%%02x", name[i])
	}
	return b.String()
}

func token(header, payload string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "." + e(make([]byte, 256))
}

func nestedToken(levels int) string {
	inner := token(`{"alg":"HS256"}`, `{"a":1}`)
	for range levels {
		if len(inner) > mebibyte*3/4 {
			break
		}
		inner = token(`{"alg":"HS256","cty":"JWT"}`, `"`+inner+`"`)
	}
	return inner
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// doublingSchema applies each of its definitions twice to one value.
func doublingSchema(levels int) map[string]any {
	definitions := map[string]any{}
	for i := range levels {
		ref := map[string]any{"$ref": fmt.Sprintf("#/definitions/d%d", i+1)}
		definitions[fmt.Sprintf("d%d", i)] = map[string]any{"allOf": []any{ref, ref}}
	}
	definitions[fmt.Sprintf("d%d", levels)] = map[string]any{"type": "string"}
	return map[string]any{"definitions": definitions, "$ref": "#/definitions/d0"}
}

func choiceSchema(n int) map[string]any {
	choices := make([]any, n)
	for i := range choices {
		choices[i] = map[string]any{"type": "object", "required": []any{fmt.Sprintf("n%d", i)}}
	}
	return map[string]any{"anyOf": choices}
}
