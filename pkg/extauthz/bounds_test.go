package extauthz_test

import (
	"slices"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// However an identity header is spelt in the configuration, it is ours alone,
// and it is not removed as a spelling of itself.
func TestNamesOfIdentityHeaders(t *testing.T) {
	w := newWorld(t)
	odd := func(c *extauthz.Config) {
		c.Headers = extauthz.IdentityHeaders{UserID: "X_User.Id", Roles: "X-Roles", Claims: map[string]string{"X-Company": "company_id"}}
	}
	for _, rego := range []string{`"headers": {"x-user-id": "root"}`, `"headers": {"x_user.id": "root"}`, `"request_headers_to_remove": ["x-roles"]`, `"headers": {"x_company": "c"}`} {
		a := w.authorizer(t, own(t, `decision := {"allowed": true, `+rego+`}`), odd)
		if got := a.Authorize(t.Context(), w.ask("GET", "/me", "alice")); got.Reason != answers.PolicyError {
			t.Errorf("%s: %s", rego, got.Reason)
		}
	}
	got := w.authorizer(t, policy.Config{}, odd).Authorize(t.Context(), w.ask("GET", "/me", "alice",
		[2]string{"x-user-id", "root"}, [2]string{"X_USER.ID", "root"}, [2]string{"x-roles", "admin"}, [2]string{"X_Company", "c"}))
	if !got.Allowed || value(got.Headers, "x_user.id") != "user:alice" || value(got.Headers, "x-roles") != "editor,author" {
		t.Fatalf("%s %v: %v", got.Reason, got.Err, got.Headers)
	}
	for name, want := range map[string]bool{"x-user-id": true, "x_user.id": false, "x-roles": false, "x_company": true, "x-company": true} {
		if slices.Contains(got.RemoveHeaders, name) != want {
			t.Errorf("%s removed: %v, want %v", name, !want, want)
		}
	}
}
