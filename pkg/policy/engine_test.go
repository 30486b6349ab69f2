package policy_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// engine compiles one policy of package test whose rule is decision.
func engine(t *testing.T, rego string, change ...func(*policy.Config)) *policy.Engine {
	t.Helper()
	cfg := policy.Config{
		Entrypoint: "test/decision", Paths: []string{write(t, "test.rego", "package test\n"+rego)},
		Timeout: 10 * time.Second, // the race detector on a busy machine is slow
	}
	for _, f := range change {
		f(&cfg)
	}
	e, err := policy.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var alice = &jwtverify.Identity{
	Subject: "user:alice", UserID: "user:alice", TenantID: "acme", WorkspaceID: "ws_1",
	Roles: []string{"editor"}, Scopes: []string{"read:posts"}, TokenType: "access",
	Expiry: time.Unix(1900000000, 0), Claims: jwtverify.NewClaims(map[string]any{"company_id": "c1"}),
}

func getPosts() *policy.Input {
	return &policy.Input{
		TenantID: "acme", Issuer: "https://sso.acme.example", Identity: alice,
		Method: "GET", Host: "acme.example", Segments: []string{"posts", "4 2"},
		RawQuery: "a=1&a=2&b=%zz&c=x;y&d",
		Headers:  []policy.Header{{Name: "x-a", Value: "1"}, {Name: "x-a", Value: "2"}, {Name: "cookie", Value: "a=1"}, {Name: "cookie", Value: "b=2"}, {Name: "x-bad", Value: "\xff"}},
		Route:    policy.NewRoute(policy.RouteFields{Match: "GET /posts/{id}", Scopes: []string{"read:posts"}}),
		Params:   []policy.Header{{Name: "id", Value: "4 2"}},
	}
}

func TestResults(t *testing.T) {
	deny := func(reason answers.Reason) policy.Decision { return policy.Decision{Reason: reason} }
	body := "sorry"
	for _, tt := range []struct {
		name, rego string
		want       policy.Decision
	}{
		{"true allows", `decision := true`, policy.Decision{Allowed: true, Reason: answers.Allowed}},
		{"false denies", `decision := false`, deny(answers.PolicyDenied)},
		{"an object allows", `decision := {"allowed": true}`, policy.Decision{Allowed: true, Reason: answers.Allowed}},
		{"an object denies", `decision := {"allowed": false}`, deny(answers.PolicyDenied)},
		{"a denial can't be called allowed", `decision := {"allowed": false, "reason": "allowed"}`, deny(answers.PolicyDenied)},
		{"an allow has one reason", `decision := {"allowed": true, "reason": "insufficient_scope"}`, policy.Decision{Allowed: true, Reason: answers.Allowed}},
		{"a reason of the table", `decision := {"allowed": false, "reason": "insufficient_scope", "detail": "no"}`, policy.Decision{Reason: answers.InsufficientScope, Detail: "no"}},
		{"a reason of its own", `decision := {"allowed": false, "reason": "out_of_hours"}`, deny("out_of_hours")},
		{"undefined", `decision := true if input.request.method == "nothing"`, deny(answers.PolicyError)},
		{"a string", `decision := "true"`, deny(answers.PolicyError)},
		{"a number", `decision := 1`, deny(answers.PolicyError)},
		{"null", `decision := null`, deny(answers.PolicyError)},
		{"a list", `decision := [true]`, deny(answers.PolicyError)},
		{"a set", `decision contains true`, deny(answers.PolicyError)},
		{"no allowed", `decision := {"reason": "x"}`, deny(answers.PolicyError)},
		{"allowed as a string", `decision := {"allowed": "true"}`, deny(answers.PolicyError)},
		{"an unknown key", `decision := {"allowed": true, "alowed": false}`, deny(answers.PolicyError)},
		{"a key that is no string", `decision := {"allowed": true, 1: 2}`, deny(answers.PolicyError)},
		{"a reason with blanks", `decision := {"allowed": false, "reason": "not now"}`, deny(answers.PolicyError)},
		{"two values", `decision := {"allowed": true}
decision := {"allowed": false} if input.request.method == "GET"`, deny(answers.PolicyError)},
		{"an error", `decision := {"allowed": true, "body": base64.decode("!")}`, deny(answers.PolicyError)},
		{"text that is no UTF-8", `decision := {"allowed": false, "body": base64.decode("/w==")}`, deny(answers.PolicyError)},
		{"a header name that is no UTF-8", `decision := {"allowed": true, "headers": {base64.decode("/w=="): "x"}}`, deny(answers.PolicyError)},
		{"a line break in a header", `decision := {"allowed": true, "headers": {"x-a": "1\r\nx-user-id: root"}}`, deny(answers.PolicyError)},
		{"a header without a name", `decision := {"allowed": true, "headers": {"": "1"}}`, deny(answers.PolicyError)},
		{"a pseudo-header", `decision := {"allowed": true, "headers": {":path": "/admin"}}`, deny(answers.PolicyError)},
		{"the host", `decision := {"allowed": true, "headers": {"Host": "other"}}`, deny(answers.PolicyError)},
		{"removing the host", `decision := {"allowed": true, "request_headers_to_remove": ["host"]}`, deny(answers.PolicyError)},
		{"Envoy's headers", `decision := {"allowed": true, "headers": {"x-envoy-decorator-operation": "x"}}`, deny(answers.PolicyError)},
		{"a status that ends nothing", `decision := {"allowed": false, "http_status": 100}`, deny(answers.PolicyError)},
		{"a status that is none", `decision := {"allowed": false, "http_status": 42}`, deny(answers.PolicyError)},
		{"a broken status", `decision := {"allowed": false, "http_status": 403.5}`, deny(answers.PolicyError)},
		{"a status as a string", `decision := {"allowed": false, "http_status": "403"}`, deny(answers.PolicyError)},
		{"metadata that is no object", `decision := {"allowed": true, "dynamic_metadata": []}`, deny(answers.PolicyError)},
		{"an object in pieces", `decision["allowed"] := input.request.method == "GET"
decision["detail"] := "never" if input.request.method == "PUT"
decision.http_status := 403`, policy.Decision{Allowed: true, Reason: answers.Allowed, Status: 403}},
		{"everything", `decision := {
	"allowed": false, "reason": "policy_denied", "detail": "d", "http_status": 302, "body": "sorry",
	"headers": [{"Location": "/login"}, {"Set-Cookie": ["a=1", "b=2"]}],
	"response_headers_to_add": {"x-r": "1"}, "request_headers_to_remove": ["X-Q"],
	"query_parameters_to_set": {"q": "1"}, "query_parameters_to_remove": ["r"],
	"dynamic_metadata": {"n": 1, "l": [{"x": 2}]},
}`, policy.Decision{
			Reason: answers.PolicyDenied, Detail: "d", Status: 302, Body: &body,
			Headers:         []policy.Header{{Name: "location", Value: "/login"}, {Name: "set-cookie", Value: "a=1"}, {Name: "set-cookie", Value: "b=2"}},
			ResponseHeaders: []policy.Header{{Name: "x-r", Value: "1"}},
			RemoveHeaders:   []string{"x-q"},
			SetQuery:        []policy.Header{{Name: "q", Value: "1"}},
			RemoveQuery:     []string{"r"},
			Metadata:        map[string]any{"n": 1.0, "l": []any{map[string]any{"x": 2.0}}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := engine(t, tt.rego).Decide(t.Context(), getPosts())
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(policy.Decision{}, "Err")); diff != "" {
				t.Errorf("decision (-want +got):\n%s\n%v", diff, got.Err)
			}
			if (got.Reason == answers.PolicyError) != (got.Err != nil) {
				t.Errorf("reason %q with error %v", got.Reason, got.Err)
			}
		})
	}
}

// Every expression must hold for the input of getPosts.
func TestInput(t *testing.T) {
	for _, expression := range []string{
		`input.tenant == {"id": "acme", "issuer": "https://sso.acme.example"}`,
		`input.identity.sub == "user:alice"`,
		`input.identity.user_id == "user:alice"`,
		`input.identity.tenant_id == "acme"`,
		`input.identity.workspace_id == "ws_1"`,
		`input.identity.roles == ["editor"]`,
		`input.identity.scopes == ["read:posts"]`,
		`input.identity.token_type == "access"`,
		`input.identity.session_id == ""`,
		`input.identity.exp == 1900000000`,
		`input.identity.claims.company_id == "c1"`,
		`input.request.method == "GET"`,
		`input.request.host == "acme.example"`,
		`input.request.path == "/posts/4 2"`,
		`input.request.segments == ["posts", "4 2"]`,
		`input.request.query == {"a": ["1", "2"], "b": ["%zz"], "c": ["x;y"], "d": [""]}`,
		`input.request.headers == {"x-a": "1,2", "cookie": "a=1; b=2", "x-bad": "\ufffd"}`,
		`input.route.match == "GET /posts/{id}"`,
		`input.route.params == {"id": "4 2"}`,
		`input.route.scopes == ["read:posts"]`,
		`input.route.any_scope == []`,
		`input.route.roles == []`,
		`input.route.all_roles == []`,
		`input.route.public == false`,
		`input.route.workspace == ""`,
		`input.route.access == ""`,
		`input.parsed_path == ["posts", "4 2"]`,
		`input.parsed_query == input.request.query`,
		`input.version == {"ext_authz": "v3", "encoding": "protojson"}`,
		`input.parsed_body == null`,
		`input.truncated_body == false`,
		`input.attributes.request.http.method == "GET"`,
		`count(input) == 10`,
		`data.usso.has_scope("read:posts")`,
		`not data.usso.has_scope("write:posts")`,
		`data.usso.authz.decision.allowed == true`,
	} {
		t.Run(expression, func(t *testing.T) {
			in := getPosts()
			in.Attributes = func() (any, error) {
				return map[string]any{"request": map[string]any{"http": map[string]any{"method": "GET"}}}, nil
			}
			e := engine(t, "default decision := false\ndecision if "+expression)
			if d := e.Decide(t.Context(), in); !d.Allowed {
				t.Errorf("false: %s (%v)", expression, d.Err)
			}
		})
	}
}

func TestNoTokenAndNoRouteAreNull(t *testing.T) {
	in := getPosts()
	in.Identity, in.Route, in.Params = nil, nil, nil
	e := engine(t, `decision if { input.identity == null; input.route == null }`)
	if d := e.Decide(t.Context(), in); !d.Allowed {
		t.Errorf("identity and route are not null: %v", d.Err)
	}
}

// The attributes cost much to build, so only a policy that can see them pays.
func TestAttributesAreBuiltOnDemand(t *testing.T) {
	for _, tt := range []struct {
		rego string
		want bool
	}{
		{`decision if input.request.method == "GET"`, false},
		{`decision if input.attributes.request`, true},
		{`decision if count(input) > 0`, true},
		{`decision if { some k; input[k] }`, true},
		{"import input.attributes.request as r\ndecision if r.http", true},
		{`decision if object.get(input, "attributes", false)`, true},
		{`decision if { x := input; x.attributes }`, true},
		{`decision if walk(input, [_, "GET"])`, true},
	} {
		called := false
		in := getPosts()
		in.Attributes = func() (any, error) {
			called = true
			return map[string]any{"request": map[string]any{"http": "x"}}, nil
		}
		engine(t, tt.rego).Decide(t.Context(), in)
		if called != tt.want {
			t.Errorf("%s: attributes built: %v", tt.rego, called)
		}
	}
}

func TestBodies(t *testing.T) {
	const multipart = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x\r\nContent-Disposition: form-data; name=\"j\"\r\nContent-Type: application/json\r\n\r\n{\"k\": 2}\r\n--x--\r\n"
	for _, tt := range []struct {
		name string
		body policy.Body
		want string
	}{
		{"json", policy.Body{ContentType: "application/json; charset=utf-8", Bytes: []byte(`{"a": 1}`)}, `input.parsed_body == {"a": 1}`},
		{"json in capitals", policy.Body{ContentType: "Application/JSON", Bytes: []byte(`{"a": 1}`)}, `input.parsed_body == {"a": 1}`},
		{"json of a malformed type", policy.Body{ContentType: "application/json; a=1; a=2; x", Bytes: []byte(`{"a": 1}`)}, `input.parsed_body == {"a": 1}`},
		{"json beside another type", policy.Body{ContentType: "text/plain,application/json", Bytes: []byte(`{"a": 1}`)}, `input.parsed_body == {"a": 1}`},
		{"every digit", policy.Body{ContentType: "application/json", Bytes: []byte(`9007199254740993`)}, `input.parsed_body == 9007199254740993`},
		{"form", policy.Body{ContentType: "application/x-www-form-urlencoded", Bytes: []byte(`a=1&a=2`)}, `input.parsed_body == {"a": ["1", "2"]}`},
		{"multipart", policy.Body{ContentType: "multipart/form-data; boundary=x", Bytes: []byte(multipart)}, `input.parsed_body == {"a": ["1"], "j": [{"k": 2}]}`},
		{"other", policy.Body{ContentType: "text/plain", Bytes: []byte("x")}, `input.parsed_body == null`},
		{"empty", policy.Body{ContentType: "application/json"}, `[input.parsed_body, input.truncated_body] == [null, false]`},
		{"multipart without a boundary", policy.Body{ContentType: "multipart/form-data", Bytes: []byte(multipart)}, `[input.parsed_body, input.truncated_body] == [null, false]`},
		{"shorter than it says", policy.Body{ContentType: "application/json", ContentLength: "9", Bytes: []byte(`{}`)}, `{input.parsed_body, input.truncated_body} == {null, true}`},
		{"nothing of what it says", policy.Body{ContentType: "application/json", ContentLength: "9"}, `[input.parsed_body, input.truncated_body] == [null, true]`},
		{"nothing, as it says", policy.Body{ContentType: "application/json", ContentLength: "0"}, `[input.parsed_body, input.truncated_body] == [null, false]`},
		{"a WebSocket's", policy.Body{Upgrade: true}, `[input.parsed_body, input.truncated_body] == [null, true]`},
		{"the same length twice", policy.Body{ContentType: "application/json", ContentLength: "2, 2", Bytes: []byte(`{}`)}, `[input.parsed_body, input.truncated_body] == [{}, false]`},
		{"two lengths", policy.Body{ContentType: "application/json", ContentLength: "2,3", Bytes: []byte(`{}`)}, `[input.parsed_body, input.truncated_body] == [null, true]`},
		{"cut by Envoy", policy.Body{ContentType: "application/json", Partial: true, Bytes: []byte(`{}`)}, `{input.parsed_body, input.truncated_body} == {null, true}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := getPosts()
			in.Body = tt.body
			if d := engine(t, "decision if "+tt.want).Decide(t.Context(), in); !d.Allowed {
				t.Errorf("false: %s (%v)", tt.want, d.Err)
			}
		})
	}
	for _, bad := range []policy.Body{
		{ContentType: "application/json", Bytes: []byte(`{"a":`)},
		{ContentType: "application/json", Bytes: []byte(`{} {"evil": 1}`)},
		{ContentType: "multipart/form-data; boundary=x; boundary=y", Bytes: []byte("--x--")},
		{ContentType: "application/x-www-form-urlencoded", Bytes: []byte(`%zz`)},
		{ContentType: "multipart/form-data; boundary=x", Bytes: []byte(`--y`)},
	} {
		in := getPosts()
		in.Body = bad
		if d := engine(t, `decision if not input.parsed_body.evil`).Decide(t.Context(), in); d.Reason != answers.InvalidRequest {
			t.Errorf("%s: a body that can't be read gives %q", bad.ContentType, d.Reason)
		}
	}
}

// A name that comes very often costs as much as many names: the input is built
// before the time limit of the evaluation begins.
func TestRepeatedNamesAreLinear(t *testing.T) {
	e := engine(t, `decision if count(input.request.query.a) == 100000`)
	in := getPosts()
	in.RawQuery = strings.Repeat("a&", 100_000)
	for range 1000 {
		in.Headers = append(in.Headers, policy.Header{Name: "x-a", Value: strings.Repeat("v", 1000)})
	}
	start := time.Now()
	if d := e.Decide(t.Context(), in); !d.Allowed {
		t.Errorf("denied: %v", d.Err)
	}
	if took := time.Since(start); took > 5*time.Second { // a list copied each time takes minutes
		t.Errorf("took %v", took)
	}
}

func TestTimeLimit(t *testing.T) {
	e := engine(t, `decision if { some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a + b == -1 }`,
		func(c *policy.Config) { c.Timeout = 20 * time.Millisecond })
	start := time.Now()
	if d := e.Decide(t.Context(), getPosts()); d.Reason != answers.PolicyError {
		t.Errorf("an endless policy gives %q", d.Reason)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	ctx, cancel := context.WithDeadline(t.Context(), start)
	defer cancel()
	if d := engine(t, `decision := true`).Decide(ctx, getPosts()); d.Allowed {
		t.Error("allowed after the deadline")
	}
}

func TestFaultsOfLoading(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		name string
		cfg  policy.Config
		want string
	}{
		{"syntax", policy.Config{Paths: []string{write(t, "a.rego", "package a\nx := := 1")}}, "a.rego:2"},
		{"unknown function", policy.Config{Paths: []string{write(t, "a.rego", "package a\nx := nothing(1)")}}, "undefined function nothing"},
		{"network", policy.Config{Paths: []string{write(t, "a.rego", `package a
x := http.send({"method": "get", "url": "http://127.0.0.1"})`)}}, "policy.allow_net"},
		{"recursion", policy.Config{Paths: []string{write(t, "a.rego", "package a\nx if y\ny if x")}}, "recursive"},
		{"no file", policy.Config{Paths: []string{missing}}, "missing"},
		{"no Rego", policy.Config{Paths: []string{write(t, "a.json", "{}")}}, "no .rego file"},
		{"no package", policy.Config{Entrypoint: "a/b", Paths: []string{write(t, "a.rego", "package c\nb := true")}}, "no policy has the package a"},
		{"no rule", policy.Config{Entrypoint: "a/b", Paths: []string{write(t, "a.rego", "package a\nc := true")}}, "the package has c"},
		{"a package", policy.Config{Entrypoint: "usso/authz"}, "the package"},
		{"a package of the user's", policy.Config{Entrypoint: "a/b", Paths: []string{write(t, "a.rego", "package a.b\nallowed := true")}}, "no policy has the package a"},
		{"no path", policy.Config{Entrypoint: "a//b"}, "usso/authz/decision"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.New(t.Context(), tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
		})
	}
}

// Kubernetes mounts a second copy of each file under ..data; tests lie beside
// what they test.
func TestFilesThatDoNotServe(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.rego":           "package test\ndecision := data.limits.open",
		"limits/data.json": `{"open": true}`,
		"..data/a.rego":    "package test\ndecision := false",
		"a_test.rego":      "package test_test\ntest_x if nothing(1)",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e, err := policy.New(t.Context(), policy.Config{Entrypoint: "test/decision", Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Decide(t.Context(), getPosts()); !d.Allowed {
		t.Errorf("denied: %v", d.Err)
	}
}

func TestRevision(t *testing.T) {
	one, same, other := engine(t, "decision := true"), engine(t, "decision := true"), engine(t, "decision := false")
	if one.Revision() != same.Revision() || one.Revision() == other.Revision() || one.Revision() == "" {
		t.Errorf("revisions %q, %q, %q", one.Revision(), same.Revision(), other.Revision())
	}
}

// A user's file may write the embedded policy anew; the library stays.
func TestOwnDefaultPolicy(t *testing.T) {
	path := write(t, "own.rego", "package usso.authz\ndecision := data.usso.has_role(\"editor\")")
	e, err := policy.New(t.Context(), policy.Config{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Decide(t.Context(), getPosts()); !d.Allowed {
		t.Errorf("denied: %v", d.Err)
	}
}

// TestRuleOverData: data that a rule would hide is a fault, as in OPA.
func TestRuleOverData(t *testing.T) {
	paths := []string{write(t, "p.rego", "package app\n\nallow := true\n"), write(t, "data.json", `{"app": {"allow": false}}`)}
	_, err := policy.New(t.Context(), policy.Config{Entrypoint: "app/allow", Paths: paths})
	if err == nil || !strings.Contains(err.Error(), "conflicting rule for data path app/allow found") {
		t.Errorf("error is %v", err)
	}
}
