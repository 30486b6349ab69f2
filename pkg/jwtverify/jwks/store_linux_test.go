package jwks_test

import (
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// What the system can't read is told as that, and not as a file of another's.
func TestKeptSetThatTheSystemCannotRead(t *testing.T) {
	// A regular file of ours whose first byte is none.
	if err := jwks.ReadKept("/proc/self/mem", "https://sso.acme.example"); err == nil || !strings.Contains(err.Error(), "read /proc/self/mem: ") {
		t.Errorf("got %v", err)
	}
}
