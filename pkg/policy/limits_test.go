package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// joined is a JSON list, or object, of n elements.
func joined(open, end string, n int, element func(i int) string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = element(i)
	}
	return open + strings.Join(list, ",") + end
}

// Calls with what a client sent that each took a second or more, or the process:
// they are refused before, as an error of the policy and not as undefined, which
// a rule that denies would pass over.
func TestRefusedCalls(t *testing.T) {
	addresses := joined("[", "]", 4000, func(i int) string { return fmt.Sprintf(`"10.0.%d.%d/32"`, i/256, i%256) })
	permutations := joined("[", "]", 5000, func(i int) string { return fmt.Sprintf("[%d,%d]", i, 5000-i) })
	colliding := testkit.Colliding(500, 1<<40)
	for _, tt := range []struct{ name, call, body string }{
		{"GraphQL of open lists", `graphql.parse_query(input.parsed_body)`, `"{a(x:` + strings.Repeat("[", 1_000_000) + `"`},
		{"GraphQL of many fields", `graphql.parse_query(input.parsed_body)`, `"{` + strings.Repeat("a ", 100_000) + `}"`},
		{"GraphQL behind a text", `graphql.parse_query(input.parsed_body)`, `"{a(y:\"\\\"\",x:` + strings.Repeat("[", 100_000) + `"`},
		{"GraphQL behind a comment", `graphql.is_valid("{a}", input.parsed_body)`, `"#\"\n{a(x:` + strings.Repeat("[", 100_000) + `"`},
		{"networks in each other", `net.cidr_contains_matches(input.parsed_body, input.parsed_body)`, joined("[", "]", 300, func(int) string { return `"0.0.0.0/0"` })},
		{"many networks", `net.cidr_merge(input.parsed_body)`, joined("[", "]", 40_000, func(i int) string { return fmt.Sprintf(`"10.%d.%d.%d/32"`, i>>16, i>>8&255, i&255) })},
		{"a schema that doubles", `json.match_schema({}, input.parsed_body)`, `{"$ref":"#/d/d0","d":` + joined("{", "}", 60, func(i int) string {
			return fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/d/d%d"},{"$ref":"#/d/d%d"}]}`, i, i+1, i+1)
		}) + `}`},
		{"a schema that doubles, in disguise", `json.match_schema({}, input.parsed_body)`, `{"$ref":"#/d/d0","d":` + joined("{", "}", 60, func(i int) string {
			return fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/d/%%64%d"},{"$ref":"#/%%64/d%d"}]}`, i, i+1, i+1)
		}) + `}`},
		{"a schema that refers to itself", `json.match_schema({}, input.parsed_body)`, `{"$ref":"#"}`},
		{"a schema that refers to itself, beside a number beyond float64", `json.match_schema({}, input.parsed_body)`, `"{\"$ref\":\"#/d\",\"d\":{\"allOf\":[{\"$ref\":\"#/d\"}]},\"minimum\":1e999}"`},
		{"patterns", `strings.replace_n({x: "b" | some x in input.parsed_body}, "a")`, joined("[", "]", 20_000, func(i int) string { return fmt.Sprintf(`"%08x"`, i) })},
		{"a long text that is replaced", `replace(input.parsed_body, input.parsed_body, "")`, `"` + strings.Repeat("a", 1_000_000) + `"`},
		{"a long pattern", `strings.replace_n({input.parsed_body: ""}, input.parsed_body)`, `"` + strings.Repeat("a", 100_000) + `"`},
		{"a cutset", `trim(input.parsed_body, input.parsed_body)`, `"` + strings.Repeat("é", 100_000) + `"`},
		{"a list in a list", `object.subset(input.parsed_body.a, input.parsed_body.b)`, `{"a":` + joined("[", "]", 20_000, func(int) string { return "1" }) + `,"b":` + joined("[", "]", 10_000, func(i int) string { return fmt.Sprint(1 + i/9999) }) + `}`},
		{"a list in a list, below", `object.subset({"x": input.parsed_body.a}, {"x": input.parsed_body.b})`, `{"a":` + joined("[", "]", 20_000, func(int) string { return "1" }) + `,"b":` + joined("[", "]", 10_000, func(i int) string { return fmt.Sprint(1 + i/9999) }) + `}`},
		{"huge numbers in JSON", `max(json.unmarshal(input.parsed_body)) > 1`, `"` + joined("[", "]", 1000, func(i int) string { return fmt.Sprint("1e19", i) }) + `"`},
		{"a huge number in a text", `to_number(input.parsed_body) > 100`, `"` + strings.Repeat("9", 400) + `"`},
		{"a huge number with a unit", `units.parse(input.parsed_body)`, `"1e400Ki"`},
		{"a number that a unit makes huge", `units.parse(input.parsed_body)`, `"1e307Ki"`},
		{"bytes with a huge number", `units.parse_bytes(input.parsed_body)`, `"1e9999MB"`},
		{"texts that collide, in JSON", `json.unmarshal(input.parsed_body)`, `"` + joined("{", "}", 500, func(i int) string { return fmt.Sprintf(`\"%s\":1`, colliding[i]) }) + `"`},
		{"texts that collide, in a query", `urlquery.decode_object(input.parsed_body)`, `"` + strings.Join(colliding, "=1&") + `"`},
		{"texts that collide, of a text", `object.filter({}, split(input.parsed_body, ","))`, `"` + strings.Join(colliding, ",") + `"`},
		{"lists that collide", `object.remove({}, input.parsed_body)`, permutations},
		{"paths that collide", `json.remove({}, input.parsed_body)`, permutations},
		{"pretty JSON", `json.marshal_with_options(json.unmarshal(input.parsed_body), {"pretty": true})`, `"` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `"`},
		{"patches at the front", `json.patch(input.parsed_body, [{"op": "add", "path": "/0", "value": x} | some x in input.parsed_body])`, addresses},
		{"patches that double", `json.patch(input.parsed_body, [{"op": "copy", "from": "", "path": sprintf("/%d", [x])} | some x in numbers.range(1, 40)])`, `{}`},
		{"a pattern", `regex.match(input.parsed_body, "a")`, `"((a{1,30}){1,30}b?){1}` + strings.Repeat("(c{1000})", 50) + `"`},
		{"a pattern in a template", `regex.template_match(input.parsed_body, "a", "{", "}")`, `"{` + strings.Repeat("(c{1000})", 50) + `}"`},
		{"a pattern in a template that is none itself", `regex.template_match(input.parsed_body, "a", "<", ">")`, `"(<` + strings.Repeat("(c{1000})", 50) + `>"`},
		{"globs in globs", `glob.match(input.parsed_body, [], "a")`, `"` + strings.Repeat("{a*,*", 50) + strings.Repeat("}", 50) + `"`},
		{"globs for a product", `regex.globs_match(input.parsed_body, input.parsed_body)`, `"` + strings.Repeat("[a-z]*", 2000) + `"`},
		{"ways through layers", `graph.reachable_paths(input.parsed_body, ["n0"])`, joined("{", "}", 60, func(i int) string { return fmt.Sprintf(`"n%d":["n%d","n%d"]`, i, i+1, i+2) })},
		{"much YAML", `yaml.unmarshal(input.parsed_body)`, `"` + strings.Repeat(`- a\n`, 100_000) + `"`},
		{"a huge key", `io.jwt.verify_rs256("a.b.c", input.parsed_body)`, `"{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"` + strings.Repeat("x", 500_000) + `\"}"`},
		{"a large key that signs", `io.jwt.encode_sign({"alg": "RS256"}, {}, input.parsed_body)`, `{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("x", 5000) + `"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, fmt.Sprintf("default decision := true\ndecision := false if { some x; x = %s }", tt.call), func(c *policy.Config) { c.Timeout = time.Minute })
			in := getPosts()
			in.Body = policy.Body{ContentType: "application/json", Bytes: []byte(tt.body)}
			d := e.Decide(t.Context(), in)
			if d.Allowed || d.Reason != answers.PolicyError || d.Err == nil || strings.Contains(d.Err.Error(), "too long, more than") {
				t.Errorf("%s, allowed %v (%v)", d.Reason, d.Allowed, d.Err)
			}
			t.Log(d.Err)
		})
	}
}

// Nodes of a graph are visited once, however many ways lead there.
func TestLayersOfAGraph(t *testing.T) {
	layers := joined("{", "}", 400, func(i int) string {
		next := (i/4 + 1) * 4
		return fmt.Sprintf(`"n%d":["n%d","n%d","n%d","n%d"]`, i, next, next+1, next+2, next+3)
	})
	in := getPosts()
	in.Body = policy.Body{ContentType: "application/json", Bytes: []byte(layers)}
	if d := engine(t, `decision if count(graph.reachable(input.parsed_body, ["n0"])) == 397`).Decide(t.Context(), in); !d.Allowed {
		t.Errorf("%v", d.Err)
	}
}
