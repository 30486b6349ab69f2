package jwks_test

import (
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// A file that the system cannot read is reported as such.
func TestStoredSetThatTheSystemCannotRead(t *testing.T) {
	// A regular file of ours whose first byte is none.
	if err := jwks.ReadStored("/proc/self/mem", "https://sso.acme.example"); err == nil || !strings.Contains(err.Error(), "read /proc/self/mem: ") {
		t.Errorf("got %v", err)
	}
}
