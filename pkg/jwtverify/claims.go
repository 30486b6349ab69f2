package jwtverify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// maxDate is the last second of the year 9999. A NumericDate beyond it would
// wrap in the arithmetic of times and turn a far future into the past.
const maxDate = 253402300799

// claims holds the claims that are checked or handed on, in their types.
type claims struct {
	expiry, notBefore, issuedAt int64 // 0: missing
	issuer                      string
	audiences                   []string
	id                          string

	subject, userID, workspaceID, sessionID, tokenType string

	tenantID    string
	hasTenantID bool

	roles, scopes []string
}

// readClaims reads the known claims of a set. A claim of the wrong type is refused even
// where its check is switched off. null counts as missing for the optional strings and
// lists; for exp, nbf, iat, iss, aud and sub it is a wrong type, as an issuer that
// writes null for one of them means something else than its absence. The errors wrap
// ErrMalformed.
func readClaims(set *claimSet, names *claimNames) (claims, error) {
	r := claimReader{set: set}
	c := claims{
		expiry:      r.date("exp"),
		notBefore:   r.date("nbf"),
		issuedAt:    r.date("iat"),
		issuer:      r.stringNotNull(topLevel("iss")),
		audiences:   r.audiences(),
		subject:     r.stringNotNull(names.subject),
		userID:      r.string(names.userID),
		workspaceID: r.string(names.workspaceID),
		sessionID:   r.string(names.sessionID),
		id:          r.string(topLevel("jti")),
		roles:       r.list(names.roles, oneRole),
		scopes:      r.list(names.scopes, splitScopes),
	}
	c.tenantID, c.hasTenantID = r.optional(names.tenantID)
	var hasType bool
	if c.tokenType, hasType = r.optional(names.tokenType); !hasType {
		c.tokenType = "access"
	}
	if c.userID == "" {
		c.userID = c.subject
	}
	if c.userID == "" {
		r.fail("user_id and sub", "missing or empty: the token speaks for nobody")
	}
	return c, r.err
}

// claimReader reads typed claims. Its methods return a zero value after an error, and
// the first error stays: so readClaims is a list without a check at each line.
type claimReader struct {
	set *claimSet
	err error
}

func (r *claimReader) fail(claim, problem string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: claim %s: %s", ErrMalformed, claim, problem)
	}
}

// optional reads a string; null counts as missing.
func (r *claimReader) optional(ref claimRef) (s string, found bool) {
	text, found := r.set.find(ref)
	switch {
	case !found || text == "null":
		return "", false
	case text[0] != '"':
		r.fail(ref.name, "not a string")
		return "", true
	}
	return unquote(text), true
}

func (r *claimReader) string(ref claimRef) string {
	s, _ := r.optional(ref)
	return s
}

// stringNotNull reads a string that may be missing but not null.
func (r *claimReader) stringNotNull(ref claimRef) string {
	if text, _ := r.set.find(ref); text == "null" {
		r.fail(ref.name, "not a string")
		return ""
	}
	return r.string(ref)
}

// list reads a list of strings, or one string that split turns into a list.
func (r *claimReader) list(ref claimRef, split func(string) []string) []string {
	text, found := r.set.find(ref)
	switch {
	case !found || text == "null":
		return nil
	case text[0] == '"':
		return split(unquote(text))
	case text[0] == '[':
		return r.strings(ref.name, text)
	}
	r.fail(ref.name, "neither a string nor a list of strings")
	return nil
}

// strings reads a list of strings; nil where it is empty.
func (r *claimReader) strings(claim, array string) []string {
	list := elements(array)
	for i, text := range list {
		if text[0] != '"' {
			r.fail(claim, "a list with an element that is no string")
			return nil
		}
		list[i] = unquote(text)
	}
	return list
}

// audiences reads aud: one string or a list of them (RFC 7519, 4.1.3).
func (r *claimReader) audiences() []string {
	text, found := r.set.find(topLevel("aud"))
	switch {
	case !found:
		return nil
	case text[0] == '"':
		return []string{unquote(text)}
	case text[0] == '[':
		return r.strings("aud", text)
	}
	r.fail("aud", "neither a string nor a list of strings")
	return nil
}

// date reads a NumericDate (RFC 7519, 2) in Unix seconds; 0 where it is missing.
func (r *claimReader) date(claim string) int64 {
	text, found := r.set.find(topLevel(claim))
	if !found {
		return 0
	}
	if text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		r.fail(claim, "not a number")
		return 0
	}
	sec, ok := parseDate(text)
	if !ok {
		r.fail(claim, "not a date from 1970 to 9999")
	}
	return sec
}

// parseDate parses a JSON number of seconds since 1970, without its fraction.
func parseDate(n string) (int64, bool) {
	if strings.ContainsAny(n, "eE") {
		f, _ := strconv.ParseFloat(n, 64) // infinite where it is out of range
		if f >= 1 && f < maxDate+1 {
			return int64(f), true
		}
		return 0, false
	}
	integer, _, _ := strings.Cut(n, ".")
	sec, _ := strconv.ParseInt(integer, 10, 64) // the nearest integer where it is out of range
	return sec, sec >= 1 && sec <= maxDate
}

func oneRole(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// splitScopes splits at spaces and at nothing else (RFC 6749, 3.3).
func splitScopes(s string) []string {
	fields := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
	if len(fields) == 0 {
		return nil // as for every other claim that holds nothing
	}
	return fields
}

// identity returns the public form of verified claims.
func (c *claims) identity(set *claimSet) *Identity {
	return &Identity{
		Subject:     c.subject,
		UserID:      c.userID,
		TenantID:    c.tenantID,
		WorkspaceID: c.workspaceID,
		Roles:       c.roles,
		Scopes:      c.scopes,
		TokenType:   c.tokenType,
		SessionID:   c.sessionID,
		ID:          c.id,
		Issuer:      c.issuer,
		Expiry:      dateTime(c.expiry),
		NotBefore:   dateTime(c.notBefore),
		IssuedAt:    dateTime(c.issuedAt),
		Claims:      &Claims{raw: set.raw},
	}
}

func dateTime(sec int64) time.Time {
	if sec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, 0).UTC()
}

// claimRef locates a claim: by a name at the top level, or by a JSON pointer.
type claimRef struct {
	name string   // as configured
	path []string // of a pointer, decoded; nil for a name at the top level
}

func topLevel(name string) claimRef { return claimRef{name: name} }

// parseClaimRef parses a name, or a JSON pointer (RFC 6901) where s starts with a
// slash.
func parseClaimRef(s string) (claimRef, error) {
	if s == "" {
		return claimRef{}, errors.New("empty claim name")
	}
	if s[0] != '/' {
		return topLevel(s), nil
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

// claimNames locates each claim that a tenant may map.
type claimNames struct {
	userID, subject, tenantID, workspaceID, roles, scopes, tokenType, sessionID claimRef
}

// ussoNames are the names of USSO, which most tenants share.
var ussoNames = claimNames{
	userID: topLevel("user_id"), subject: topLevel("sub"), tenantID: topLevel("tenant_id"), workspaceID: topLevel("workspace_id"),
	roles: topLevel("roles"), scopes: topLevel("scopes"), tokenType: topLevel("token_type"), sessionID: topLevel("session_id"),
}

// newClaimNames applies the configured mapping to the names of USSO. The claims that
// decide about trust and time (iss, aud, exp, nbf, iat, jti) cannot be mapped.
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
