package policy_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"

	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/policies"
)

// wholeInput returns the document that a policy sees which reads all of input.
func wholeInput(t *testing.T, in *policy.Input) string {
	t.Helper()
	in.Attributes = func() (any, error) { return map[string]any{"request": map[string]any{}}, nil }
	x := engine(t, "decision if count(input) > 0").Explain(t.Context(), in)
	if !json.Valid([]byte(x.Input)) {
		t.Fatalf("no input: %s", x.Input)
	}
	return x.Input
}

func anonymous() *policy.Input {
	in := getPosts()
	in.Identity, in.Route, in.Params = nil, nil, nil
	return in
}

// What is built fits the schema, which is closed where our own members are: no
// member is there that the schema doesn't name.
func TestInputFitsItsSchema(t *testing.T) {
	schema, err := policies.Schemas.ReadFile(policies.InputSchema)
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]*policy.Input{"all": getPosts(), "no identity, no route": anonymous()} {
		document := wholeInput(t, in)
		e := engine(t, "decision := json.match_schema(data.document, data.schema) == [true, []]", func(c *policy.Config) {
			c.Paths = append(c.Paths, write(t, "data.json", `{"document": `+document+`, "schema": `+string(schema)+`}`))
		})
		if d := e.Decide(t.Context(), getPosts()); !d.Allowed {
			t.Errorf("%s: does not fit: %s", name, document)
		}
	}
}

// And what the schema names is built.
func TestSchemaNamesWhatIsBuilt(t *testing.T) {
	text, err := policies.Schemas.ReadFile(policies.InputSchema)
	if err != nil {
		t.Fatal(err)
	}
	var schema, document map[string]any
	for source, into := range map[string]*map[string]any{string(text): &schema, wholeInput(t, getPosts()): &document} {
		if err := json.Unmarshal([]byte(source), into); err != nil {
			t.Fatal(err)
		}
	}
	if n := missing(t, "input", schema, document); n < 30 {
		t.Errorf("only %d members were compared", n)
	}
}

func missing(t *testing.T, at string, schema map[string]any, value any) (compared int) {
	if alternatives, ok := schema["anyOf"].([]any); ok {
		schema = alternatives[len(alternatives)-1].(map[string]any)
	}
	properties, _ := schema["properties"].(map[string]any)
	object, ok := value.(map[string]any)
	if !ok && properties != nil {
		t.Errorf("%s is %v", at, value)
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		member, ok := object[name]
		if !ok {
			t.Errorf("%s.%s is in the schema and not in the input", at, name)
			continue
		}
		compared += 1 + missing(t, at+"."+name, properties[name].(map[string]any), member)
	}
	return compared
}

func TestMistypedInput(t *testing.T) {
	for rego, want := range map[string]string{
		`decision if input.idenity`:                                                               `did you mean "identity"?`,
		`decision if input["idenity"].sub`:                                                        `did you mean "identity"?`,
		`decision if not input.request.methd`:                                                     `did you mean "method"?`,
		`decision if input.identity.usr_id == "a"`:                                                `did you mean "user_id"?`,
		`decision if input.identity.scope`:                                                        `did you mean "scopes"?`,
		`decision if not input.route.pubic`:                                                       `did you mean "public"?`,
		`decision if input.request.nothing_like_it`:                                               `undefined ref: input.request.nothing_like_it`,
		"import input.identity as who\ndecision if who.rolse":                                     `did you mean "roles"?`,
		"import input.request as r\ndecision if r.pth":                                            `did you mean "path"?`,
		"decision if {\n r := input.request\n r.pth }":                                            `did you mean "path"?`,
		`decision if [x | x := input.identity.role[_]] != []`:                                     `did you mean "roles"?`,
		"decision := d if d := data.usso.authz.decision with input.idenity as null":               `did you mean "identity"?`,
		"decision := d if d := data.usso.authz.decision with input.route.pubic as true":           `did you mean "public"?`,
		"decision if f(1) with input.request.methd as \"GET\"\nf(x) if x":                         `did you mean "method"?`,
		"import input as i\ndecision if i.idenity":                                                `did you mean "identity"?`,
		"import input.identity.claims as c\nimport input.tenant as t\ndecision if { c.x; t.nme }": `undefined ref: input.tenant.nme`,
		"decision if every r in input.identity.rolse { r != \"\" }":                               `did you mean "roles"?`,
		"decision if { some k in [1]; {k: input.request.hots} }":                                  `did you mean "host"?`,
		"decision := {\"x\": [y | y := input.request.headrs.a]}":                                  `did you mean "headers"?`,
		"decision if input.version.envoy == \"v3\"":                                               `undefined ref: input.version.envoy`,
		"decision if not input.truncated_bdy":                                                     `did you mean "truncated_body"?`,
		"decision if input.parsed_pth[0] == \"a\"":                                                `did you mean "parsed_path"?`,
		"decision if input.request[\"mehtod\"]":                                                   `did you mean "method"?`,
		`decision if input.request.segments[0] == 1`:                                              `match error`,
		"f(x) if x\ndecision if f(input.tenant.name)":                                             `undefined ref: input.tenant.name`,
		"decision := {\"allowed\": true, \"body\": input.identity.email}":                         `undefined ref: input.identity.email`,
	} {
		path := write(t, "test.rego", "package test\n"+rego)
		_, err := policy.New(t.Context(), policy.Config{Entrypoint: "test/decision", Paths: []string{path}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "test.rego:") {
			t.Errorf("%s: got %v, want the file, the line and %q", rego, err, want)
		}
		if err != nil && strings.Count(err.Error(), "undefined ref") > 1 {
			t.Errorf("%s: reported twice: %v", rego, err)
		}
	}
	_, err := policy.New(t.Context(), policy.Config{Entrypoint: "test/decision", Paths: []string{
		write(t, "two.rego", "package test\ndecision if input.idenity\nother if input.identity.usr_id")}})
	if err == nil || !strings.Contains(err.Error(), "two.rego:2") || !strings.Contains(err.Error(), "two.rego:3") {
		t.Errorf("both faults of a file: %v", err)
	}
}

// What the schema must not stand in the way of.
func TestLooseInput(t *testing.T) {
	for _, rego := range []string{
		`decision if input.identity == null`,
		`decision if input.identity != null`,
		`decision if is_null(input.route)`,
		`decision if input.identity.exp == null`,
		`decision if input.identity.claims.anything.deep[0] == null`,
		`decision if input.attributes.source.address.socketAddress.portValue == 1`,
		`decision if input.attributes.source.address.Address.SocketAddress.address == "x"`,
		`decision if input.attributes.request.http.headers["x-a"] == "1"`,
		`decision if input.parsed_body.any.thing[_].at == 1`,
		`decision if lower(input.parsed_body.name) != "x"`,
		`decision if input.parsed_body == null`,
		`decision if input.parsed_query.lang[0] == "en"`,
		`decision if input.parsed_path = ["posts", _]`,
		`decision if { some name; input[name] }`,
		`decision if { some name in ["a", "idenity"]; input[name] }`,
		`decision if { some name; input.request.headers[name] == "x" }`,
		`decision if object.get(input, "idenity", true)`,
		`decision if object.get(input, ["identity", "claims", "x"], true)`,
		`decision if walk(input, [["a", "b"], _])`,
		`decision if count(input) > 1`,
		`decision if input.version == {"ext_authz": "v2", "encoding": "encoding/json"}`,
		"import input.attributes.request.http\ndecision if http.method == \"GET\"",
		"f(x) if x.anything\ndecision if f(input.identity)",
		`decision if json.marshal(input) != ""`,
	} {
		engine(t, rego)
	}
}

// The file serves stock OPA's --schema, which loads it like this.
func TestSchemaInStockOPA(t *testing.T) {
	schemas, err := loader.Schemas("../../policies/" + policies.InputSchema)
	if err != nil {
		t.Fatal(err)
	}
	compile := func(sources map[string]string) ast.Errors {
		modules := map[string]*ast.Module{}
		for name, text := range sources {
			modules[name] = ast.MustParseModule(text)
		}
		c := ast.NewCompiler().WithSchemas(schemas)
		c.Compile(modules)
		return c.Errors
	}
	embedded := map[string]string{}
	files, err := filepath.Glob("../../policies/*/*.rego")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		embedded[file] = string(text)
	}
	if errs := compile(embedded); len(errs) > 0 {
		t.Errorf("our own policies and their tests: %v", errs)
	}
	if errs := compile(map[string]string{"a.rego": "package a\nx if input.idenity"}); len(errs) == 0 {
		t.Error("input.idenity is no error in stock OPA")
	}
}
