//go:build unix

package jwks

import (
	"io/fs"
	"os"
	"syscall"
)

// trustedOwner reports whether a file belongs to this process's user or to root:
// whoever owns a file can write into it, whatever its mode is now.
func trustedOwner(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int64(stat.Uid) == int64(os.Geteuid()))
}
