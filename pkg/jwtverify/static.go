package jwtverify

import (
	"context"
	"errors"
	"fmt"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// StaticKeySet is a KeySet whose keys never change. It is immutable and safe
// for concurrent use, and its Find never blocks.
type StaticKeySet struct {
	byID map[string]*Key
	only *Key // the key of a set of one
	any  bool // only has no kid, and answers for every kid
	list []*Key
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
		s.only, s.any = keys[0], keys[0].id == ""
	}
	return s, nil
}

// Find returns the key named kid. A single key is also found by an empty kid,
// and a single key without a kid by any.
func (s *StaticKeySet) Find(_ context.Context, kid string) (*Key, error) {
	if k := s.find(kid); k != nil {
		return k, nil
	}
	if kid == "" {
		return nil, fmt.Errorf("%w: the token has no kid and the set %d keys", ErrUnknownKey, len(s.list))
	}
	return nil, fmt.Errorf("%w: kid %s", ErrUnknownKey, logtext.Quote(kid))
}

func (s *StaticKeySet) find(kid string) *Key {
	if s.only != nil && (s.any || kid == "") {
		return s.only
	}
	return s.byID[kid] // of "" there is none
}

// Keys returns the keys in the order they were given.
func (s *StaticKeySet) Keys() []*Key { return append([]*Key(nil), s.list...) }
