package jwtverify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
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
				return claimRef{}, fmt.Errorf("JSON pointer %s: a ~ must be followed by 0 or 1", logtext.Quote(s))
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

// ussoNames are the names of USSO, which most tenants share.
var ussoNames = claimNames{
	userID: plain("user_id"), subject: plain("sub"), tenantID: plain("tenant_id"), workspaceID: plain("workspace_id"),
	roles: plain("roles"), scopes: plain("scopes"), tokenType: plain("token_type"), sessionID: plain("session_id"),
}

// newClaimNames applies the configured mapping to the names of USSO. What
// decides about trust and time (iss, aud, exp, nbf, iat, jti) is not mappable.
func newClaimNames(mapping map[string]string) (*claimNames, error) {
	if len(mapping) == 0 {
		return &ussoNames, nil
	}
	n := ussoNames
	fields := map[string]*claimRef{}
	for _, field := range []*claimRef{&n.userID, &n.subject, &n.tenantID, &n.workspaceID, &n.roles, &n.scopes, &n.tokenType, &n.sessionID} {
		fields[field.name] = field
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(mapping)) {
		field, ok := fields[name]
		if !ok {
			errs = append(errs, fmt.Errorf("claims: %s can't be mapped: use one of %s", logtext.Quote(name),
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
	return &n, errors.Join(errs...)
}
