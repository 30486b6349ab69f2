package jwtverify

import (
	"sync/atomic"
	"time"
)

// Identity is the subject of a verified token. Only Verify makes one from a token: so
// an *Identity proves that signature, times, issuer, audience, type and tenant were
// checked. Requests share it, and it must not be changed.
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

	// Derived caches a value that a caller computed from the identity. It is nil where
	// the identity is not cached; its methods accept that.
	Derived *Derived
}

// Derived holds one value that is computed from an identity and lives as long as it. A
// nil *Derived holds none. It is safe for concurrent use. The value must depend on the
// identity alone: whatever else it depends on, its reader must check.
type Derived struct {
	maxBytes int // which the cache has counted already
	value    atomic.Pointer[any]
}

// Load returns the value that was stored last, nil where there is none.
func (d *Derived) Load() any {
	if d == nil {
		return nil
	}
	if v := d.value.Load(); v != nil {
		return *v
	}
	return nil
}

// Store stores v, which takes about the given number of bytes, if the bound of the
// identity allows it.
func (d *Derived) Store(v any, bytes int) {
	if d != nil && bytes <= d.maxBytes {
		d.value.Store(&v)
	}
}
