package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// The author of a policy reads what is wrong with its result.
func TestResultFaultsAreNamed(t *testing.T) {
	header := func(size int) string {
		return fmt.Sprintf(`{"allowed": true, "headers": {"x-a": %q}}`, strings.Repeat("a", size))
	}
	for _, tt := range []struct{ name, result, want string }{
		{"a key that is no string", `{"allowed": true, 1: 2}`, "the result has a key that is no string: 1"},
		{"a reason that is no string", `{"allowed": false, "reason": 5}`, "the result's reason is number, not a string"},
		{"a detail that is no string", `{"allowed": false, "detail": ["d"]}`, "the result's detail is array, not a string"},
		{"a body that is no string", `{"allowed": false, "body": {}}`, "the result's body is object, not a string"},
		{"a detail that is too long", fmt.Sprintf(`{"allowed": false, "detail": %q}`, strings.Repeat("d", 1<<10+1)), "the result's detail has 1025 bytes, more than 1024"},
		{"a status that is no number", `{"allowed": false, "http_status": "403"}`, "the result's http_status is string, not a number"},
		{"a status that is no integer", `{"allowed": false, "http_status": 403.5}`, "the result's http_status 403.5 is no status"},
		{"a status without a meaning", `{"allowed": false, "http_status": 299}`, "the result's http_status 299 is no status"},
		{"a status beyond all", `{"allowed": false, "http_status": 1000}`, "the result's http_status 1000 is no status"},
		{"a status beyond integers", `{"allowed": false, "http_status": 99999999999999999999}`, "is no status"},
		{"headers that are no object", `{"allowed": true, "headers": "x-a: 1"}`, "the result's headers is string, not an object"},
		{"a list of other things", `{"allowed": true, "headers": ["x-a"]}`, "the result's headers is string, not a list of objects"},
		{"a header whose name is no string", `{"allowed": true, "headers": {1: "a"}}`, "the result's headers has a key that is no string"},
		{"a header whose value is no string", `{"allowed": true, "headers": {"x-a": 1}}`, "the result's headers is number, not a string or a list of strings"},
		{"a header with a list of other things", `{"allowed": true, "headers": {"x-a": [1]}}`, "the result's headers is number, not strings"},
		{"a header that is too long", header(16<<10 + 1), `the result's headers has a value for "x-a" that no header can carry`},
		{"a removal of no list", `{"allowed": true, "request_headers_to_remove": 5}`, "the result's request_headers_to_remove is number, not a string or a list of strings"},
		{"a removal of no name", `{"allowed": true, "request_headers_to_remove": ["x a"]}`, `the result's request_headers_to_remove names "x a", which a policy can't remove`},
		{"a removal of the host", `{"allowed": true, "request_headers_to_remove": ["Host"]}`, `names "Host", which a policy can't remove`},
		{"metadata of no object", `{"allowed": true, "dynamic_metadata": [1]}`, "the result's dynamic_metadata is array, not an object"},
		{"metadata that is too large", fmt.Sprintf(`{"allowed": true, "dynamic_metadata": {"a": %q}}`, strings.Repeat("a", 64<<10)), "the result's dynamic_metadata has more than 65536 bytes"},
		{"metadata that is too deep", `{"allowed": true, "dynamic_metadata": {"a": ` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}}`, "the result's dynamic_metadata is nested more than 16 levels deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := engine(t, "decision := "+tt.result).Decide(t.Context(), getPosts())
			if d.Allowed || d.Reason != answers.PolicyError || d.Err == nil || !strings.Contains(d.Err.Error(), tt.want) {
				t.Errorf("%v, %s: %.200v; want %s", d.Allowed, d.Reason, d.Err, tt.want)
			}
		})
	}
}

func TestResultsAtTheirBounds(t *testing.T) {
	long := strings.Repeat("a", 16<<10)
	d := engine(t, fmt.Sprintf(`decision := {
	"allowed": true, "headers": [{"x-a": %q}, {"x-b": {"1"}}], "http_status": 200,
	"query_parameters_to_remove": ["a b", "ü"], "request_headers_to_remove": "X-C",
	"dynamic_metadata": {"big": 12345678901234567890, "n": 0.5, "s": {1, "x"}},
}`, long)).Decide(t.Context(), getPosts())
	if !d.Allowed || d.Err != nil {
		t.Fatalf("%s: %v", d.Reason, d.Err)
	}
	want := policy.Decision{
		Allowed: true, Reason: answers.Allowed, Status: 200,
		Headers:       []policy.Header{{Name: "x-a", Value: long}, {Name: "x-b", Value: "1"}},
		RemoveHeaders: []string{"x-c"}, RemoveQuery: []string{"a b", "ü"},
		Metadata: map[string]any{"big": 12345678901234567890.0, "n": 0.5, "s": []any{1.0, "x"}},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

// A token without an end has none in the input either, and a cached decision of
// one does not serve the other.
func TestInputOfTokensWithoutEnd(t *testing.T) {
	endless := getPosts()
	identity := *alice
	identity.Expiry = time.Time{}
	endless.Identity = &identity
	for _, change := range []func(*policy.Config){func(*policy.Config) {}, cached} {
		e := engine(t, `decision := {"allowed": input.identity.exp == null, "detail": sprintf("%v", [input.identity.exp])}`, change)
		for range 2 {
			if d := e.Decide(t.Context(), endless); !d.Allowed || d.Detail != "null" {
				t.Errorf("without an end: %v %q %v", d.Allowed, d.Detail, d.Err)
			}
			if d := e.Decide(t.Context(), getPosts()); d.Allowed || d.Detail != "1900000000" {
				t.Errorf("with an end: %v %q %v", d.Allowed, d.Detail, d.Err)
			}
		}
	}
}

// The zero time has seconds of its own, which a token may name: it is another.
func TestEndOfTokensInKeys(t *testing.T) {
	at := func(expiry time.Time) *policy.Input {
		in, identity := getPosts(), *alice
		identity.Expiry = expiry
		in.Identity = &identity
		return in
	}
	e := engine(t, `decision := input.identity.exp == null`, cached)
	if d := e.Decide(t.Context(), at(time.Time{})); !d.Allowed {
		t.Fatal(d.Reason, d.Err)
	}
	if d := e.Decide(t.Context(), at(time.Unix(time.Time{}.Unix(), 1))); d.Allowed || d.Lookup == jwtverify.Hit {
		t.Errorf("%s, %v", d.Reason, d.Lookup)
	}
}

func TestAttributesThatAreNotThere(t *testing.T) {
	const rego = `default decision := {"allowed": false, "reason": "no_attributes"}
decision := true if input.attributes.source`
	with := func(attributes func() (any, error)) *policy.Input {
		in := getPosts()
		in.Attributes = attributes
		return in
	}
	broken := fmt.Errorf("can't be read")
	for _, change := range []func(*policy.Config){func(*policy.Config) {}, cached} {
		e := engine(t, rego, change)
		for range 2 {
			if d := e.Decide(t.Context(), with(nil)); d.Reason != "no_attributes" {
				t.Errorf("no function: %s %v", d.Reason, d.Err)
			}
			if d := e.Decide(t.Context(), with(func() (any, error) { return nil, nil })); d.Reason != "no_attributes" {
				t.Errorf("nothing: %s %v", d.Reason, d.Err)
			}
			if d := e.Decide(t.Context(), with(func() (any, error) { return nil, broken })); d.Reason != answers.PolicyError || d.Err == nil || !strings.Contains(d.Err.Error(), "can't be read") {
				t.Errorf("an error: %s %v", d.Reason, d.Err)
			}
			// What came with an error is not looked at.
			if d := e.Decide(t.Context(), with(func() (any, error) { return map[string]any{"source": "x"}, broken })); d.Reason != answers.PolicyError {
				t.Errorf("an error and something: %s %v", d.Reason, d.Err)
			}
			if d := e.Decide(t.Context(), with(func() (any, error) { return map[string]any{"source": "x"}, nil })); !d.Allowed {
				t.Errorf("attributes: %s %v", d.Reason, d.Err)
			}
		}
	}
}

// Metadata has float64 alone: a number beyond it is its digits.
func TestMetadataBeyondFloat64(t *testing.T) {
	d := engine(t, `decision := {"allowed": true, "dynamic_metadata": {"n": 1e400, "m": -1e400, "k": 1e300}}`).Decide(t.Context(), getPosts())
	if diff := cmp.Diff(map[string]any{"n": "1e400", "m": "-1e400", "k": 1e300}, d.Metadata); !d.Allowed || diff != "" {
		t.Errorf("%s, %v: %s", d.Reason, d.Err, diff)
	}
}
