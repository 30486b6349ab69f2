//go:build !unix

package revocation

import "os"

// lock does nothing: these systems append in one piece, or don't.
func lock(*os.File) error { return nil }
