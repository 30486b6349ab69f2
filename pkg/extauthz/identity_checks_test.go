package extauthz_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// oneTenant is acme with tokens of the test's own.
func oneTenant(t *testing.T, changes map[string]map[string]any) *world {
	t.Helper()
	issuer := newIssuer(t, "acme")
	routes, _ := tenants.NewRoutes([]tenants.Route{{Match: "GET /me"}, {Match: "GET /scoped", Scopes: []string{"a"}}})
	c := config(issuer, "acme", "acme.example")
	tenant, err := c.Build("", tenants.Shared{Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	directory, err := tenants.NewDirectory(tenants.Selection{}, []*tenants.Tenant{tenant})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(directory.Close)
	w := &world{directory: directory, tokens: map[string]string{}}
	for name, change := range changes {
		w.tokens[name] = mint(t, issuer, claims(change))
	}
	return w
}

func TestClaimHeaderValues(t *testing.T) {
	const most = 4 << 10
	for _, tt := range []struct {
		name  string
		claim any
		want  string // "": refused
	}{
		{"true", true, "true"},
		{"false", false, "false"},
		{"a number", 12, "12"},
		{"text", "a b%", "a%20b%25"},
		{"the longest", strings.Repeat("a", most), strings.Repeat("a", most)},
		{"a longer one", strings.Repeat("a", most+1), ""},
		{"longer once encoded", strings.Repeat(" ", most/3+1), ""},
		{"DEL", "a\x7f", ""},
		{"a control", "a\x1f", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := oneTenant(t, map[string]map[string]any{"x": {"company_id": tt.claim}})
			got := w.authorizer(t, policy.Config{}).Authorize(t.Context(), w.ask("GET", "/me", "x"))
			if tt.want == "" {
				if got.Allowed || got.Reason != answers.TokenInvalid {
					t.Errorf("got %s", got.Reason)
				}
				return
			}
			if !got.Allowed || value(got.Headers, "x-company-id") != tt.want {
				t.Errorf("%s: %q, want %q", got.Reason, value(got.Headers, "x-company-id"), tt.want)
			}
		})
	}
}

// A scope or role that would read as two, or as none, is no header's.
func TestListHeaderValues(t *testing.T) {
	w := oneTenant(t, map[string]map[string]any{
		"scope": {"scopes": []string{"a", "b c"}}, "empty scope": {"scopes": []string{"a\tb"}}, "role": {"roles": []string{"a,b"}},
		"good": {"scopes": []string{"a", "b,c"}, "roles": []string{"r"}},
	})
	a := w.authorizer(t, policy.Config{})
	for token, want := range map[string]answers.Reason{"scope": answers.TokenInvalid, "empty scope": answers.TokenInvalid, "role": answers.TokenInvalid, "good": answers.Allowed} {
		if got := a.Authorize(t.Context(), w.ask("GET", "/me", token)); got.Reason != want {
			t.Errorf("%s: %s, want %s: %v", token, got.Reason, want, got.Err)
		}
	}
}

// Digits tell one header from another: only signs are spelt in several ways.
func TestIdentityHeaderWithDigit(t *testing.T) {
	w := newWorld(t)
	numbered := func(c *extauthz.Config) { c.Headers = extauthz.IdentityHeaders{UserID: "X-User-1"} }
	for name, want := range map[string]answers.Reason{"x-user-1": answers.PolicyError, "x_user_1": answers.PolicyError, "x-user-2": answers.Allowed, "x-user--": answers.Allowed} {
		a := w.authorizer(t, own(t, `decision := {"allowed": true, "headers": {"`+name+`": "root"}}`), numbered)
		if got := a.Authorize(t.Context(), w.ask("GET", "/me", "alice")); got.Reason != want {
			t.Errorf("the policy sets %s: %s, want %s", name, got.Reason, want)
		}
	}
	got := w.authorizer(t, policy.Config{}, numbered).Authorize(t.Context(), w.ask("GET", "/me", "alice", [2]string{"x-user-2", "a"}, [2]string{"x_user_1", "b"}))
	if !got.Allowed || slices.Contains(got.RemoveHeaders, "x-user-2") || !slices.Contains(got.RemoveHeaders, "x_user_1") {
		t.Errorf("%s: removed %q", got.Reason, got.RemoveHeaders)
	}
}

func TestAdviceOfDenials(t *testing.T) {
	w := newWorld(t)
	plain := oneTenant(t, map[string]map[string]any{"none": {"scopes": []string{}}})
	t.Run("no scopes at all", func(t *testing.T) {
		x := plain.authorizer(t, policy.Config{}).Explain(t.Context(), plain.ask("GET", "/scoped", "none"))
		if want := "route GET /scoped needs scope a; the token has no scopes"; x.Advice != want {
			t.Errorf("got %s; want %s", x.Advice, want)
		}
	})
	t.Run("a body that is not its type", func(t *testing.T) {
		m := w.ask("GET", "/me", "alice", [2]string{"content-type", "application/json"}, [2]string{"content-length", "1"})
		m.Body, m.BodyText = []byte("{"), true
		x := w.authorizer(t, own(t, `decision if input.parsed_body.a == 1
default decision := false`)).Explain(t.Context(), m)
		if x.Answer.Reason != answers.InvalidRequest || !strings.HasPrefix(x.Advice, "the policy reads the body, which is not what its type says: ") {
			t.Errorf("%s: %s", x.Answer.Reason, x.Advice)
		}
	})
	t.Run("no time left", func(t *testing.T) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		x := w.authorizer(t, policy.Config{}).Explain(ctx, w.ask("GET", "/me", "alice"))
		if x.Answer.Reason != answers.Overloaded || !strings.HasPrefix(x.Advice, "there was no time left to evaluate the policy: context deadline exceeded") {
			t.Errorf("%s: %s", x.Answer.Reason, x.Advice)
		}
	})
	t.Run("a credential that is no token", func(t *testing.T) {
		x := w.authorizer(t, policy.Config{}).Explain(t.Context(), w.ask("GET", "/me", "", [2]string{"authorization", "Bearer a b"}))
		if x.Answer.Reason != answers.TokenInvalid || !strings.HasPrefix(x.Advice, "the credential is not one token: ") {
			t.Errorf("%s: %s", x.Answer.Reason, x.Advice)
		}
	})
	t.Run("a reason of routes without a route", func(t *testing.T) {
		for _, reason := range []string{"insufficient_scope", "insufficient_role", "workspace_mismatch"} {
			x := w.authorizer(t, own(t, `decision := {"allowed": false, "reason": "`+reason+`"}`)).Explain(t.Context(), w.ask("GET", "/nothing", "alice"))
			if string(x.Answer.Reason) != reason || !strings.HasSuffix(x.Advice, " denies: "+reason) {
				t.Errorf("%s: %s", x.Answer.Reason, x.Advice)
			}
		}
	})
	t.Run("a reason of routes without a token", func(t *testing.T) {
		x := w.authorizer(t, own(t, `decision := {"allowed": false, "reason": "insufficient_scope"}`)).Explain(t.Context(), w.ask("GET", "/posts", ""))
		if x.Answer.Reason != answers.InsufficientScope || !strings.HasSuffix(x.Advice, " denies: insufficient_scope") {
			t.Errorf("%s: %s", x.Answer.Reason, x.Advice)
		}
	})
}

// Explain evaluates a second time: a policy that then says something else has no
// rule to name.
func TestAdviceOfUnsteadyPolicy(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, own(t, `decision := {"allowed": false, "reason": "no_route"} if rand.intn("x", 2) == 0`))
	for range 200 {
		x := a.Explain(t.Context(), w.ask("GET", "/me", "alice"))
		if x.Answer.Reason == answers.NoRoute && x.Policy.Decider == nil {
			if want := answers.NoRoute.Row().Detail; x.Advice != want {
				t.Errorf("got %q; want %q", x.Advice, want)
			}
			return
		}
	}
	t.Error("the policy never changed its mind")
}

func TestRedactWithoutToken(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	if got := a.Explain(t.Context(), w.ask("GET", "/", "")).Redact("a text"); got != "a text" {
		t.Errorf("got %q", got)
	}
	if got := a.Explain(t.Context(), w.ask("GET", "/", "alice")).Redact("Bearer " + w.tokens["alice"] + "!"); got != "Bearer [token]!" {
		t.Errorf("got %q", got)
	}
}

// The policy's step tells whether its decisions are shared.
func TestPolicyStepCache(t *testing.T) {
	w := newWorld(t)
	part := func(cfg policy.Config) extauthz.Step {
		x := w.authorizer(t, cfg).Explain(t.Context(), w.ask("GET", "/me", "alice"))
		parts := x.Steps[len(x.Steps)-1].Parts
		return parts[len(parts)-1]
	}
	if got := part(policy.Config{}); got.Name != "cache" || got.Outcome != extauthz.OK || got.Detail != "requests with the same of that may share a decision" {
		t.Errorf("the default policy: %+v", got)
	}
	if got := part(own(t, `decision if time.now_ns() > 0`)); got.Name != "cache" || got.Outcome != extauthz.Skipped || !strings.Contains(got.Detail, "own.rego:2: ") {
		t.Errorf("a policy of time: %+v", got)
	}
}
