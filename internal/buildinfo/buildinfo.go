// Package buildinfo tells which ussoauthz this is.
package buildinfo

import "runtime/debug"

// What the linker sets, see the Makefile; "" where nobody did, as in a binary
// that `go install` made.
var version, revision string

// Version is the release, or what stands for one: never "".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "dev"
}

// Revision is the commit, or "unknown".
func Revision() string {
	if revision != "" {
		return revision
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
