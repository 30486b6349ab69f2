package oracle

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var compactJWS = regexp.MustCompile("^[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]+$")

// verify returns whom the token speaks for, or the reason for which it is
// refused: expired, where nothing else that comes before is wrong with it.
func (t *tenant) verify(token string, now time.Time) (id *Identity, refusal string) {
	const bad = "token_invalid"
	// 1. Three segments in their only spelling.
	if !compactJWS.MatchString(token) {
		return nil, bad
	}
	segments := strings.Split(token, ".")
	var decoded [3]string
	for i, segment := range segments {
		b, err := base64.RawURLEncoding.Strict().DecodeString(segment)
		if err != nil {
			return nil, bad
		}
		decoded[i] = string(b)
	}
	// 2. The header, understood completely.
	alg, kid, ok := joseHeader(decoded[0])
	if !ok || len(decoded[0]) > 2048 {
		return nil, bad
	}
	// 3. The key that it names, for an algorithm that both allow, and 4. the
	// signature over what was sent.
	if !slices.Contains(t.algorithms(), alg) || !t.signed(alg, kid, segments[0]+"."+segments[1], decoded[2]) {
		return nil, bad
	}
	// 5. The claims.
	value, ok := parseJSON(decoded[1], 32)
	claims, isObject := value.(map[string]any)
	if !ok || !isObject {
		return nil, bad
	}
	c := claimReader{t: t, claims: claims, ok: true}
	id = c.identity()
	exp, nbf, iat := c.date("exp"), c.date("nbf"), c.date("iat")
	issuer, audiences := c.text("iss", false), c.audiences()
	tokenType, typed := c.optional("token_type")
	if !typed {
		tokenType = "access"
	}
	tenantID, has := c.optional("tenant_id")
	if id.Issued = iat; !c.ok || id.UserID == "" || t.VerifyExp && exp == 0 {
		return nil, bad
	}
	// 6. Times, audience, issuer, type and tenant.
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	if t.VerifyExp && !now.Before(at(exp).Add(t.Leeway)) {
		return nil, "token_expired"
	}
	early := func(date int64) bool { return date != 0 && now.Add(t.Leeway).Before(at(date)) }
	accepted := func(a string) bool { return slices.Contains(t.Audience, a) }
	if t.VerifyNbf && early(nbf) || early(iat) ||
		t.VerifyAud && !slices.ContainsFunc(audiences, accepted) ||
		t.VerifyIss && !slices.Contains(t.Issuer, issuer) ||
		!slices.Contains(t.TokenTypes, tokenType) ||
		has && !t.acceptsID(tenantID) || !has && t.mustName {
		return nil, bad
	}
	return id, ""
}

// acceptsID: "*" is any tenant_id but those of tenants whose tokens look alike.
func (t *tenant) acceptsID(id string) bool {
	if slices.Equal(t.TenantIDs, list{"*"}) {
		return id == t.id || !slices.Contains(t.others, id)
	}
	return slices.Contains(t.TenantIDs, id)
}

// joseHeader takes what says how to verify (RFC 7515, 4.1). What would change
// the meaning of the signature is refused.
func joseHeader(text string) (alg, kid string, ok bool) {
	value, ok := parseJSON(text, 10000)
	header, isObject := value.(map[string]any)
	if !ok || !isObject {
		return "", "", false
	}
	for name, value := range header {
		s, isText := value.(string)
		s = strings.TrimPrefix(strings.ToLower(s), "application/")
		switch name {
		case "alg", "kid":
			ok = ok && isText
		case "typ":
			ok = ok && isText && (s == "jwt" || s == "at+jwt")
		case "cty":
			ok = ok && isText && s != "jwt"
		case "crit", "b64", "zip", "enc":
			ok = false
		}
	}
	alg, _ = header["alg"].(string)
	kid, _ = header["kid"].(string)
	if alg == "Ed25519" {
		alg = "EdDSA"
	}
	return alg, kid, ok
}

// claimReader reads claims by our names; ok turns false at one of a wrong type.
type claimReader struct {
	t      *tenant
	claims map[string]any
	ok     bool
}

func (c *claimReader) need(ok bool) { c.ok = c.ok && ok }

// find looks where the tenant's issuer puts a claim.
func (c *claimReader) find(name string) (value any, found bool) {
	place, mapped := c.t.Claims[name]
	if !mapped {
		place = name
	}
	pointer, isPointer := strings.CutPrefix(place, "/")
	if !isPointer {
		value, found = c.claims[place]
		return value, found
	}
	value, found = c.claims, true
	for _, step := range strings.Split(pointer, "/") { // RFC 6901
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		switch v := value.(type) {
		case map[string]any:
			value, found = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			found = err == nil && i >= 0 && i < len(v) && strconv.Itoa(i) == step
			if found {
				value = v[i]
			}
		default:
			found = false
		}
		if !found {
			return nil, false
		}
	}
	return value, true
}

// optional reads a text; null is none.
func (c *claimReader) optional(name string) (text string, found bool) {
	value, found := c.find(name)
	if !found || value == nil {
		return "", false
	}
	text, isText := value.(string)
	c.need(isText)
	return text, true
}

func (c *claimReader) text(name string, nullable bool) string {
	value, found := c.find(name)
	c.need(nullable || !found || value != nil)
	text, _ := c.optional(name)
	return text
}

// texts reads a list of texts, or one text that split takes apart.
func (c *claimReader) texts(name string, split func(string) []string) (list []string) {
	value, _ := c.find(name)
	switch value := value.(type) {
	case nil:
	case string:
		list = split(value)
	case []any:
		for _, element := range value {
			text, isText := element.(string)
			c.need(isText)
			list = append(list, text)
		}
	default:
		c.ok = false
	}
	return list
}

func (c *claimReader) audiences() []string {
	value, found := c.find("aud")
	c.need(!found || value != nil)
	return c.texts("aud", func(s string) []string { return []string{s} })
}

// date reads seconds since 1970 and drops a fraction; 0: missing.
func (c *claimReader) date(name string) int64 {
	value, found := c.find(name)
	text, isNumber := value.(number)
	if !found || !isNumber {
		c.need(!found)
		return 0
	}
	whole, _, _ := strings.Cut(string(text), ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if strings.ContainsAny(string(text), "eE") {
		var f float64
		f, err = strconv.ParseFloat(string(text), 64)
		seconds = int64(min(max(f, 0), 1e12))
	}
	const endOf9999 = 253402300799
	c.need(err == nil && 1 <= seconds && seconds <= endOf9999)
	return seconds
}

func (c *claimReader) identity() *Identity {
	id := &Identity{Claims: c.claims}
	id.Subject, id.UserID = c.text("sub", false), c.text("user_id", true)
	if id.UserID == "" {
		id.UserID = id.Subject
	}
	id.WorkspaceID, id.SessionID, id.ID = c.text("workspace_id", true), c.text("session_id", true), c.text("jti", true)
	id.Roles = c.texts("roles", func(s string) []string { return slices.DeleteFunc([]string{s}, func(s string) bool { return s == "" }) })
	id.Scopes = c.texts("scopes", func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }) })
	return id
}
