package jwtverify

import "context"

// KeySet finds the key that a token's header means. Implementations are safe
// for concurrent use, and their readers never wait for a refresh: Find may
// block only for a kid that no key has, bounded by ctx.
type KeySet interface {
	// Find returns the key named kid. An empty kid means "the only key", and
	// finds one only where the set holds exactly one usable key. The error
	// wraps ErrUnknownKey or ErrKeysUnavailable; it may have a method RetryAfter, as
	// the function of that name says.
	Find(ctx context.Context, kid string) (*Key, error)
}
