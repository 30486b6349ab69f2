package metamorphic

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// eachTenant changes every tenant's block.
func eachTenant(change func(block map[string]any)) func(map[string]any) {
	return func(config map[string]any) {
		blocks, _ := config["tenants"].(map[string]any)
		for _, block := range blocks {
			if block, ok := block.(map[string]any); ok {
				change(block)
			}
		}
	}
}

// firstLines are headers of which the first line alone is read.
func firstLines(names ...string) func(*request) {
	return func(r *request) {
		seen := map[string]bool{}
		r.Headers = slices.DeleteFunc(r.Headers, func(h [2]string) bool {
			name := strings.ToLower(h[0])
			twice := seen[name] && slices.Contains(names, name)
			seen[name] = true
			return twice
		})
	}
}

// defects are mistakes that a service could have: what it does is as if its
// configuration, or the request, were another.
var defects = []defect{
	{name: "aud is not looked at", want: "token_invalid", tree: eachTenant(func(b map[string]any) { b["verify_aud"] = false })},
	{name: "iss is not looked at", want: "token_invalid", tree: eachTenant(func(b map[string]any) { b["verify_iss"] = false; b["tenant_ids"] = "*" })},
	{name: "tenant_id is not looked at", want: "token_invalid", tree: eachTenant(func(b map[string]any) { b["tenant_ids"] = "*" })},
	{name: "a minute more than the leeway", want: "token_expired", tree: eachTenant(func(b map[string]any) { b["leeway"] = "70s" })},
	{name: "a refresh token is good", want: "token_invalid", tree: eachTenant(func(b map[string]any) { b["token_types"] = []string{"access", "temporary", "secure", "refresh"} })},
	{name: "nothing is revoked", want: "token_revoked", tree: func(c map[string]any) { delete(c, "revocation") }},
	{name: "no route asks for a workspace", want: "workspace_mismatch", tree: func(c map[string]any) { eachRoute(c, func(r map[string]any) { delete(r, "workspace") }) }},
	{name: "one role of all is enough", want: "insufficient_role", tree: func(c map[string]any) {
		eachRoute(c, func(r map[string]any) {
			if r["roles"] == nil && r["all_roles"] != nil {
				r["roles"] = r["all_roles"]
				delete(r, "all_roles")
			}
		})
	}},
	{name: "the token stays in the request", want: "allowed", tree: func(c map[string]any) { delete(c, "forward_token") }},
	{name: "the first of two lines of the token counts", want: "invalid_request", alter: firstLines("authorization", "x-token")},
	{name: "slashes are merged", want: "invalid_request", alter: func(r *request) { r.Path = strings.ReplaceAll(r.Path, "//", "/") }},
	{name: "case is no reading", want: "no_route", tree: func(c map[string]any) {
		all := []any{"slash", "parameters", "case", "extension", "trailing"}
		drop := func(in map[string]any, common bool) {
			if names, ok := in["path_readings"].([]any); ok || common {
				if !ok {
					names = all
				}
				in["path_readings"] = slices.DeleteFunc(slices.Clone(names), func(n any) bool { return n == "case" })
			}
		}
		drop(c, true)
		eachTenant(func(b map[string]any) { drop(b, false) })(c)
	}},
	{name: "answers are kept by all but the method", requests: 2, key: func(r request) string {
		r.Method = ""
		return fmt.Sprintf("%q", r)
	}},
	{name: "spoofed headers stay", want: "allowed", alter: func(r *request) {
		r.Headers = slices.DeleteFunc(r.Headers, func(h [2]string) bool { return h[1] == "root" && strings.ContainsAny(h[0], "_.!") })
	}},
}

// eachRoute changes every route, the common ones and the tenants' own.
func eachRoute(config map[string]any, change func(map[string]any)) {
	all := func(routes any) {
		list, _ := routes.([]any)
		for _, route := range list {
			change(route.(map[string]any))
		}
	}
	all(config["routes"])
	eachTenant(func(b map[string]any) { all(b["routes"]) })(config)
}

// A runner that finds nothing proves nothing: it finds each of these mistakes,
// and says so in a few lines.
func TestDefectsAreFound(t *testing.T) {
	keys, now := signers(), time.Now().Truncate(time.Second)
	r := newRunner(t.TempDir(), t.TempDir())
	for _, mistake := range defects {
		t.Run(mistake.name, func(t *testing.T) {
			r.defect = mistake
			s, d := firstDifference(t, r, keys, now, mistake.want)
			small := r.shrink(s, d)
			text, err := yaml.Marshal(small)
			if err != nil {
				t.Fatal(err)
			}
			requests := 0
			for _, st := range small.Steps {
				requests += len(st.Requests)
			}
			const lines = 45
			if got := strings.Count(string(text), "\n"); got > lines || requests > max(1, mistake.requests) {
				t.Errorf("%d lines and %d requests: no small case\n%s", got, requests, text)
			}
		})
	}
}

// firstDifference returns the first difference of an answer that should be want;
// "": any. A mistake may show in others too: without its spoofed headers a request
// may lack the second spelling of a tenant.
func firstDifference(t *testing.T, r *runner, keys []*signer, now time.Time, want string) (*scenario, *difference) {
	t.Helper()
	const patience = 1000
	for seed := range uint64(patience) {
		s := newGenerator(seed, keys, now).scenario().clone()
		d, err := r.run(s)
		switch {
		case errors.Is(err, errConfig):
		case err != nil:
			t.Fatal(err)
		case d != nil && (want == "" || d.want.Reason == want):
			t.Logf("found by scenario %d: %s, not %s", seed, d.got.Reason, d.want.Reason)
			return s, d
		}
	}
	t.Fatalf("not found by %d scenarios", patience)
	return nil, nil
}
