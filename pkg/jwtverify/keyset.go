package jwtverify

import (
	"context"
	"errors"
	"fmt"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// KeySet finds the key that a token's header names by its kid. Implementations are safe
// for concurrent use, and requests never wait for a refresh: Find may block only for a
// kid that no key has, bounded by ctx. While a key is unchanged Find returns the same
// *Key, since cached tokens are checked against it again.
type KeySet interface {
	// Find returns the key named kid. An empty kid means "the only key", and
	// finds one only where the set holds exactly one usable key. The error
	// wraps ErrUnknownKey or ErrKeysUnavailable; with a method RetryAfter it says
	// when the key may be there (see the function RetryAfter).
	Find(ctx context.Context, kid string) (*Key, error)
}

// StaticKeySet is a KeySet whose keys never change. It is immutable and safe
// for concurrent use, and its Find never blocks.
type StaticKeySet struct {
	byID   map[string]*Key
	only   *Key // the key of a set of one
	anyKid bool // only has no kid, and matches every kid
	list   []*Key
}

// NewStaticKeySet makes a set of at least one key. Two keys must not share a
// kid. Among several keys one without a kid is never found: no token can name
// it, and trying every key would let a token multiply its own cost.
func NewStaticKeySet(keys ...*Key) (*StaticKeySet, error) {
	if len(keys) == 0 {
		return nil, errors.New("a key set needs at least one key")
	}
	s := &StaticKeySet{byID: make(map[string]*Key, len(keys)), list: append([]*Key(nil), keys...)}
	for _, k := range keys {
		switch {
		case k == nil:
			return nil, errors.New("a key of the key set is nil")
		case k.id == "":
			continue
		case s.byID[k.id] != nil:
			return nil, fmt.Errorf("two keys of the key set have the kid %s", logtext.Quote(k.id))
		}
		s.byID[k.id] = k
	}
	if len(keys) == 1 {
		s.only, s.anyKid = keys[0], keys[0].id == ""
	}
	return s, nil
}

// Find returns the key named kid. A single key is also found by an empty kid,
// and a single key without a kid by any. The error wraps ErrUnknownKey.
func (s *StaticKeySet) Find(_ context.Context, kid string) (*Key, error) {
	if s.only != nil && (s.anyKid || kid == "") {
		return s.only, nil
	}
	if k := s.byID[kid]; k != nil {
		return k, nil
	}
	if kid == "" {
		return nil, fmt.Errorf("%w: the token has no kid and the set %d keys", ErrUnknownKey, len(s.list))
	}
	return nil, fmt.Errorf("%w: kid %s", ErrUnknownKey, logtext.Quote(kid))
}

// Keys returns the keys in the order they were given.
func (s *StaticKeySet) Keys() []*Key { return append([]*Key(nil), s.list...) }
