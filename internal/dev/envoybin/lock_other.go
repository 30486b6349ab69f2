//go:build !unix

package envoybin

import "context"

// lock does nothing: there is no pinned binary for these systems.
func lock(context.Context, string) (unlock func(), err error) { return func() {}, nil }
