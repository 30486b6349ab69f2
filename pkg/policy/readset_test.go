package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// What a policy reads, or why none of its decisions is kept.
func TestAnalysis(t *testing.T) {
	for _, tt := range []struct {
		name, rego string
		reads      string // without "input.", separated by blanks
		reason     string // "": cacheable
	}{
		{"a member", `decision if input.request.method == "GET"`, "request.method", ""},
		{"nothing", `decision := true`, "", ""},
		{"absent and null", "default decision := false\ndecision if input.identity.claims.a == null\ndecision if not input.identity.claims.b.c", "identity.claims.a identity.claims.b.c", ""},
		{"an index", `decision if input.parsed_path[0] == "a"`, "parsed_path.0", ""},
		{"an element found by iteration", `decision if { some i; input.parsed_path[i] == "a"; i > 0 }`, "parsed_path", ""},
		{"a name in brackets", `decision if input.request.headers["x-a"] == "1"`, "request.headers.x-a", ""},
		{"a name with a dot", `decision if input.request.headers["x.a"] == "1"`, "request.headers.x.a", ""},
		{"a composite key", `decision if input.identity.claims[["x"]]`, "identity.claims", ""},
		{"a prefix and what is below", `decision if { input.identity.claims.a; input.identity.claims.a.b; input.identity.claims.ab }`, "identity.claims.a identity.claims.ab", ""},
		{"all of an object", `decision if { x := input.identity; x.sub }`, "identity", ""},
		{"compared with null", `decision if input.route != null`, "route", ""},
		{"a member named by another", `decision if input.identity.claims[input.request.method]`, "identity.claims request.method", ""},
		{"data named by the input", `decision if data.users[input.identity.sub]`, "identity.sub", ""},
		{"walk below", `decision if { walk(input.identity.claims, [_, "x"]) }`, "identity.claims", ""},
		{"a function", "decision if f(input.identity)\nf(x) if x.sub", "identity", ""},
		{"a default of a function", "decision if f(input.request.method)\ndefault f(_) := true\nf(\"GET\") if input.request.host", "request.host request.method", ""},
		{"an import", "import input.identity.claims as c\ndecision if c.a", "identity.claims.a", ""},
		{"else", "default decision := false\ndecision if input.request.method == \"GET\"\nelse if input.request.host == \"a\"\nelse := input.identity.claims.ok if true", "identity.claims.ok request.host request.method", ""},
		{"a key of the head", `decision[input.request.method] := input.request.host`, "request.host request.method", ""},
		{"a reference in the head", "decision.x[input.request.method].y := input.request.host\ndecision.z := 1", "request.host request.method", ""},
		{"comprehensions", `decision if { count([x | some x in input.identity.roles]) + count({x | some x in input.identity.scopes}) + count({k: v | some k, v in input.route.params}) > 0 }`, "identity.roles identity.scopes route.params", ""},
		{"every", `decision if every k, v in input.route.params { v != input.request.host; k != input.request.method }`, "request.host request.method route.params", ""},
		{"not, and rules by half", "decision if not bad\nbad if input.request.method == \"PUT\"\nbad if input.request.host == \"x\"", "request.host request.method", ""},
		{"and, or", "import rego.v2\ndecision if { input.request.method == \"GET\" or (input.request.host == \"a\" and not input.identity.sub) }", "identity.sub request.host request.method", ""},
		{"a text with values", `decision if $"{input.request.method}-{input.request.host}" == "x"`, "request.host request.method", ""},
		{"a set", `decision if {input.request.method, input.request.host} == {"a"}`, "request.host request.method", ""},
		{"a rule that is never true", "default decision := false\ndecision if { false; input.request.method }", "request.method", ""},
		{"a rule of another package, by a variable", `decision if { some p; data.usso.authz[p] == true }`, "identity.roles identity.scopes identity.workspace_id route.access route.all_roles route.any_scope route.match route.named_workspace route.permitted route.public route.roles route.scopes route.workspace", ""},
		{"the library", `decision if data.usso.access("read:x")`, "identity.scopes", ""},
		{"the version", `decision if input.version.ext_authz == "v3"`, "version.ext_authz", ""},
		{"the body", `decision if input.parsed_body.amount < 5`, "parsed_body.amount", ""},
		{"an attribute", `decision if input.attributes.request.http.method == "GET"`, "attributes.request.http.method", ""},
		{"with data", "decision if h with data.users as input.request.method\nh if data.users == input.request.host", "request.host request.method", ""},
		{"with a whole input", "decision if h with input as {\"request\": {\"method\": input.request.host}}\nh if input.request.method == \"a\"", "request.host request.method", ""},
		{"print, which is dropped", `decision if { print(input.request.method); true }`, "", ""},

		{"all of the input", `decision if count(input) > 0`, "*", "reads input:"},
		{"a top member by a variable", `decision if { some x; input[x] == 1 }`, "*", "reads input:"},
		{"walk over all", `decision if walk(input, [_, "x"])`, "*", "reads input:"},
		{"the input as an argument", "decision if f(input)\nf(x) if x.identity", "*", "reads input:"},
		{"object.get of all", `decision if object.get(input, ["identity", "sub"], "") == "x"`, "*", "reads input:"},
		{"all headers", `decision if count(input.request.headers) > 3`, "request.headers", "x-request-id"},
		{"all of the request", `decision if { r := input.request; r.method }`, "request", "x-request-id"},
		{"all attributes", `decision if { a := input.attributes; a.request }`, "attributes", "time and the id"},
		{"the time among the attributes", `decision if input.attributes.request.time`, "attributes.request.time", "time and the id"},
		{"the id among the attributes", `decision if input.attributes.request.http.id`, "attributes.request.http.id", "time and the id"},
		{"with a part of the input", "decision if h with input.identity.sub as \"x\"\nh if input.identity.sub", "*", "reads input:"},
		{"with a function", "decision if f(1) with f as g\nf(x) if x\ng(_) if input.request.method", "request.method", "replaces the function data.test.f"},
		{"with a builtin", "decision if count([1]) with count as 3", "", "replaces the builtin count"},
		{"with a limited builtin", "decision if concat(\"\", []) with concat as \"x\"", "", "replaces the builtin concat"},
		{"the clock", `decision if time.now_ns() > 5`, "", "calls time.now_ns, which depends on more than its arguments"},
		{"the clock in a helper", "decision if f(input.request.method)\nf(x) if { [1 | time.now_ns() > 0]; x }", "request.method", "calls time.now_ns"},
		{"random numbers", `decision if rand.intn("x", 10) == 1`, "", "calls rand.intn"},
		{"a UUID", `decision if uuid.rfc4122(input.request.method)`, "request.method", "calls uuid.rfc4122"},
		{"the runtime", `decision if opa.runtime().env`, "", "calls opa.runtime"},
		{"certificates", `decision if crypto.x509.parse_and_verify_certificates(input.request.method)`, "request.method", "looks at the clock"},
		{"certificates with options", `decision if crypto.x509.parse_and_verify_certificates_with_options(input.request.method, {})`, "request.method", "looks at the clock"},
		{"a token", `decision if io.jwt.decode_verify(input.request.method, {})`, "request.method", "calls io.jwt.decode_verify"},
		{"a schema", `decision if json.match_schema(input.identity.claims, {})`, "identity.claims", "calls json.match_schema"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := engine(t, tt.rego).Analysis()
			want := "input"
			if tt.reads != "*" {
				want = strings.ReplaceAll(strings.Trim(" "+tt.reads, " "), " ", " input.")
				if want != "" {
					want = "input." + want
				}
			}
			if got := strings.Join(a.Reads, " "); got != want {
				t.Errorf("reads %q, want %q", got, want)
			}
			if a.Cacheable != (tt.reason == "") || a.Cacheable != (len(a.Reasons) == 0) {
				t.Errorf("cacheable %v: %v", a.Cacheable, a.Reasons)
			}
			if tt.reason != "" && !strings.Contains(fmt.Sprint(a.Reasons), tt.reason) {
				t.Errorf("reasons %v, want %q", a.Reasons, tt.reason)
			}
			for _, r := range a.Reasons {
				if !strings.HasSuffix(r.File, "test.rego") || r.Line < 2 {
					t.Errorf("the reason %q has no place: %s:%d", r.Text, r.File, r.Line)
				}
			}
		})
	}
}

func TestNetworkIsNotCached(t *testing.T) {
	e := engine(t, `decision if http.send({"method": "GET", "url": "http://127.0.0.1/"})`, func(c *policy.Config) { c.AllowNet = []string{"127.0.0.1"} })
	if a := e.Analysis(); a.Cacheable || !strings.Contains(fmt.Sprint(a.Reasons), "http.send") {
		t.Errorf("cacheable %v: %v", a.Cacheable, a.Reasons)
	}
}

// The default policy reads no more than it decides by: neither a token's times
// nor the path's parameters, but for the workspace.
func TestDefaultPolicyReads(t *testing.T) {
	e, err := policy.New(t.Context(), policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	a := e.Analysis()
	if !a.Cacheable || len(a.Slow) > 0 {
		t.Errorf("%+v", a)
	}
	want := "input.identity.roles input.identity.scopes input.identity.workspace_id " +
		"input.route.access input.route.all_roles input.route.any_scope input.route.match input.route.named_workspace " +
		"input.route.permitted input.route.public input.route.roles input.route.scopes input.route.workspace"
	if got := strings.Join(a.Reads, " "); got != want {
		t.Errorf("reads %s", got)
	}
}
