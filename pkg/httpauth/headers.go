package httpauth

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Headers names the request headers that carry the identity: the
// identity_headers of the configuration of ussoauthz. "" is a header that it
// does not set, which MUST NOT be read: a client could send it.
type Headers struct {
	UserID      string
	TenantID    string
	WorkspaceID string
	Roles       string            // joined by ","
	Scopes      string            // joined by " "
	Claims      map[string]string // header to claim
}

// DefaultHeaders returns the names that ussoauthz has where its configuration
// says nothing else.
func DefaultHeaders() Headers {
	return Headers{
		UserID:      "x-user-id",
		TenantID:    "x-tenant-id",
		WorkspaceID: "x-workspace-id",
		Roles:       "x-roles",
		Scopes:      "x-scopes",
	}
}

// FromHeaders returns an Authenticator that believes the identity headers of a
// request.
//
// It verifies nothing, so this MUST hold: requests reach the service through
// an Envoy that asks ussoauthz about each of them, and on no other road. Bind
// the service to loopback beside its Envoy, or let a network policy or mutual
// TLS admit Envoy alone. ussoauthz sets or removes each of these headers in
// every request that it allows; a request of any other origin says who it is
// in its own words.
//
// The identity's Subject and UserID are both the user id. Claims are strings,
// decoded from their percent-encoding. What headers don't carry (times, type,
// session and issuer of the token) is zero. A header that comes twice is
// refused with 400: one of the two is not ours.
func FromHeaders(names Headers) Authenticator {
	names.Claims = maps.Clone(names.Claims)
	return func(r *http.Request) (*jwtverify.Identity, error) {
		if names.UserID == "" {
			return nil, errors.New("httpauth: Headers.UserID is empty, so nobody can be authenticated")
		}
		h := headerReader{header: r.Header}
		id := &jwtverify.Identity{
			UserID:      h.plain(names.UserID),
			TenantID:    h.plain(names.TenantID),
			WorkspaceID: h.plain(names.WorkspaceID),
			Roles:       fields(h.plain(names.Roles), ','),
			Scopes:      fields(h.one(names.Scopes, ' '), ' '),
		}
		id.Subject = id.UserID
		claims := map[string]any{}
		for name, claim := range names.Claims {
			if value := h.claim(name); value != "" {
				claims[claim] = value
			}
		}
		id.Claims = jwtverify.NewClaims(claims)
		if h.err != nil {
			return nil, &Error{Reason: answers.InvalidRequest, Err: h.err}
		}
		if id.UserID == "" {
			return nil, &Error{Reason: answers.TokenNotFound}
		}
		return id, nil
	}
}

// headerReader reads headers that may come once, and remembers the first fault.
type headerReader struct {
	header http.Header
	err    error
}

func (h *headerReader) fail(name, problem string) string {
	if h.err == nil {
		h.err = fmt.Errorf("identity header %s: %s", name, problem)
	}
	return ""
}

// one returns the header's only value, made of the bytes from low to '~'.
func (h *headerReader) one(name string, low byte) string {
	if name == "" {
		return ""
	}
	lines := h.header.Values(name)
	if len(lines) == 0 {
		return ""
	}
	if len(lines) > 1 {
		return h.fail(name, "more than one line")
	}
	for i := range len(lines[0]) {
		if c := lines[0][i]; c < low || c > '~' {
			return h.fail(name, "a byte that is never sent in it")
		}
	}
	return lines[0]
}

// plain returns a value without blanks.
func (h *headerReader) plain(name string) string { return h.one(name, '!') }

// claim returns a value that ussoauthz has percent-encoded.
func (h *headerReader) claim(name string) string {
	value, err := url.PathUnescape(h.plain(name))
	if err != nil {
		return h.fail(name, "not percent-encoded")
	}
	return value
}

// fields splits a list; unlike strings.Split it has no empty elements.
func fields(list string, separator rune) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == separator })
}
