package tenants

import "github.com/ussoio/ussoauthz/pkg/jwtverify"

// Keep is what Check says of keys that make a set, and whether there is one.
func Keep(keys ...*jwtverify.Key) (faults []Fault, kept bool) {
	in := &inspector{Config: &Config{}}
	in.keep("jwks_file", keys...)
	return in.faults, in.parts.keys != nil
}
