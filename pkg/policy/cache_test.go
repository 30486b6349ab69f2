package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func cached(c *policy.Config) { c.DecisionCache = 1 << 20 }

// What one entry shares with all others must say nothing of its own, in whatever
// field a Decision has or gets.
func TestPlainAllow(t *testing.T) {
	plain := policy.Decision{Allowed: true, Reason: answers.Allowed}
	if !plain.IsPlainAllow() {
		t.Error("a plain allow is none")
	}
	said := map[string]any{
		"Allowed": false, "Reason": answers.Reason("own"), "Detail": "d", "Status": 200, "Body": new(string), "Err": errors.New("e"),
		"Headers": make([]policy.Header, 1), "ResponseHeaders": make([]policy.Header, 1), "SetQuery": make([]policy.Header, 1),
		"RemoveHeaders": make([]string, 1), "RemoveQuery": make([]string, 1), "Metadata": map[string]any{},
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[policy.Decision]()) {
		if field.Name == "Lookup" { // no part of the answer
			continue
		}
		d := plain
		reflect.ValueOf(&d).Elem().FieldByIndex(field.Index).Set(reflect.ValueOf(said[field.Name]))
		if d.IsPlainAllow() {
			t.Errorf("%s is lost", field.Name)
		}
	}
}

func TestDecisionsAreCachedByWhatIsRead(t *testing.T) {
	const rego = `default decision := {"allowed": false, "detail": "no"}
decision := {"allowed": true, "headers": {"x-who": input.identity.sub}} if input.request.query.a[_] == "1"`
	for _, tt := range []struct {
		name   string
		change func(*policy.Input)
		want   jwtverify.Lookup
	}{
		{"the same", func(*policy.Input) {}, jwtverify.Hit},
		{"the path", func(in *policy.Input) { in.Segments = []string{"other"} }, jwtverify.Hit},
		{"a header", func(in *policy.Input) { in.Headers = nil }, jwtverify.Hit},
		{"another member of the query", func(in *policy.Input) { in.RawQuery = "z=1&a=1&a=2" }, jwtverify.Hit},
		{"another spelling of the name", func(in *policy.Input) { in.RawQuery = "%61=1&a=2" }, jwtverify.Hit},
		{"the token's end", func(in *policy.Input) { id := *alice; id.Expiry = id.Expiry.Add(1e9); in.Identity = &id }, jwtverify.Hit},
		{"a claim", func(in *policy.Input) { id := *alice; id.Claims = nil; in.Identity = &id }, jwtverify.Hit},
		{"a value of the query", func(in *policy.Input) { in.RawQuery = "a=1&a=3" }, jwtverify.Miss},
		{"a value less", func(in *policy.Input) { in.RawQuery = "a=1" }, jwtverify.Miss},
		{"the subject", func(in *policy.Input) { id := *alice; id.Subject = "bob"; in.Identity = &id }, jwtverify.Miss},
		{"no token", func(in *policy.Input) { in.Identity = nil }, jwtverify.Miss},
		{"the tenant", func(in *policy.Input) { in.TenantID = "globex" }, jwtverify.Miss},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, plain := engine(t, rego, cached), engine(t, rego)
			if d := e.Decide(t.Context(), getPosts()); d.Lookup != jwtverify.Miss || !d.Allowed {
				t.Fatalf("the first: %+v", d)
			}
			in := getPosts()
			tt.change(in)
			got := e.Decide(t.Context(), in)
			if got.Lookup != tt.want {
				t.Errorf("lookup %v, want %v", got.Lookup, tt.want)
			}
			want := plain.Decide(t.Context(), in)
			if want.Lookup != jwtverify.NoLookup {
				t.Errorf("lookup %v without a cache", want.Lookup)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(policy.Decision{}, "Lookup")); diff != "" {
				t.Errorf("cached (-uncached +cached):\n%s", diff)
			}
		})
	}
}

// Requests that are no more than near each other have keys of their own. Each
// is asked after all before it, by a policy that tells what it sees.
func TestKeysDoNotMeet(t *testing.T) {
	claims := func(c map[string]any) func(*policy.Input) {
		return func(in *policy.Input) { id := *alice; id.Claims = jwtverify.NewClaims(c); in.Identity = &id }
	}
	for _, tt := range []struct {
		ref    string
		inputs []func(*policy.Input)
	}{
		{"input.identity.claims.a.b", []func(*policy.Input){
			claims(nil), claims(map[string]any{"a": nil}), claims(map[string]any{"a": "x"}), claims(map[string]any{"a": map[string]any{}}),
			claims(map[string]any{"a": map[string]any{"b": nil}}), claims(map[string]any{"a": map[string]any{"b": "x"}}), claims(map[string]any{"a": map[string]any{"b": "null"}}),
			claims(map[string]any{"a": map[string]any{"b": json.Number("1")}}), claims(map[string]any{"a": map[string]any{"b": "1"}}),
			claims(map[string]any{"a": map[string]any{"b": true}}), claims(map[string]any{"a": map[string]any{"b": "true"}}),
			claims(map[string]any{"a": map[string]any{"b": []any{}}}), claims(map[string]any{"a": map[string]any{"b": map[string]any{}}}),
			claims(map[string]any{"a": map[string]any{"b": []any{"x"}}}), claims(map[string]any{"a": []any{map[string]any{"b": "x"}}}),
		}},
		{"input.attributes.source", []func(*policy.Input){
			func(in *policy.Input) {},
			func(in *policy.Input) { in.Attributes = func() (any, error) { return map[string]any{}, nil } },
			func(in *policy.Input) {
				in.Attributes = func() (any, error) { return map[string]any{"source": nil}, nil }
			},
		}},
		{`[input.request.headers["x-a"], object.get(input.request.query, "q", "none")]`, []func(*policy.Input){
			func(in *policy.Input) { in.RawQuery = "q=a" }, func(in *policy.Input) { in.RawQuery = "q=a&q" }, func(in *policy.Input) { in.RawQuery = "qq=a" },
			func(in *policy.Input) { in.Headers, in.RawQuery = []policy.Header{{Name: "x-a", Value: "q=a"}}, "" },
			func(in *policy.Input) {
				in.Headers, in.RawQuery = []policy.Header{{Name: "x-a", Value: ""}, {Name: "x-a", Value: "q=a"}}, ""
			},
		}},
		{"input.request.segments", []func(*policy.Input){
			func(in *policy.Input) { in.Segments = []string{"a/b"} }, func(in *policy.Input) { in.Segments = []string{"a", "b"} }, func(in *policy.Input) { in.Segments = []string{"a", "b", ""} },
		}},
		{"input.parsed_path[1]", []func(*policy.Input){
			func(in *policy.Input) { in.Segments = []string{"a"} }, func(in *policy.Input) { in.Segments = []string{"a", ""} }, func(in *policy.Input) { in.Segments = []string{"a", "U"} },
		}},
		{"input.identity.exp", []func(*policy.Input){
			func(in *policy.Input) { in.Identity = nil },
			func(in *policy.Input) { id := *alice; id.Expiry = time.Time{}; in.Identity = &id },
			func(in *policy.Input) { id := *alice; id.Expiry = time.Unix(0, 0); in.Identity = &id },
		}},
	} {
		rego := fmt.Sprintf("default decision := {\"allowed\": false, \"detail\": \"undefined\"}\ndecision := {\"allowed\": true, \"detail\": json.marshal(%s)}", tt.ref)
		e := engine(t, rego, cached)
		plain := e.Uncached()
		for i, change := range tt.inputs {
			in := getPosts()
			change(in)
			got, want := e.Decide(t.Context(), in), plain.Decide(t.Context(), in)
			if got.Detail != want.Detail {
				t.Errorf("%s, request %d: lookup %v, %q, want %q", tt.ref, i, got.Lookup, got.Detail, want.Detail)
			}
			if again := e.Decide(t.Context(), in); again.Lookup != jwtverify.Hit || again.Detail != want.Detail {
				t.Errorf("%s, request %d again: lookup %v, %q, want %q", tt.ref, i, again.Lookup, again.Detail, want.Detail)
			}
		}
	}
}

// What failed may not fail again, and a policy that can't be cached is not.
func TestNotCached(t *testing.T) {
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name, rego string
		ctx        context.Context
		body       policy.Body
		want       answers.Reason
	}{
		{"undefined", `decision if input.request.method == "PUT"`, context.Background(), policy.Body{}, answers.PolicyError},
		{"an error", `decision := {"allowed": input.request.method}`, context.Background(), policy.Body{}, answers.PolicyError},
		{"cancelled", `decision if input.request.method`, expired, policy.Body{}, answers.PolicyError},
		{"a malformed body", `decision if not input.parsed_body.x`, context.Background(), policy.Body{ContentType: "application/json", Bytes: []byte("{")}, answers.InvalidRequest},
		{"a long key", `decision if not input.parsed_body.x`, context.Background(), policy.Body{ContentType: "application/json", Bytes: []byte(`"` + strings.Repeat("x", 20<<10) + `"`)}, answers.Allowed},
		{"the clock", `decision if time.now_ns() > 0`, context.Background(), policy.Body{}, answers.Allowed},
		{"a claim that no JSON has", `decision if not input.identity.claims.odd`, context.Background(), policy.Body{}, answers.Allowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, tt.rego, cached)
			in := getPosts()
			id := *alice
			id.Claims = jwtverify.NewClaims(map[string]any{"odd": int32(0)})
			in.Identity, in.Body = &id, tt.body
			if tt.name == "a claim that no JSON has" {
				e = engine(t, "default decision := true\ndecision := false if input.identity.claims.odd == 1", cached)
			}
			for range 2 {
				if d := e.Decide(tt.ctx, in); d.Reason != tt.want || d.Lookup == jwtverify.Hit {
					t.Errorf("%q, lookup %v, want %q (%v)", d.Reason, d.Lookup, tt.want, d.Err)
				}
			}
			if s := e.CacheStats(); s.Entries != 0 || s.Bytes != 0 {
				t.Errorf("kept: %+v", s)
			}
		})
	}
}

// The answer does not depend on whether it was in the cache, after the deadline
// neither.
func TestNoHitAfterTheEnd(t *testing.T) {
	e := engine(t, `decision if input.request.method`, cached)
	e.Decide(t.Context(), getPosts())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d := e.Decide(ctx, getPosts()); d.Reason != answers.PolicyError {
		t.Errorf("%q from the cache, after the request was cancelled", d.Reason)
	}
}

// The memory of a request is not the decision's: a reader of wire bytes may
// use it again.
func TestDecisionsOutliveTheRequest(t *testing.T) {
	e := engine(t, `decision := {"allowed": false, "detail": input.request.host, "body": input.request.host, "reason": input.request.method,
	"headers": {"x-h": input.request.host}, "dynamic_metadata": {"h": [input.request.host, {input.request.host: 1}]}}`, cached)
	memory := []byte("host.example")
	in := getPosts()
	in.Host, in.Method = unsafeString(memory), "get"
	first := e.Decide(t.Context(), in)
	want := fmt.Sprintf("%+v %s", first.Metadata, *first.Body)
	in.Host = "host.example" // as a later request has it
	copy(memory, "EVIL")
	d := e.Decide(t.Context(), in)
	if got := fmt.Sprintf("%+v %s", d.Metadata, *d.Body); d.Lookup != jwtverify.Hit || got != want || d.Detail != "host.example" || d.Headers[0].Value != "host.example" {
		t.Errorf("lookup %v: %s, want %s: %+v", d.Lookup, got, want, d)
	}
}

// A tenant's flood leaves the entries of the others where they are.
func TestFloodOfOneTenant(t *testing.T) {
	e := engine(t, `decision if input.request.host`, func(c *policy.Config) { c.DecisionCache = 64 << 10 })
	ask := func(tenant, host string) jwtverify.Lookup {
		in := getPosts()
		in.TenantID, in.Host = tenant, host
		return e.Decide(t.Context(), in).Lookup
	}
	for i := range 20 {
		ask("acme", fmt.Sprint("own", i))
	}
	for i := range 2000 {
		ask("flood", fmt.Sprint("x", i))
	}
	for i := range 20 {
		if got := ask("acme", fmt.Sprint("own", i)); got != jwtverify.Hit {
			t.Errorf("own%d: lookup %v after another tenant's flood", i, got)
		}
	}
	if s := e.CacheStats(); s.Bytes > 64<<10 || s.Bytes < 32<<10 || s.Entries < 40 {
		t.Errorf("%+v of %d bytes", s, 64<<10)
	}
	// Alone, a tenant has it all; and what is in use stays.
	for i := range 2000 {
		ask("flood", fmt.Sprint("y", i))
		if got := ask("flood", "hot"); i > 0 && got != jwtverify.Hit {
			t.Fatalf("after %d others what is asked for all the time is gone", i)
		}
	}
}

// An engine's decisions are its own: a reload starts from nothing.
func TestReloadForgets(t *testing.T) {
	old, renewed := engine(t, `decision if input.request.method`, cached), engine(t, `decision := false if input.request.method`, cached)
	old.Decide(t.Context(), getPosts())
	if d := renewed.Decide(t.Context(), getPosts()); d.Allowed || d.Lookup != jwtverify.Miss {
		t.Errorf("%+v", d)
	}
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	e := engine(t, `decision if input.request.host == "h1"`, func(c *policy.Config) { c.DecisionCache = 16 << 10 })
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				in := getPosts()
				in.TenantID, in.Host = fmt.Sprint("t", (g+i)%3), fmt.Sprint("h", i%37)
				if d := e.Decide(t.Context(), in); d.Allowed != (in.Host == "h1") {
					t.Errorf("%s: %+v", in.Host, d)
				}
			}
		})
	}
	wg.Wait()
	if s := e.CacheStats(); s.Bytes > 16<<10 {
		t.Errorf("%+v", s)
	}
}

func unsafeString(b []byte) string { return unsafe.String(&b[0], len(b)) }
