// Package httpauth tells Go services who is calling: a service behind Envoy
// and ussoauthz reads the identity from the headers that those two set, a
// service of its own verifies the token itself, and both refuse with the same
// statuses, bodies and challenges as ussoauthz does.
//
// An Authenticator finds the caller; Middleware requires one and Optional only
// looks; RequireScope, RequireRole and their like guard a handler; FromContext
// returns the caller in the handler:
//
//	auth := httpauth.Middleware(httpauth.FromHeaders(httpauth.DefaultHeaders()))
//	mux.Handle("POST /posts", auth(httpauth.RequireScope("write:posts")(createPost)))
//
// In tests Fake stands in for any Authenticator.
package httpauth

import (
	"context"
	"net/http"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// An Authenticator returns who makes a request, or an error that wraps an
// *Error, or one of the sentinels of jwtverify. Any other error answers 500. It
// is called from many goroutines at once. A nil identity without an error is
// nobody, and is refused as a request without a token.
type Authenticator func(r *http.Request) (*jwtverify.Identity, error)

// Fake returns an Authenticator for tests: every request is id's. With nil no
// request carries a token.
func Fake(id *jwtverify.Identity) Authenticator {
	return func(*http.Request) (*jwtverify.Identity, error) { return id, nil }
}

// identityKey is the identity's key in a context.
type identityKey struct{}

// WithIdentity returns a context that carries id. It is what Middleware gives
// to handlers; call it to test a handler alone.
func WithIdentity(ctx context.Context, id *jwtverify.Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// FromContext returns the identity of the request's context. It is false where
// no Middleware ran, and on an Optional page for a visitor without a token.
func FromContext(ctx context.Context) (*jwtverify.Identity, bool) {
	id, _ := ctx.Value(identityKey{}).(*jwtverify.Identity)
	return id, id != nil
}

// Middleware lets a request pass only with an identity, which it puts into the
// request's context.
func Middleware(a Authenticator) func(http.Handler) http.Handler {
	return authenticate(a, true)
}

// Optional is Middleware for pages that are there for everybody: a request
// without a token passes without an identity. One with a wrong token is still
// refused: whoever sends a token means to be somebody.
func Optional(a Authenticator) func(http.Handler) http.Handler {
	return authenticate(a, false)
}

func authenticate(a Authenticator, required bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := a(r)
			if err == nil && id == nil {
				err = &Error{Reason: answers.TokenNotFound}
			}
			switch {
			case err == nil:
				r = r.WithContext(WithIdentity(r.Context(), id))
			case required || reasonOf(err) != answers.TokenNotFound:
				Deny(w, err)
				return
			default:
				// Not the identity of a Middleware further out: this page's
				// authenticator says that there is none.
				r = r.WithContext(WithIdentity(r.Context(), nil))
			}
			next.ServeHTTP(w, r)
		})
	}
}
