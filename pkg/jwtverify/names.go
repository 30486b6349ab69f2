package jwtverify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// claimRef tells where a claim is: under a name, or at a JSON pointer.
type claimRef struct {
	name string   // as configured
	path []string // of a pointer, decoded; nil for a plain name
}

func plain(name string) claimRef { return claimRef{name: name} }

// parseClaimRef reads a name, or a JSON pointer (RFC 6901) where s starts with
// a slash.
func parseClaimRef(s string) (claimRef, error) {
	if s == "" {
		return claimRef{}, errors.New("empty claim name")
	}
	if s[0] != '/' {
		return plain(s), nil
	}
	path := strings.Split(s[1:], "/")
	for i, token := range path {
		for rest := token; ; {
			_, after, found := strings.Cut(rest, "~")
			if !found {
				break
			}
			if after == "" || (after[0] != '0' && after[0] != '1') {
				return claimRef{}, fmt.Errorf("JSON pointer %s: a ~ must be followed by 0 or 1", quote(s))
			}
			rest = after
		}
		path[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return claimRef{name: s, path: path}, nil
}

// claimNames tells where each claim with a name of ours is.
type claimNames struct {
	userID, subject, tenantID, workspaceID, roles, scopes, tokenType, sessionID claimRef
}

// ussoNames are those of most tenants, which share them.
var ussoNames, _ = newClaimNames(nil)

// newClaimNames applies the configured mapping to the names of USSO. What
// decides about trust and time (iss, aud, exp, nbf, iat, jti) is not mappable.
func newClaimNames(mapping map[string]string) (*claimNames, error) {
	n := &claimNames{}
	fields := map[string]*claimRef{
		"user_id":      &n.userID,
		"sub":          &n.subject,
		"tenant_id":    &n.tenantID,
		"workspace_id": &n.workspaceID,
		"roles":        &n.roles,
		"scopes":       &n.scopes,
		"token_type":   &n.tokenType,
		"session_id":   &n.sessionID,
	}
	for name, field := range fields {
		*field = plain(name)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(mapping)) {
		field, ok := fields[name]
		if !ok {
			errs = append(errs, fmt.Errorf("claims: %s can't be mapped: use one of %s", quote(name),
				strings.Join(slices.Sorted(maps.Keys(fields)), ", ")))
			continue
		}
		ref, err := parseClaimRef(mapping[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("claims: %s: %w", name, err))
			continue
		}
		*field = ref
	}
	return n, errors.Join(errs...)
}
