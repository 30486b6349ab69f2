// Package answers is the table of everything the service can say to a client:
// each reason with its HTTP status, its gRPC status, its title and its fixed
// detail, and the JSON body and the challenge made from them.
//
// It imports nothing but the standard library, so that a Go service behind
// Envoy (pkg/httpauth) answers with the very same bytes as the service in
// front of it.
package answers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// Reason names the outcome of a decision. The zero value is not a reason and
// answers as Internal does: a decision that nobody made is a denial.
type Reason string

// Every reason there is. A policy may deny with further names of its own,
// which answer as PolicyDenied does.
const (
	Allowed           Reason = "allowed"
	InvalidRequest    Reason = "invalid_request"
	InvalidTenant     Reason = "invalid_tenant"
	TokenNotFound     Reason = "token_not_found"
	TokenExpired      Reason = "token_expired"
	TokenInvalid      Reason = "token_invalid"
	TokenRevoked      Reason = "token_revoked"
	InsufficientScope Reason = "insufficient_scope"
	InsufficientRole  Reason = "insufficient_role"
	WorkspaceMismatch Reason = "workspace_mismatch"
	NoRoute           Reason = "no_route"
	PolicyDenied      Reason = "policy_denied"
	KeysUnavailable   Reason = "keys_unavailable"
	Overloaded        Reason = "overloaded"
	PolicyError       Reason = "policy_error"
	Internal          Reason = "internal"
)

// Row is what a reason answers.
type Row struct {
	Status     int    // the HTTP status
	GRPC       int    // the google.rpc.Code; never 0 for a denial
	Title      string // the body's "error"
	Detail     string // the body's "detail" where the decision has none of its own
	RetryAfter int    // seconds; 0: no Retry-After header
	Challenge  string // the RFC 6750 error code of WWW-Authenticate
	Challenges bool   // whether WWW-Authenticate is sent at all
}

// The codes of google.rpc.Code that the table uses.
const (
	codeInvalidArgument  = 3
	codePermissionDenied = 7
	codeInternal         = 13
	codeUnavailable      = 14
	codeUnauthenticated  = 16
)

// Row returns what the reason answers. An unknown reason is one that a policy
// made up, and answers 403; the empty one is a fault and answers as Internal.
func (r Reason) Row() Row {
	switch r {
	case InvalidRequest:
		return Row{Status: http.StatusBadRequest, GRPC: codeInvalidArgument, Title: "Invalid request", Detail: "The request is malformed or ambiguous"}
	case InvalidTenant:
		return Row{Status: http.StatusBadRequest, GRPC: codeInvalidArgument, Title: "Invalid tenant", Detail: "The request names no tenant, an unknown one, or several"}
	case TokenNotFound:
		return unauthenticated("Token not found", "A token is required", "")
	case TokenExpired:
		return unauthenticated("Token expired", "The token has expired", "invalid_token")
	case TokenInvalid, TokenRevoked:
		// One text for both, and for every way a token can be wrong: the
		// difference would tell an attacker how far a forgery came.
		return unauthenticated("Invalid token", "The token is not valid", "invalid_token")
	case InsufficientScope:
		row := forbidden("A required scope was not found")
		row.Challenge, row.Challenges = "insufficient_scope", true
		return row
	case InsufficientRole:
		return forbidden("A required role was not found")
	case WorkspaceMismatch:
		return forbidden("The token belongs to another workspace")
	case NoRoute:
		return forbidden("No route allows this request")
	case KeysUnavailable:
		return unavailable("The keys to verify tokens are not available", 5)
	case Overloaded:
		return unavailable("Too many requests are in flight", 1)
	case PolicyError:
		return failed("The policy gave no decision")
	case Internal, "":
		return failed("The request could not be decided")
	default:
		return forbidden("The policy denies this request")
	}
}

func unauthenticated(title, detail, challenge string) Row {
	return Row{Status: http.StatusUnauthorized, GRPC: codeUnauthenticated, Title: title, Detail: detail, Challenge: challenge, Challenges: true}
}

func forbidden(detail string) Row {
	return Row{Status: http.StatusForbidden, GRPC: codePermissionDenied, Title: "Insufficient permissions", Detail: detail}
}

func unavailable(detail string, retryAfter int) Row {
	return Row{Status: http.StatusServiceUnavailable, GRPC: codeUnavailable, Title: "Authentication unavailable", Detail: detail, RetryAfter: retryAfter}
}

func failed(detail string) Row {
	return Row{Status: http.StatusInternalServerError, GRPC: codeInternal, Title: "Authorization error", Detail: detail}
}

// ContentType is the media type of Body.
const ContentType = "application/json"

// Body returns the JSON body of a denial. An empty detail stands for the
// reason's own. detail must not repeat what the client sent: that would make
// the answer a mirror for attackers.
func (r Reason) Body(detail string) []byte {
	if r == "" {
		r = Internal
	}
	if detail == "" {
		if body, ok := fixedBodies[r]; ok {
			return bytes.Clone(body)
		}
	}
	return r.body(detail)
}

// fixedBodies are the bodies without a detail of a decision's own: every token
// that is refused gets one of them.
var fixedBodies = func() map[Reason][]byte {
	bodies := map[Reason][]byte{}
	for _, r := range []Reason{InvalidRequest, InvalidTenant, TokenNotFound, TokenExpired, TokenInvalid, TokenRevoked,
		InsufficientScope, InsufficientRole, WorkspaceMismatch, NoRoute, PolicyDenied, KeysUnavailable, Overloaded, PolicyError, Internal} {
		bodies[r] = r.body("")
	}
	return bodies
}()

func (r Reason) body(detail string) []byte {
	row := r.Row()
	if detail == "" {
		detail = row.Detail
	}
	body, err := json.Marshal(struct {
		Error  string `json:"error"`
		Detail string `json:"detail"`
		Reason Reason `json:"reason"`
	}{row.Title, detail, r})
	if err != nil { // three strings always marshal
		return []byte(`{"error":"Authorization error","detail":"","reason":"internal"}`)
	}
	return body
}

// Challenge returns the WWW-Authenticate value of RFC 6750 section 3 for the
// reason, or "" where none is sent. realm is the tenant's id, or "" where none
// was selected; scopes are those that the route needs.
func (r Reason) Challenge(realm string, scopes []string) string {
	row := r.Row()
	if !row.Challenges {
		return ""
	}
	// Section 3: at least one parameter must follow the scheme.
	if realm == "" {
		realm = "ussoauthz"
	}
	var b strings.Builder
	b.Grow(len(realm) + 64) // usually enough: many denials can come at once
	b.WriteString(`Bearer realm=`)
	quote(&b, realm)
	if row.Challenge != "" {
		b.WriteString(`, error=`)
		quote(&b, row.Challenge)
	}
	if r == InsufficientScope && len(scopes) > 0 {
		b.WriteString(`, scope=`)
		quote(&b, strings.Join(scopes, " "))
	}
	return b.String()
}

// quote writes an RFC 9110 quoted-string; bytes that can't be in one are left
// out, so that a scope's name never breaks the header.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		c := s[i]
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		if c >= ' ' && c < 0x7f {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// MissingScope is the detail for one scope that was not found.
func MissingScope(scope string) string { return "Required scope '" + scope + "' not found" }

// MissingAnyScope is the detail where none of several scopes was found.
func MissingAnyScope(scopes []string) string { return missingAny("scope", scopes) }

// MissingRole is the detail for one role that was not found.
func MissingRole(role string) string { return "Required role '" + role + "' not found" }

// MissingAnyRole is the detail where none of several roles was found. One
// role alone reads as MissingRole.
func MissingAnyRole(roles []string) string { return missingAny("role", roles) }

func missingAny(kind string, names []string) string {
	if len(names) == 1 {
		return "Required " + kind + " '" + names[0] + "' not found"
	}
	return "One of " + kind + "s ('" + strings.Join(names, "', '") + "') required"
}
