package policy_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// masked is an engine whose policy has a mask for the decision log too.
func masked(t *testing.T, rego string) *policy.Engine {
	t.Helper()
	return engine(t, "default decision := false", func(c *policy.Config) {
		c.Paths = append(c.Paths, write(t, "mask.rego", "package system.log\n"+rego))
	})
}

// OPA's forms of a mask rule, over an event that is no request: input.input
// would be a fault under the request's schema.
func TestMask(t *testing.T) {
	e := masked(t, `
mask contains "/input/request/path" if input.result.reason == "allowed"
mask contains {"op": "upsert", "path": "/sub", "value": sprintf("user-%d", [count(input.input.request.segments)])}
`)
	if !e.HasMask() {
		t.Fatal("the mask is not found")
	}
	got, err := e.Mask(t.Context(), map[string]any{
		"result": map[string]any{"reason": "allowed"},
		"input":  map[string]any{"request": map[string]any{"segments": []any{"a", "b"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b policy.Mask) int { return strings.Compare(a.Path, b.Path) })
	want := []policy.Mask{{Op: "remove", Path: "/input/request/path"}, {Op: "upsert", Path: "/sub", Value: "user-2"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoMask(t *testing.T) {
	e := engine(t, "default decision := false")
	if masks, err := e.Mask(t.Context(), nil); e.HasMask() || len(masks) > 0 || err != nil {
		t.Errorf("%v %v", masks, err)
	}
	e = masked(t, `other := 1`)
	if masks, err := e.Mask(t.Context(), map[string]any{}); len(masks) > 0 || err != nil {
		t.Errorf("an undefined mask: %v %v", masks, err)
	}
}

// What can't be read as a mask is an error, never no mask.
func TestMaskFaults(t *testing.T) {
	for rego, want := range map[string]string{
		`mask := "/input"`:                        "no set",
		`mask contains 7`:                         "write a path",
		`mask := [1/input.zero]`:                  "",
		`mask := {"/a"} if count(input) > 0`:      "",
		`mask := {"/a", 1} if input.zero == 0`:    "write a path",
		`mask contains concat("", input.nothing)`: "",
	} {
		_, err := masked(t, rego).Mask(t.Context(), map[string]any{"zero": 0})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", rego, err)
		}
	}
	_, err := policy.New(t.Context(), policy.Config{Paths: []string{write(t, "mask.rego", "package system.log\nmask contains x")}})
	if err == nil || !strings.Contains(err.Error(), "mask.rego:2") {
		t.Errorf("a mask that does not compile: %v", err)
	}
}

// The document that is logged holds what the policy saw but for the credentials.
func TestAppendInput(t *testing.T) {
	e := engine(t, "default decision := false\ndecision if input.attributes.request.http.headers.a")
	in := getPosts()
	in.Headers = append(in.Headers, policy.Header{Name: "authorization", Value: "Bearer s3cret"})
	in.Attributes = func() (any, error) {
		return map[string]any{"request": map[string]any{"http": map[string]any{
			"headers": map[string]any{"Authorization": "Bearer s3cret", "x-a": "1"},
			// As Envoy's encode_raw_headers and protojson have it.
			"headerMap": map[string]any{"headers": []any{
				map[string]any{"key": "Authorization", "rawValue": "QmVhcmVyIHMzY3JldA=="},
				map[string]any{"key": "cookie", "value": "a=s3cret"},
				map[string]any{"key": "x-a", "rawValue": "MQ=="},
			}},
		}}}, nil
	}
	text, err := e.AppendInput([]byte("before "), in, func(name string) bool { return name == "authorization" || name == "cookie" })
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "s3cret") || strings.Contains(string(text), "QmVhcmVy") || strings.Contains(string(text), "a=1;") {
		t.Errorf("a credential is in it: %s", text)
	}
	after, ok := strings.CutPrefix(string(text), "before ")
	var doc map[string]any
	if err := json.Unmarshal([]byte(after), &doc); !ok || err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if !strings.Contains(string(text), `{"key":"cookie","value":"a=(masked)"},{"key":"x-a","rawValue":"MQ=="}]}`) {
		t.Errorf("the other lines are gone, or the names of cookies: %s", text)
	}
	request := doc["request"].(map[string]any)
	if request["path"] != "/posts/4 2" || request["headers"].(map[string]any)["x-a"] != "1,2" {
		t.Errorf("%v", request)
	}
}

// An event holds what a client sent: the functions of a mask have their limits too.
func TestMaskWithinLimits(t *testing.T) {
	e := masked(t, `mask contains "/sub" if graphql.parse_query(input.query)`)
	masks, err := e.Mask(t.Context(), map[string]any{"query": "{a(x:" + strings.Repeat("[", 1_000_000)})
	if err == nil || !strings.Contains(err.Error(), "graphql.parse_query") {
		t.Errorf("%v (%v)", masks, err)
	}
}
