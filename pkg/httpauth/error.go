package httpauth

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Error is a refusal: what Deny answers, and for logs alone why.
type Error struct {
	Reason answers.Reason
	Detail string   // of the body; "" is the reason's own. Never what the client sent
	Realm  string   // of WWW-Authenticate: the tenant's id
	Scopes []string // that would have been enough, for WWW-Authenticate
	Err    error    // the cause; the client never sees it
}

// Error describes the refusal for logs.
func (e *Error) Error() string {
	text := string(e.Reason)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Deny answers a request as ussoauthz would: an *Error by its reason, a
// sentinel of jwtverify by the table of reasons, anything else with 500.
func Deny(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Reason: reasonOf(err)}
	}
	row := e.Reason.Row()
	h := w.Header()
	h.Set("Content-Type", answers.ContentType)
	if challenge := e.Reason.Challenge(e.Realm, e.Scopes); challenge != "" {
		h.Set("Www-Authenticate", challenge)
	}
	if row.RetryAfter > 0 {
		after := row.RetryAfter
		if held := jwtverify.RetryAfter(err); held > 0 {
			after = int(held / time.Second)
		}
		h.Set("Retry-After", strconv.Itoa(after))
	}
	status := row.Status
	if status < http.StatusBadRequest { // a reason can't make a refusal look like a success
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	_, _ = w.Write(e.Reason.Body(e.Detail)) // a client that left is no fault
}

// reasonOf returns the reason for an Authenticator's error.
func reasonOf(err error) answers.Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	switch {
	case errors.Is(err, jwtverify.ErrKeysUnavailable):
		return answers.KeysUnavailable // says nothing about the token: clients keep their session
	case errors.Is(err, jwtverify.ErrExpired):
		return answers.TokenExpired
	}
	for _, wrong := range []error{
		jwtverify.ErrMalformed, jwtverify.ErrAlgorithm, jwtverify.ErrUnknownKey, jwtverify.ErrSignature,
		jwtverify.ErrNotYetValid, jwtverify.ErrIssuer, jwtverify.ErrAudience, jwtverify.ErrTokenType, jwtverify.ErrTenant,
	} {
		if errors.Is(err, wrong) {
			return answers.TokenInvalid
		}
	}
	return answers.Internal
}
