package httpauth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

func TestFromHeaders(t *testing.T) {
	names := httpauth.DefaultHeaders()
	names.Claims = map[string]string{"x-company-id": "company_id", "x-tier": "subscription_tier"}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for name, value := range map[string]string{
		"X-User-Id": "user:1", "X-Tenant-Id": "acme", "X-Workspace-Id": "ws_1",
		"X-Roles": "editor,admin", "X-Scopes": "read:posts write:posts", "X-Company-Id": "caf%C3%A9%20%25",
	} {
		r.Header.Set(name, value)
	}
	got, err := httpauth.FromHeaders(names)(r)
	if err != nil {
		t.Fatal(err)
	}
	want := &jwtverify.Identity{
		Subject: "user:1", UserID: "user:1", TenantID: "acme", WorkspaceID: "ws_1",
		Roles: []string{"editor", "admin"}, Scopes: []string{"read:posts", "write:posts"},
		Claims: jwtverify.NewClaims(map[string]any{"company_id": "café %"}),
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("claims", (*jwtverify.Claims).Map)); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

func TestFromHeadersRefuses(t *testing.T) {
	names := httpauth.DefaultHeaders()
	names.Claims = map[string]string{"x-company-id": "company_id"}
	tests := []struct {
		name   string
		header http.Header
		want   answers.Reason
	}{
		{"nothing", http.Header{}, answers.TokenNotFound},
		{"the user alone", http.Header{"X-User-Id": {"u"}}, answers.Allowed},
		{"an empty user", http.Header{"X-User-Id": {""}}, answers.TokenNotFound},
		{"all but the user", http.Header{"X-Tenant-Id": {"acme"}, "X-Roles": {"admin"}}, answers.TokenNotFound},
		{"other spellings", http.Header{"X_user_id": {"u"}, "X-User_id": {"u"}}, answers.TokenNotFound},
		{"two users", http.Header{"X-User-Id": {"u", "v"}}, answers.InvalidRequest},
		{"the same user twice", http.Header{"X-User-Id": {"u", "u"}}, answers.InvalidRequest},
		{"two tenants", http.Header{"X-User-Id": {"u"}, "X-Tenant-Id": {"a", "b"}}, answers.InvalidRequest},
		{"two roles", http.Header{"X-User-Id": {"u"}, "X-Roles": {"user", "admin"}}, answers.InvalidRequest},
		{"two scopes", http.Header{"X-User-Id": {"u"}, "X-Scopes": {"a", "b"}}, answers.InvalidRequest},
		{"two claims", http.Header{"X-User-Id": {"u"}, "X-Company-Id": {"a", "b"}}, answers.InvalidRequest},
		{"two workspaces without a user", http.Header{"X-Workspace-Id": {"a", "b"}}, answers.InvalidRequest},
		{"a blank in the user", http.Header{"X-User-Id": {"u v"}}, answers.InvalidRequest},
		{"a control byte", http.Header{"X-User-Id": {"u\x01"}}, answers.InvalidRequest},
		{"not ASCII", http.Header{"X-User-Id": {"é"}}, answers.InvalidRequest},
		{"a bad escape", http.Header{"X-User-Id": {"u"}, "X-Company-Id": {"%zz"}}, answers.InvalidRequest},
	}
	auth := httpauth.FromHeaders(names)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header = test.header
			if got := reason(t, auth, r); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestHeadersThatAreNotNamedAreNotRead: a header that ussoauthz does not own
// is the client's.
func TestHeadersThatAreNotNamedAreNotRead(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"X-User-Id": {"u"}, "X-Roles": {"admin"}, "X-Scopes": {"all"}, "": {"x"}}
	id, err := httpauth.FromHeaders(httpauth.Headers{UserID: "x-user-id"})(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(id.Roles)+len(id.Scopes) != 0 || id.TenantID != "" {
		t.Errorf("got %+v, want the user alone", id)
	}
	if _, err := httpauth.FromHeaders(httpauth.Headers{})(r); err == nil {
		t.Error("without a name for the user somebody was authenticated")
	}
}
