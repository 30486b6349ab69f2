package jwtverify

import (
	"sync/atomic"
	"time"
)

// Identity is who a verified token speaks for. Verify alone makes one from a
// token: holding an *Identity means that signature, times, issuer, audience,
// type and tenant were checked. It is shared between requests and must not be
// changed.
type Identity struct {
	Subject     string   // sub
	UserID      string   // user_id, else sub; never empty
	TenantID    string   // tenant_id, "" where the token has none
	WorkspaceID string   // workspace_id
	Roles       []string // roles; a string is one role
	Scopes      []string // scopes; a string is split at spaces
	TokenType   string   // token_type, "access" where the token has none
	SessionID   string   // session_id
	ID          string   // jti
	Issuer      string   // iss

	Expiry    time.Time // exp, to the second; zero where verify_exp is off and the token has none
	NotBefore time.Time // nbf; zero where the token has none
	IssuedAt  time.Time // iat; zero where the token has none

	// Leeway is the verifier's: the issuer's clock may be that far ahead of ours,
	// and the token that much older than IssuedAt says.
	Leeway time.Duration

	Claims *Claims // all of them, as they were signed

	// Derived keeps what a caller made of the identity. It is nil where the
	// identity is of one request alone, and can be used all the same.
	Derived *Derived
}

// Derived is a place for one value that is made from an identity and lives as
// long as it. It is safe for concurrent use. The value must hold for the
// identity as such: whatever else it depends on, its reader must check.
type Derived struct {
	most  int // bytes, which the cache has counted already
	value atomic.Pointer[any]
}

// Load returns what was stored last, nil where nothing was.
func (d *Derived) Load() any {
	if d == nil {
		return nil
	}
	if v := d.value.Load(); v != nil {
		return *v
	}
	return nil
}

// Store keeps v, which takes about the given number of bytes, if there is room
// for it.
func (d *Derived) Store(v any, bytes int) {
	if d != nil && bytes <= d.most {
		d.value.Store(&v)
	}
}
