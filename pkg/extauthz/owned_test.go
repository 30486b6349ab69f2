package extauthz_test

import (
	"slices"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// The headers by which a configuration reads a request reach the upstream in
// its own spelling alone.
func TestOwnedNames(t *testing.T) {
	issuer := newIssuer(t, "acme")
	routes, faults := tenants.NewRoutes([]tenants.Route{{Match: "/"}, {Match: "/hdr", Workspace: "header:X-Org"}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	cfg := config(issuer, "acme", "acme.example")
	cfg.Header = tenants.TokenSource{Header: "X-Access-Token"}
	tenant, err := cfg.Build("", tenants.Shared{Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	directory, err := tenants.NewDirectory(tenants.Selection{Header: "X-Customer"}, []*tenants.Tenant{tenant})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := extauthz.NewAuthorizer(extauthz.Config{Tenants: directory, Policy: engine, Headers: extauthz.IdentityHeaders{UserID: "X-User-ID"}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(target string, headers ...tenants.Header) *extauthz.Answer {
		headers = append(headers, tenants.Header{Name: "x-access-token", Value: mint(t, issuer, claims(nil))})
		return a.Authorize(t.Context(), &extauthz.Message{Method: "GET", Host: "acme.example", Target: target, Headers: headers})
	}
	field := func(name, value string) tenants.Header { return tenants.Header{Name: name, Value: value} }
	answer := ask("/", field("X_User_ID", "root"), field("x.user.id", "root"), field("X_Access-Token", "t"), field("x.org", "o"), field("x-org", "ws_1"), field("x-orgs", "o"))
	if want := []string{"x_user_id", "x.user.id", "x_access-token", "x.org"}; !answer.Allowed || !slices.Equal(answer.RemoveHeaders, want) {
		t.Errorf("%v (%v): removes %q, want %q", answer.Reason, answer.Err, answer.RemoveHeaders, want)
	}
	for _, tt := range []struct {
		target string
		header tenants.Header
		want   answers.Reason
	}{
		{"/hdr", field("x-org", "ws_1"), answers.Allowed},
		{"/hdr", field("x.org", "ws_1"), answers.WorkspaceMismatch},
		{"/", field("x-customer", "acme"), answers.Allowed},
		{"/", field("x_customer", "acme"), answers.InvalidTenant},
		{"/", field("connection", "keep-alive"), answers.Allowed},
		{"/", field("connection", "X-Org"), answers.InvalidRequest},
		{"/", field("connection", ",x-customer,"), answers.InvalidRequest},
		{"/", field("connection", "close,x_access_token"), answers.InvalidRequest},
		{"/", field("connection", "cookie"), answers.Allowed}, // no token is read from one
		{"/", field("proxy-connection", "x-user-id"), answers.InvalidRequest},
		{"/", field("trailer", "x-org"), answers.InvalidRequest},
	} {
		if got := ask(tt.target, tt.header); got.Reason != tt.want {
			t.Errorf("%s with %v: %s, want %s (%v)", tt.target, tt.header, got.Reason, tt.want, got.Err)
		}
	}
}
