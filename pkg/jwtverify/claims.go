package jwtverify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxDate is the last second of the year 9999. A NumericDate beyond it would
// wrap in the arithmetic of times and turn a far future into the past.
const maxDate = 253402300799

// claims are the claims that decide, in their proper types.
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

// readClaims takes the known claims out of the set. A claim of the wrong type
// is refused even where its check is switched off. null counts as missing for
// the optional strings and lists; for exp, nbf, iat, iss, aud and sub it is a
// wrong type. The errors wrap ErrMalformed.
func readClaims(set *claimSet, names *claimNames) (claims, error) {
	r := claimReader{set: set}
	c := claims{
		expiry:      r.date("exp"),
		notBefore:   r.date("nbf"),
		issuedAt:    r.date("iat"),
		issuer:      r.stringNotNull(plain("iss")),
		audiences:   r.audiences(),
		subject:     r.stringNotNull(names.subject),
		userID:      r.string(names.userID),
		workspaceID: r.string(names.workspaceID),
		sessionID:   r.string(names.sessionID),
		id:          r.string(plain("jti")),
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

// claimReader reads typed claims and keeps the first fault.
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

// list reads a list of strings, or one string that split takes apart.
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

// strings reads a list of strings; nil is one without any.
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
	text, found := r.set.find(plain("aud"))
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

// date reads a NumericDate (RFC 7519, 2); 0 is a missing one.
func (r *claimReader) date(claim string) int64 {
	text, found := r.set.find(plain(claim))
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

// parseDate reads seconds since 1970 from a JSON number and drops a fraction.
func parseDate(n string) (int64, bool) {
	if strings.ContainsAny(n, "eE") {
		f, _ := strconv.ParseFloat(n, 64) // infinite where it is out of range
		if f >= 1 && f < maxDate+1 {
			return int64(f), true
		}
		return 0, false
	}
	whole, _, _ := strings.Cut(n, ".")
	sec, _ := strconv.ParseInt(whole, 10, 64) // the nearest integer where it is out of range
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

// identity puts verified claims into the public form.
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
