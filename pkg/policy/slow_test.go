package policy_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// soon is far above the time limit of these tests, for a busy machine, and far
// below what the calls would take.
const soon = 5 * time.Second

// Calls that cost far more than their arguments, with OPA's own functions: each
// is answered in time, and the next request is too.
func TestSlowCalls(t *testing.T) {
	secret := write(t, "secret.json", `{"type": "object"}`)
	graph := map[string]any{}
	var nodes []any
	for i := range 40 {
		nodes = append(nodes, fmt.Sprint(i))
	}
	for _, n := range nodes {
		graph[n.(string)] = nodes
	}
	for _, tt := range []struct{ name, rego string }{
		{"the paths of a graph", `decision if graph.reachable_paths(input.identity.claims.graph, ["0"])`},
		{"a huge shift", `decision if bits.lsh(1, 99999999999) > 0`},
		{"a huge shift from the request", `decision if bits.lsh(1, to_number(input.identity.claims.digits)) > 0`},
		{"a wide format", `decision if sprintf(input.identity.claims.wide, [1]) != ""`},
		{"a format that repeats its argument", `decision if sprintf(input.identity.claims.repeats, [input.identity.claims.long]) != ""`},
		{"a text replaced by a long one", `decision if replace(input.identity.claims.long, "", input.identity.claims.long) != ""`},
		{"texts replaced by long ones", `decision if strings.replace_n({"": input.identity.claims.long, "a": input.identity.claims.long}, input.identity.claims.long) != ""`},
		{"matches replaced by long texts", `decision if regex.replace(input.identity.claims.long, "", input.identity.claims.long) != ""`},
		{"a large regular expression over a long text", `decision if regex.match("(a?b?){200}c$", input.identity.claims.long)`},
		{"many numbers", `decision if count(numbers.range(1, 99999999999)) > 0`},
		{"many numbers with a step", `decision if count(numbers.range_step(1, 99999999999, 2)) > 0`},
		{"many addresses", `decision if count(net.cidr_expand("0.0.0.0/0")) > 0`},
		{"a number of many digits", `decision if to_number(input.identity.claims.exponent) + 1 == 2`},
		{"a number of many digits in JSON", `decision if json.unmarshal(input.identity.claims.exponent) > 2`},
		{"squares of squares", `decision if { x := 9999999999999999999; a := x * x; b := a * a; c := b * b; d := c * c; e := d * d; f := e * e; g := f * f; h := g * g; i := h * h; j := i * i; k := j * j; l := k * k; m := l * l; n := m * m; o := n * n; p := o * o; q := p * p; r := q * q; s := r * r; s * s == 1 }`},
		{"doubled texts", `decision if { x := input.identity.claims.long; a := concat("", [x, x, x, x, x, x, x, x]); b := concat("", [a, a, a, a, a, a, a, a]); c := concat("", [b, b, b, b, b, b, b, b]); d := concat("", [c, c, c, c, c, c, c, c]); e := concat("", [d, d, d, d, d, d, d, d]); f := concat("", [e, e, e, e, e, e, e, e]); count(f) == 1 }`},
		{"doubled lists", `decision if { x := numbers.range(1, 1000); a := array.concat(array.concat(x, x), array.concat(x, x)); b := array.concat(array.concat(a, a), array.concat(a, a)); c := array.concat(array.concat(b, b), array.concat(b, b)); d := array.concat(array.concat(c, c), array.concat(c, c)); e := array.concat(array.concat(d, d), array.concat(d, d)); f := array.concat(array.concat(e, e), array.concat(e, e)); g := array.concat(array.concat(f, f), array.concat(f, f)); count(g) == 1 }`},
		{"a schema in a file", fmt.Sprintf(`decision if json.match_schema({}, {"$ref": "file://%s"})[0]`, secret)},
		{"a schema in a file, as text", fmt.Sprintf(`decision if json.match_schema({}, "{\"allOf\": [{\"$ref\": \"file://%s#\"}]}")[0]`, secret)},
		{"a schema in a file, by its id", fmt.Sprintf(`decision if json.match_schema({}, {"$id": "file://%s", "$ref": "#/x"})[0]`, secret)},
		{"a schema on a server", `decision if json.verify_schema({"$ref": "http://127.0.0.1:1/x"})[0]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, tt.rego, func(c *policy.Config) { c.Timeout = 100 * time.Millisecond })
			in := getPosts()
			id := *alice
			id.Claims = jwtverify.NewClaims(map[string]any{
				"graph": graph, "digits": "99999999999", "exponent": "1e1000000000",
				"wide": strings.Repeat("%1000000d", 1000), "repeats": strings.Repeat("%[1]s", 20_000),
				"long": strings.Repeat("ab", 50_000),
			})
			in.Identity = &id
			start := time.Now()
			d := e.Decide(t.Context(), in)
			if took := time.Since(start); d.Reason != answers.PolicyError || took > soon {
				t.Errorf("%q after %v (%v)", d.Reason, took, d.Err)
			}
			waitForAbandoned(t, e)
		})
	}
}

// Files are not read: neither its content nor whether it is there makes a
// difference.
func TestSchemasReadNoFiles(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "schema.json")
	if err := os.WriteFile(good, []byte(`{"type": "string"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{`json.match_schema("x", {"$ref": "file://%s"})`, `json.verify_schema({"$ref": "file://%s"})`} {
		for _, file := range []string{good, filepath.Join(dir, "none.json")} {
			e := engine(t, fmt.Sprintf("decision := false if "+call+"\nelse := true", file))
			if d := e.Decide(t.Context(), getPosts()); !d.Allowed {
				t.Errorf("%s: the call of %s has a value: %v", call, file, d.Err)
			}
		}
	}
	// What stays within the schema works.
	e := engine(t, `decision if json.match_schema({"id": 1}, {"properties": {"id": {"$ref": "#/definitions/n"}}, "definitions": {"n": {"type": "number"}}})[0]`)
	if d := e.Decide(t.Context(), getPosts()); !d.Allowed {
		t.Errorf("a reference within the schema: %v", d.Err)
	}
}

// The limits are far from what policies use these functions for.
func TestLimitedFunctionsWork(t *testing.T) {
	for _, rego := range []string{
		`decision if sprintf("%05d|%-3s|%.2f|%%|%v", [42, "a", 1.5, {"x": 1}]) == "00042|a  |1.50|%|{\"x\": 1}"`,
		`decision if concat(",", ["a", "b"]) == "a,b"`,
		`decision if concat(",", {"b", "a"}) == "a,b"`,
		`decision if replace("aab", "a", "xy") == "xyxyb"`,
		`decision if strings.replace_n({"a": "1", "b": "2"}, "abc") == "12c"`,
		`decision if regex.replace("foo bar", "(o+)", "<$1>") == "f<oo> bar"`,
		`decision if bits.lsh(1, 10) == 1024`,
		`decision if array.concat([1], [2]) == [1, 2]`,
		`decision if numbers.range(3, 1) == [3, 2, 1]`,
		`decision if numbers.range_step(1, 5, 2) == [1, 3, 5]`,
		`decision if graph.reachable_paths({"a": ["b", "c"], "b": [], "c": ["a"]}, ["a"]) == {["a", "b"], ["a", "c"]}`,
		`decision if { 6 * 7 == 42; product([2, 3, 7]) == 42; 99999999999 * 99999999999 == 9999999999800000000001 }`,
		`decision if json.verify_schema({"type": "object"})[0]`,
		`decision if json.match_schema({"a": [1, 2]}, {"properties": {"a": {"items": {"$ref": "#/definitions/n"}}}, "definitions": {"n": {"type": "number"}}})[0]`,
		`decision if not json.match_schema({"a": ["b"]}, {"properties": {"a": {"items": {"type": "number"}}}})[0]`,
		`decision if trim("éaé", "é") == "a"`,
		`decision if { indexof("aéb", "b") == 2; indexof_n("éaéa", "a") == [1, 3] }`,
		`decision if regex.match("^[a-f0-9]{32}$", "0123456789abcdef0123456789abcdef")`,
		`decision if regex.find_n("[a-z]+", "ab cd", -1) == ["ab", "cd"]`,
		`decision if { regex.split("/+", "a//b") == ["a", "b"]; regex.template_match("urn:{.*}", "urn:x", "{", "}"); regex.is_valid("a{1,3}"); not regex.is_valid("(") }`,
		`decision if { glob.match("*.example.com", [], "api.example.com"); glob.match("{api,www}.*", null, "api.x"); regex.globs_match("a.a.[0-9]+z", "a.b.[0-9]*2") == false }`,
		`decision if graph.reachable({"a": ["b"], "b": {"c"}, "c": [], "d": []}, {"a"}) == {"a", "b", "c"}`,
		`decision if { graph.reachable({"a": ["b"], "b": ["a"]}, ["a"]) == {"a", "b"}; graph.reachable({"a": []}, ["x"]) == set(); graph.reachable({"a": []}, []) == set() }`,
		`decision if { some p; walk({"a": [1, {"b": 2}]}, [p, 2]); p == ["a", 1, "b"]; count([v | walk([1, [2]], [_, v])]) == 4 }`,
		`decision if { walk({"a": {"b": 3}}, [["a", "b"], v]); v == 3 }`,
		`decision if { object.subset([1, 2, 3], [2, 3]); object.subset({"a": [1, 2]}, {"a": [2]}); not object.subset({"a": 1}, {"b": 1}) }`,
		`decision if net.cidr_contains_matches(["10.0.0.0/8", "192.168.0.0/16"], {"x": "10.1.0.0/16", "y": ["192.168.1.1/32", 5]}) == {[0, "x"], [1, "y"]}`,
		`decision if { net.cidr_contains_matches("10.0.0.0/8", "10.0.0.1") == {["10.0.0.0/8", "10.0.0.1"]} }`,
		`decision if net.cidr_merge(["10.0.0.0/25", "10.0.0.128/25"]) == {"10.0.0.0/24"}`,
		`decision if { {1, 2} & {2, 3} == {2}; {1} | {2} == {1, 2}; {1, 2} - {1} == {2}; union({{1}, {2}}) == {1, 2}; intersection({{1, 2}, {2}}) == {2}; 5 - 3 == 2 }`,
		`decision if { object.keys({"a": 1}) == {"a"}; object.filter({"a": 1, "b": 2}, ["a"]) == {"a": 1}; object.remove({"a": 1, "b": 2}, {"a"}) == {"b": 2}; object.union({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}; object.union_n([{"a": 1}, {"a": 2}]) == {"a": 2} }`,
		`decision if { json.filter({"a": {"b": 1, "c": 2}}, ["a/b"]) == {"a": {"b": 1}}; json.remove({"a": {"b": 1, "c": 2}}, ["a/b"]) == {"a": {"c": 2}} }`,
		`decision if json.patch({"a": 1}, [{"op": "add", "path": "/b", "value": 2}, {"op": "copy", "from": "/a", "path": "/c"}]) == {"a": 1, "b": 2, "c": 1}`,
		`decision if { json.unmarshal("{\"a\": [1.50, null]}") == {"a": [1.5, null]}; not json.unmarshal("{"); not json.unmarshal("1 2") }`,
		`decision if { yaml.unmarshal("a: [1, x]\nb: &c {d: 1}\ne: *c") == {"a": [1, "x"], "b": {"d": 1}, "e": {"d": 1}}; yaml.unmarshal("{\"a\": 1}") == {"a": 1}; yaml.is_valid("a: 1"); yaml.marshal({"a": 1}) == "a: 1\n" }`,
		`decision if json.marshal_with_options({"a": [1]}, {"indent": "  "}) == "{\n  \"a\": [\n    1\n  ]\n}"`,
		`decision if { to_number("12.5") == 12.5; to_number("1e3") == 1000; to_number(null) == 0; units.parse("1.5Ki") == 1536; units.parse_bytes("10MB") == 10000000; units.parse("2E") == 2000000000000000000; not to_number("x") }`,
		`decision if urlquery.decode_object("a=1&a=2&b=x") == {"a": ["1", "2"], "b": ["x"]}`,
		`decision if { q := graphql.parse_query("query { a(x: [[1]], y: \"{{{\") { b } }"); count(q.Operations) == 1; graphql.is_valid("{a}", "type Query {a: Int}"); not graphql.is_valid("{b}", "type Query {a: Int}") }`,
		`decision if { [h, p, _] := io.jwt.decode("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"); h.alg == "HS256"; p.sub == "x"; io.jwt.verify_hs256(io.jwt.encode_sign({"alg": "HS256"}, {}, {"kty": "oct", "k": "c2VjcmV0"}), "secret") }`,
		`decision if concat(",", ["a"]) == "b" with concat as "b"`,
		"decision if concat(\",\", [\"a\"]) == \"mocked\" with concat as f\nf(_, _) := \"mocked\"",
	} {
		if d := engine(t, rego).Decide(t.Context(), getPosts()); !d.Allowed {
			t.Errorf("%s: %v", rego, d.Err)
		}
	}
}

func TestWithheldFunctions(t *testing.T) {
	for call, want := range map[string]string{
		`strings.render_template("{{range 1000000000000}}x{{end}}", {})`: "strings.render_template: a template can write without an end",
		`rego.parse_module("a.rego", "package a")`:                       "rego.parse_module: a text nested deep enough",
	} {
		_, err := policy.New(t.Context(), policy.Config{Entrypoint: "test/decision", Paths: []string{write(t, "test.rego", "package test\ndecision if "+call)}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "test.rego:2") {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// stuck takes seconds in a call that nothing interrupts, for one tenant alone.
const stuck = `decision if input.tenant.id == "calm"
decision if {
	input.tenant.id != "calm"
	regex.match("(a?b?){900}c$", input.identity.claims.long)
}`

// A tenant whose requests take too long is answered in time and refused soon;
// the others go on.
func TestAbandonedEvaluations(t *testing.T) {
	e := engine(t, stuck, func(c *policy.Config) { c.Timeout = 100 * time.Millisecond })
	most := min(2, max(1, runtime.GOMAXPROCS(0)/2))
	if a := e.Analysis(); len(a.Slow) != 1 || a.Slow[0].Text != "regex.match" || a.Slow[0].Line != 5 {
		t.Errorf("slow calls: %+v", a.Slow)
	}
	length := 5000 // nearly the most that its limit lets through
	if raced {
		length /= 4
	}
	ask := func(tenant string) (policy.Decision, time.Duration) {
		in := getPosts()
		id := *alice
		id.Claims = jwtverify.NewClaims(map[string]any{"long": strings.Repeat("ab", length)})
		in.TenantID, in.Identity = tenant, &id
		start := time.Now()
		d := e.Decide(context.Background(), in)
		return d, time.Since(start)
	}
	for i := range 4 {
		d, took := ask("wild")
		if d.Reason != answers.PolicyError || took > soon {
			t.Errorf("%d: %q after %v (%v)", i, d.Reason, took, d.Err)
		}
		if refused := d.Err != nil && strings.Contains(d.Err.Error(), "too many evaluations"); refused != (i >= most) {
			t.Errorf("%d: refused at once: %v (%v)", i, refused, d.Err)
		}
		if d, took := ask("calm"); !d.Allowed || took > soon {
			t.Errorf("another tenant: %q after %v (%v)", d.Reason, took, d.Err)
		}
	}
	if running, total := e.Abandoned(); running != most || total != uint64(most) {
		t.Errorf("%d abandoned evaluations run, of %d", running, total)
	}
	waitForAbandoned(t, e)
}

// While an evaluation of the tenant runs on, the bytes of a large request are not even read.
func TestLargeRequestsBesideAbandonedOnes(t *testing.T) {
	e := engine(t, stuck+"\ndecision if input.parsed_body.x", func(c *policy.Config) { c.Timeout = 100 * time.Millisecond })
	id := *alice
	id.Claims = jwtverify.NewClaims(map[string]any{"long": strings.Repeat("ab", 5000)})
	in := getPosts()
	in.TenantID, in.Identity = "wild", &id
	for range max(1, min(2, runtime.GOMAXPROCS(0)/2)) {
		e.Decide(context.Background(), in)
	}
	large := getPosts()
	large.TenantID, large.Body = "wild", policy.Body{ContentType: "application/json", Bytes: []byte(strings.Repeat("{", 20<<10))}
	if d := e.Decide(context.Background(), large); d.Reason != answers.PolicyError || !strings.Contains(fmt.Sprint(d.Err), "too many evaluations") {
		t.Errorf("%q (%v)", d.Reason, d.Err)
	}
	waitForAbandoned(t, e)
	if d := e.Decide(context.Background(), large); d.Reason != answers.InvalidRequest {
		t.Errorf("afterwards %q (%v)", d.Reason, d.Err)
	}
}

// waitForAbandoned ends with the last evaluation that runs on, and no goroutine.
func waitForAbandoned(t *testing.T, e *policy.Engine) {
	t.Helper()
	for range 1200 {
		if running, _ := e.Abandoned(); running == 0 {
			goleak.VerifyNone(t)
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("an abandoned evaluation never ends")
}
