//go:build interop

package interop

import (
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// accountCases: whom an accepted token speaks for.
func (b *bench) accountCases() []comparison {
	acme := setup{tenantIDs: []string{"acme"}}
	return []comparison{
		{name: "a whole USSO token", token: b.mint(claims{
			"sub": "user:42", "user_id": "user:42", "tenant_id": "acme", "workspace_id": "ws_7", "session_id": "s-1", "jti": "j-1",
			"token_type": "access", "roles": []string{"editor", "admin"}, "scopes": []string{"read:posts", "create:media/*"},
			"acr": "low", "amr": []string{"pwd"}, "signing_level": "user", "iat": b.in(-10), "nbf": b.in(-10),
			"email": "a@acme.example", "phone": "+49", "sub_type": "user", "nested": claims{"deep": []int{1}},
		}), setup: acme},
		{name: "user_id beside sub", token: b.mint(claims{"user_id": "user:2"})},
		{name: "user_id without sub", token: b.mint(claims{"user_id": "user:2", "sub": nil})},
		{name: "user_id empty", token: b.mint(claims{"user_id": ""})},
		{name: "user_id null", token: b.mint(claims{"user_id": null})},
		{name: "uid is no claim of USSO", token: b.mint(claims{"uid": "user:2"})},
		{
			name: "user_id a number", token: b.mint(claims{"user_id": 2}),
			want: jwtverify.ErrMalformed,
		},
		{
			name: "neither user_id nor sub", token: b.mint(claims{"sub": nil}),
			want: jwtverify.ErrMalformed,
		},
		{
			name: "sub empty", token: b.mint(claims{"sub": ""}),
			want: jwtverify.ErrMalformed,
		},
		{
			name: "sub null beside user_id", token: b.mint(claims{"sub": null, "user_id": "user:2"}),
			want: jwtverify.ErrMalformed,
		},
		{name: "sub a number", token: b.mint(claims{"sub": 1}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "roles and scopes empty", token: b.mint(claims{"roles": []string{}, "scopes": []string{}})},
		{name: "roles and scopes null", token: b.mint(claims{"roles": null, "scopes": null})},
		{name: "scopes as one string", token: b.mint(claims{"scopes": "read:posts write:posts"}), sdk: sdkClaims},
		{name: "roles as one string", token: b.mint(claims{"roles": "admin"}), sdk: sdkClaims},
		{name: "scope is no claim of USSO", token: b.mint(claims{"scope": "read:posts"})},
		{name: "a role that is a number", token: b.mint(claims{"roles": []any{"a", 1}}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "a scope that is null", token: b.mint(claims{"scopes": []any{null}}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "scopes an object", token: b.mint(claims{"scopes": claims{"read": true}}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "a role twice, in its order", token: b.mint(claims{"roles": []string{"b", "a", "b"}})},
		{name: "a scope with spaces", token: b.mint(claims{"scopes": []string{"read:a read:b", ""}})},
		{name: "names beyond ASCII", token: b.mint(claims{"sub": "کاربر:۱", "roles": []string{"ویرایشگر"}, "workspace_id": "ws_\u202e\U0001f511"})},
		{
			name: "claims mapped", token: b.mint(claims{"scope": "read:posts", "realm_access": claims{"roles": []string{"x"}}}),
			setup: setup{claims: map[string]string{"scopes": "scope", "roles": "/realm_access/roles"}},
		},
		{name: "the tenant's own id", token: b.mint(claims{"tenant_id": "acme"}), setup: acme},
		{
			name: "another tenant's id", token: b.mint(claims{"tenant_id": "globex"}), setup: acme,
			want: jwtverify.ErrTenant,
		},
		{name: "no tenant_id", token: b.mint(nil), setup: acme},
		{name: "tenant_id null", token: b.mint(claims{"tenant_id": null}), setup: acme},
		{
			name: "tenant_id empty", token: b.mint(claims{"tenant_id": ""}), setup: acme,
			want: jwtverify.ErrTenant,
		},
		{name: "tenant_id a number", token: b.mint(claims{"tenant_id": 1}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "tenant_id a list", token: b.mint(claims{"tenant_id": []string{"acme"}}), setup: acme, want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "workspace_id a number", token: b.mint(claims{"workspace_id": 1}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "session_id a number", token: b.mint(claims{"session_id": 1}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{name: "jti a number", token: b.mint(claims{"jti": 1}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{
			name: "acr a number", token: b.mint(claims{"acr": 1}),
			sdk: sdkClaims,
		},
		{name: "many scopes", token: b.mint(claims{"scopes": strings.Split(strings.Repeat("read:posts ", 500), " ")})},
		{
			name: "more than 16 KiB", token: b.mint(claims{"blob": strings.Repeat("x", 16<<10)}),
			want: jwtverify.ErrMalformed,
		},
	}
}
