package jwtverify

import (
	"errors"
	"time"
)

// The outcomes that a caller treats differently. Every error of Verify wraps exactly one
// of them; match with errors.Is. The text around it is for logs and must not be sent to
// the client: it would help an attacker.
var (
	// ErrMalformed: not a strict compact JWS, or a claim of the wrong type.
	ErrMalformed = errors.New("malformed token")
	// ErrAlgorithm: the algorithm is not one that the tenant and the key allow.
	ErrAlgorithm = errors.New("algorithm not allowed")
	// ErrUnknownKey: no key of the set has the kid of the token's header.
	ErrUnknownKey = errors.New("unknown key")
	// ErrSignature: the signature does not verify.
	ErrSignature = errors.New("bad signature")
	// ErrExpired: now is at or past exp plus leeway.
	ErrExpired = errors.New("token expired")
	// ErrNotYetValid: nbf or iat lies in the future by more than the leeway.
	ErrNotYetValid = errors.New("token not yet valid")
	// ErrIssuer: iss is none of the accepted issuers.
	ErrIssuer = errors.New("wrong issuer")
	// ErrAudience: aud holds none of the accepted audiences.
	ErrAudience = errors.New("wrong audience")
	// ErrTokenType: token_type is none of the accepted ones.
	ErrTokenType = errors.New("wrong token type")
	// ErrTenant: tenant_id is none of the accepted ones, or missing where it
	// is needed to tell two tenants of one issuer apart.
	ErrTenant = errors.New("wrong tenant")
	// ErrKeysUnavailable: the key could not be looked up. It says nothing about the
	// token: the client should try again, and must not sign its user out.
	ErrKeysUnavailable = errors.New("keys unavailable")
)

// RetryAfter returns the time after which the key for a token may be there, in whole
// seconds, from an error of Verify or of a KeySet: the result of its method RetryAfter.
// It returns 0 where the error, and those that it wraps, have no such method.
func RetryAfter(err error) time.Duration {
	if held, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return held.RetryAfter()
	}
	return 0
}
