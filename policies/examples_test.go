package policies_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// outcome is a question to an example, and what it must answer.
type outcome struct {
	method, path string
	headers      []policy.Header
	body         *policy.Body
	tenant       string // "": acme
	identity     *jwtverify.Identity
	route        policy.RouteFields // without a match: none
	data         string             // a further file of data

	reason answers.Reason
	status int    // what the policy asks for
	header string // one that the answer must have, as "name: value"
}

var (
	public = policy.RouteFields{Match: "/", Public: true}
	locked = policy.RouteFields{Match: "/", Scopes: []string{"write:posts"}}
	reader = &jwtverify.Identity{UserID: "user:1", Scopes: []string{"read:posts"}, Claims: jwtverify.NewClaims(map[string]any{"plan": "gold"})}
	writer = &jwtverify.Identity{UserID: "user:2", Scopes: []string{"write:posts"}, Roles: []string{"editor"}}
	boss   = &jwtverify.Identity{UserID: "user:3", Scopes: []string{"write:posts"}, Roles: []string{"admin", "treasurer"}}
	grpc   = []policy.Header{{Name: "content-type", Value: "application/grpc"}}
	html   = []policy.Header{{Name: "accept", Value: "text/html"}}
)

func jsonBody(text string) *policy.Body {
	return &policy.Body{ContentType: "application/json", Bytes: []byte(text)}
}

// grpcBody frames a message.
func grpcBody(message string) *policy.Body {
	return &policy.Body{ContentType: "application/grpc", Bytes: []byte("\x00\x00\x00\x00" + string(rune(len(message))) + message)}
}

var outcomes = map[string][]outcome{
	"own-rules": {
		{method: "DELETE", path: "posts/1", identity: reader, route: locked, reason: answers.InsufficientScope},
		{method: "DELETE", path: "posts/1", identity: writer, route: locked, reason: "published"},
		{method: "DELETE", path: "posts/1", identity: boss, route: locked, reason: answers.Allowed},
		{method: "DELETE", path: "posts/1/comments", identity: writer, route: locked, reason: answers.Allowed},
		{method: "PUT", path: "posts/1", identity: writer, route: locked, reason: answers.Allowed},
	},
	"time-of-day": {
		{method: "GET", route: public, data: `{"opening": {"from": 24}}`, reason: answers.Allowed},
		{method: "POST", route: public, data: `{"opening": {"from": 24}}`, reason: "closed"},
		{method: "POST", route: public, data: `{"opening": {"from": 0, "to": 24, "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]}}`, reason: answers.Allowed},
	},
	"body-inspection": {
		{method: "GET", path: "transfers", route: public, reason: answers.Allowed},
		{method: "POST", path: "transfers", route: public, body: jsonBody(`{"amount": 5}`), reason: answers.Allowed},
		{method: "POST", path: "transfers", route: public, body: jsonBody(`{"amount": 5000}`), identity: writer, reason: "amount"},
		{method: "POST", path: "transfers", route: public, body: jsonBody(`{"amount": 5000}`), identity: boss, reason: answers.Allowed},
		{method: "POST", path: "transfers", route: public, reason: "amount"},
		{method: "POST", path: "transfers", route: public, identity: boss, body: &policy.Body{ContentType: "application/json", Partial: true, Bytes: []byte(`{"amo`)}, reason: "body_too_large", status: 413},
	},
	"per-tenant": {
		{method: "GET", path: "posts", tenant: "globex", route: public, reason: answers.Allowed},
		{method: "GET", path: "exports/1", route: public, reason: answers.Allowed},
		{method: "GET", path: "exports/1", tenant: "globex", route: public, reason: "not_in_plan", status: 402},
	},
	"grpc-method": {
		{method: "POST", path: "grpc.health.v1.Health/Check", headers: grpc, reason: answers.Allowed},
		{method: "POST", path: "shop.v1.Posts/Get", headers: grpc, reason: answers.TokenNotFound},
		{method: "POST", path: "shop.v1.Posts/Get", headers: grpc, identity: reader, reason: answers.Allowed},
		{method: "POST", path: "shop.v1.Posts/Delete", headers: grpc, identity: reader, reason: answers.InsufficientScope},
		{method: "GET", path: "shop.v1.Posts/Get", headers: grpc, identity: reader, reason: answers.NoRoute},
	},
	"login-redirect": {
		{method: "GET", path: "posts/1", headers: html, route: locked, reason: "login", status: 302, header: "location: https://sso.acme.example/login?next=%2Fposts%2F1"},
		{method: "GET", path: "posts/1", route: locked, reason: answers.TokenNotFound},
		{method: "GET", path: "posts/1", headers: html, identity: writer, route: locked, reason: answers.Allowed},
	},
	"response-headers": {
		{method: "GET", route: public, reason: answers.Allowed, header: "x-audience: public"},
		{method: "GET", route: public, identity: writer, reason: answers.Allowed, header: "vary: cookie"},
		{method: "GET", reason: answers.NoRoute, header: "cache-control: no-store"},
	},
	"default-routes": {
		{method: "GET", route: public, reason: answers.Allowed},
		{method: "GET", route: locked, reason: answers.TokenNotFound},
		{method: "GET", route: locked, identity: reader, reason: answers.InsufficientScope},
		{method: "GET", identity: reader, reason: answers.NoRoute},
	},
	"own-routes": {
		{method: "HEAD", path: "health", reason: answers.Allowed},
		{method: "GET", path: "posts/1", reason: answers.TokenNotFound},
		{method: "GET", path: "posts/1", identity: reader, reason: answers.Allowed},
		{method: "GET", path: "posts/1/x", identity: reader, reason: answers.PolicyDenied},
		{method: "PUT", path: "users/user:1", identity: reader, reason: answers.Allowed},
	},
	"grpc-body": {
		{method: "POST", path: "shop.v1.Posts/Create", route: public, identity: reader, body: grpcBody("\x0a\x01a"), reason: answers.Allowed},
		{method: "POST", path: "shop.v1.Posts/Create", route: public, identity: reader, body: grpcBody("\x10\x01"), reason: "published"},
		{method: "POST", path: "shop.v1.Posts/Create", route: public, identity: writer, body: grpcBody("\x10\x01"), reason: answers.Allowed},
		{method: "POST", path: "shop.v1.Posts/Create", route: public, identity: reader, body: grpcBody("\x18\x01"), reason: "published"},
		{method: "POST", path: "shop.v1.Posts/Create", route: public, identity: writer, reason: "unreadable"},
		{method: "POST", path: "shop.v1.Posts/Get", route: public, reason: answers.Allowed},
	},
	"rate-limit": {
		{method: "GET", route: public, identity: reader, reason: answers.Allowed},
		{method: "GET", reason: answers.NoRoute},
	},
}

// hostile are spellings of one path that servers may take for it.
func hostile(path string) []string {
	first, rest, _ := strings.Cut(path, "/")
	return []string{
		path + "/", path + ";x", path + ".json", path + ".", path + " ", path + ";x.json/", path + ".tar.gz/", ";x/" + path, ".../" + path,
		strings.TrimSuffix(strings.ToUpper(first)+"/"+rest, "/"), strings.TrimSuffix(first+";x/"+rest, "/"), strings.TrimSuffix(first+". /"+rest, "/"),
		strings.ReplaceAll(path, "s", "\u017f"),
	}
}

// TestExamplesAgainstReadings asks each example that looks at the path for all
// spellings of it: what it refuses stays refused, whatever a server drops.
func TestExamplesAgainstReadings(t *testing.T) {
	for _, tt := range []struct {
		example string
		outcome
	}{
		{"own-rules", outcome{method: "DELETE", path: "posts/1", identity: writer, route: locked, reason: "published"}},
		{"per-tenant", outcome{method: "GET", path: "exports", tenant: "globex", route: public, reason: "not_in_plan"}},
		{"per-tenant", outcome{method: "GET", path: "exports/1", tenant: "globex", route: public, reason: "not_in_plan"}},
		{"body-inspection", outcome{method: "POST", path: "transfers", route: public, body: jsonBody(`{"amount": 5000}`), identity: writer, reason: "amount"}},
		{"grpc-body", outcome{method: "POST", path: "shop.v1.Posts/Create", route: public, identity: writer, reason: "unreadable"}},
		{"own-routes", outcome{method: "GET", path: "workspaces/ws_1/files/private", identity: &jwtverify.Identity{WorkspaceID: "ws_1"}, reason: answers.PolicyDenied}},
		{"own-routes", outcome{method: "GET", path: "workspaces/ws_1/files/private/a", identity: &jwtverify.Identity{WorkspaceID: "ws_1"}, reason: answers.PolicyDenied}},
		{"grpc-method", outcome{method: "POST", path: "shop.v1.Posts/Delete", headers: grpc, identity: reader, reason: answers.InsufficientScope}},
	} {
		engine, err := policy.New(t.Context(), configOf(t, filepath.Join("examples", tt.example)))
		if err != nil {
			t.Fatal(err)
		}
		if d := engine.Decide(t.Context(), tt.input()); d.Reason != tt.reason {
			t.Errorf("%s: %s: %s, want %s", tt.example, tt.path, d.Reason, tt.reason)
		}
		for _, path := range hostile(tt.path) {
			o := tt.outcome
			o.path = path
			if d := engine.Decide(t.Context(), o.input()); d.Allowed {
				t.Errorf("%s: %s %q is allowed", tt.example, o.method, path)
			}
		}
	}
}

// Each example shows how to test what an attacker sends.
func TestExamplesHaveHostileTests(t *testing.T) {
	for _, name := range examples(t) {
		text, err := os.ReadFile(filepath.Join("examples", name, "policy_test.rego"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("\ntest_hostile_")) {
			t.Errorf("%s has no test_hostile_…", name)
		}
	}
}

// examples returns the folders of the examples: those of the table, and no other.
func examples(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob("examples/*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range folders {
		folders[i] = filepath.Base(folders[i])
	}
	if want := slices.Sorted(maps.Keys(outcomes)); !slices.Equal(folders, want) {
		t.Fatalf("the examples are %v; the table has %v", folders, want)
	}
	return folders
}

// TestExamples asks each example as the service would.
func TestExamples(t *testing.T) {
	for _, name := range examples(t) {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("examples", name)
			cfg := configOf(t, dir)
			for i, o := range outcomes[name] {
				cfg := cfg
				if o.data != "" {
					cfg.Paths = []string{filepath.Join(dir, "policy.rego"), merged(t, filepath.Join(dir, "data.json"), o.data)}
				}
				engine, err := policy.New(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				d := engine.Decide(t.Context(), o.input())
				if d.Reason != o.reason || d.Status != o.status || d.Allowed != (o.reason == answers.Allowed) {
					t.Errorf("%d: %s, status %d, want %s, status %d (%v)", i, d.Reason, d.Status, o.reason, o.status, d.Err)
				}
				if o.header != "" && !slices.ContainsFunc(slices.Concat(d.Headers, d.ResponseHeaders), func(h policy.Header) bool { return h.Name+": "+h.Value == o.header }) {
					t.Errorf("%d: no header %q in %v, %v", i, o.header, d.Headers, d.ResponseHeaders)
				}
				if name == "rate-limit" && d.Metadata["rate"] == nil {
					t.Errorf("%d: metadata %v", i, d.Metadata)
				}
			}
		})
	}
}

func (o outcome) input() *policy.Input {
	in := &policy.Input{
		TenantID: "acme", Identity: o.identity, Method: o.method, Host: "acme.example",
		Segments: strings.Split(o.path, "/"), Headers: o.headers,
	}
	if o.tenant != "" {
		in.TenantID = o.tenant
	}
	if o.body != nil {
		in.Body = *o.body
	}
	if o.route.Match != "" {
		in.Route = policy.NewRoute(o.route)
	}
	return in
}

// configOf reads the part of a configuration that is beside the policy.
func configOf(t *testing.T, dir string) policy.Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var part struct {
		Routes []tenants.Route
		Policy struct {
			Entrypoint      string
			Paths           []string
			ProtoDescriptor string `yaml:"proto_descriptor"`
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&part); err != nil || len(part.Policy.Paths)+len(part.Routes) == 0 {
		t.Fatalf("%s: %v %+v", dir, err, part)
	}
	cfg := policy.Config{Entrypoint: part.Policy.Entrypoint, Timeout: time.Minute} // the race detector is slow
	if len(part.Policy.Paths) > 0 {
		cfg.Paths = []string{dir}
	}
	if name, ok := strings.CutSuffix(part.Policy.ProtoDescriptor, ".pb"); ok {
		source, err := os.ReadFile(filepath.Join(dir, name+".proto"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.ProtoDescriptor = prototest.Write(t, prototest.Set(prototest.Compile(t, string(source))))
	}
	return cfg
}

// merged writes the example's data with what a question changes of it.
func merged(t *testing.T, file, change string) string {
	t.Helper()
	base, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var terms [2]*ast.Term
	for i, text := range []string{string(base), change} {
		terms[i] = ast.MustParseTerm(text)
	}
	both, ok := mergeTerms(terms[0].Value.(ast.Object), terms[1].Value.(ast.Object))
	if !ok {
		t.Fatalf("%s and %s don't merge", base, change)
	}
	path := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(path, []byte(both.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mergeTerms(a, b ast.Object) (ast.Object, bool) {
	return a.MergeWith(b, func(x, y *ast.Term) (*ast.Term, bool) {
		xo, okx := x.Value.(ast.Object)
		yo, oky := y.Value.(ast.Object)
		if !okx || !oky {
			return y, false
		}
		m, ok := mergeTerms(xo, yo)
		return ast.NewTerm(m), !ok
	})
}

// TestWholeFolder runs what `opa test --strict policies/` runs: every Rego test
// here, the examples' too, which bring their own data.
func TestWholeFolder(t *testing.T) {
	loaded, err := loader.NewFileLoader().WithProcessAnnotation(true).All([]string{"."})
	if err != nil {
		t.Fatal(err)
	}
	modules := loaded.ParsedModules()
	coverage := cover.New()
	results, err := tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithStrict(true)).
		SetStore(inmem.NewFromObject(loaded.Documents)).
		SetModules(modules).
		SetTimeout(time.Minute).
		SetCoverageQueryTracer(coverage).
		RunTests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for result := range results {
		ran[filepath.Dir(result.Location.File)]++
		if !result.Pass() {
			t.Errorf("%s: %s.%s: %v", result.Location, result.Package, result.Name, result)
		}
	}
	report := coverage.Report(modules)
	for _, name := range examples(t) {
		dir := filepath.Join("examples", name)
		if ran[dir] < 3 {
			t.Errorf("%s: %d tests ran", dir, ran[dir])
		}
		file := filepath.Join(dir, "policy.rego")
		if len(configOf(t, dir).Paths) == 0 {
			continue // the embedded policy
		}
		if report.Files[file] == nil {
			t.Fatalf("%s: nothing is covered", file)
		}
		for _, part := range report.Files[file].NotCovered {
			t.Errorf("%s:%d: no test reaches this line, to line %d", file, part.Start.Row, part.End.Row)
		}
	}
	for file, module := range loaded.Modules {
		if formatted, err := format.Source(file, module.Raw); err != nil || !bytes.Equal(formatted, module.Raw) {
			t.Errorf("%s: not formatted, run opa fmt --write: %v", file, err)
		}
	}
}
