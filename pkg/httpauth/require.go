package httpauth

import (
	"net/http"
	"slices"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// RequireScope lets a request pass whose identity has the scope, by its exact
// name.
func RequireScope(scope string) func(http.Handler) http.Handler {
	return RequireAnyScope(scope)
}

// RequireAnyScope lets a request pass whose identity has one of the scopes.
// Without any it lets nothing pass.
func RequireAnyScope(scopes ...string) func(http.Handler) http.Handler {
	scopes = slices.Clone(scopes)
	return require(func(_ *http.Request, id *jwtverify.Identity) *Error {
		if overlap(id.Scopes, scopes) {
			return nil
		}
		return &Error{Reason: answers.InsufficientScope, Detail: answers.MissingAnyScope(scopes), Scopes: scopes}
	})
}

// RequireRole lets a request pass whose identity has the role.
func RequireRole(role string) func(http.Handler) http.Handler {
	return RequireAnyRole(role)
}

// RequireAnyRole lets a request pass whose identity has one of the roles.
// Without any it lets nothing pass.
func RequireAnyRole(roles ...string) func(http.Handler) http.Handler {
	roles = slices.Clone(roles)
	return require(func(_ *http.Request, id *jwtverify.Identity) *Error {
		if overlap(id.Roles, roles) {
			return nil
		}
		return &Error{Reason: answers.InsufficientRole, Detail: answers.MissingAnyRole(roles)}
	})
}

// RequireWorkspace lets a request pass that names the identity's own
// workspace; of returns the name from the request:
//
//	httpauth.RequireWorkspace(func(r *http.Request) string { return r.PathValue("workspace_id") })
//
// A request that names none, and an identity without one, don't pass: two
// empty names are not the same workspace.
func RequireWorkspace(of func(*http.Request) string) func(http.Handler) http.Handler {
	return require(func(r *http.Request, id *jwtverify.Identity) *Error {
		if named := of(r); named != "" && named == id.WorkspaceID {
			return nil
		}
		return &Error{Reason: answers.WorkspaceMismatch}
	})
}

// require guards a handler. Where no Middleware ran there is no identity, and
// nothing passes.
func require(check func(*http.Request, *jwtverify.Identity) *Error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, ok := FromContext(r.Context())
			if !ok {
				Deny(w, &Error{Reason: answers.TokenNotFound})
				return
			}
			if refusal := check(r, id); refusal != nil {
				refusal.Realm = id.TenantID
				Deny(w, refusal)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func overlap(has, wanted []string) bool {
	return slices.ContainsFunc(wanted, func(name string) bool { return slices.Contains(has, name) })
}
