package tenants

import (
	"sync"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Tenant is one tenant, ready to judge requests. Config.Build makes one. It is
// shared between requests and must not be changed once a Directory holds it.
type Tenant struct {
	ID     string
	Issuer string   // the first accepted issuer, or ""
	Hosts  []string // canonical patterns: a host, or "*." and a host

	Verifier *jwtverify.Verifier
	Keys     jwtverify.KeySet
	// KeySource is where the keys come from, for people: a URL, a file's name,
	// or "the configuration".
	KeySource string
	Token     TokenSource
	Routes    *Routes // its own, or the common ones

	issuers   []string // all accepted ones, sorted; none where iss is not verified
	release   func()   // what the key set needs at the end; may be nil
	closeOnce sync.Once
}

// Close releases the tenant's key set. A second call does nothing.
func (t *Tenant) Close() {
	t.closeOnce.Do(func() {
		if t.release != nil {
			t.release()
		}
	})
}

const maxID = 63

// isID tells whether s is a tenant's id: [a-z0-9][a-z0-9_-]{0,62}.
func isID(s string) bool {
	if s == "" || len(s) > maxID || s[0] == '_' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

const idRule = "is no tenant id: use a-z, 0-9, '_' and '-', at most 63, the first a letter or a digit"
