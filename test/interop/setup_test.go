//go:build interop

// Package interop holds the service against what it must get on with: a real
// OpenID provider, the real SDK of USSO, and the parsers of real servers. They
// come from their registries, pinned, into .cache/interop; run it with make
// interop.
package interop

import (
	"path/filepath"
	"testing"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// installed is testkit.Installed for the folder name of this package.
func installed(t *testing.T, name string, sources []string, install func(dir string)) string {
	t.Helper()
	return testkit.Installed(t, filepath.Join("..", "..", ".cache", "interop", name), name, sources, install)
}
