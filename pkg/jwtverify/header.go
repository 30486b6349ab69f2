package jwtverify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// header is what a JOSE header says about how to verify (RFC 7515, 4.1). Keys
// and certificates that it carries or points to (jwk, jku, x5c, x5u) are the
// sender's word and are never looked at.
type header struct {
	alg string
	kid string // "" where it is missing or empty
}

// parseHeader reads a decoded header strictly: duplicate members, other types,
// invalid UTF-8, data behind the object and every extension that would change
// the meaning of the signature are refused. The errors wrap ErrMalformed.
func parseHeader(b []byte) (header, error) {
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return header{}, fmt.Errorf("%w: header: %s", ErrMalformed, tokenFault(err))
	}
	if h.alg == "" {
		return header{}, fmt.Errorf("%w: header has no alg", ErrMalformed)
	}
	return h, nil
}

// UnmarshalJSONFrom reads the members one by one: struct tags could not tell a
// null from a missing member.
func (h *header) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if t, err := d.ReadToken(); err != nil {
		return err
	} else if t.Kind() != '{' {
		return fault("not a JSON object")
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err == nil {
			err = h.readMember(d, name.String())
		}
		if err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func (h *header) readMember(d *jsontext.Decoder, name string) (err error) {
	switch name {
	case "alg":
		h.alg, err = readString(d, "alg is not a string")
	case "kid":
		h.kid, err = readString(d, "kid is not a string")
	case "typ":
		var typ string
		if typ, err = readString(d, "typ is not a string"); err == nil && !isType(typ, "jwt") && !isType(typ, "at+jwt") {
			err = fault("typ is neither JWT nor at+jwt")
		}
	case "cty":
		var cty string
		if cty, err = readString(d, "cty is not a string"); err == nil && isType(cty, "jwt") {
			err = fault("nested token (cty JWT)") // RFC 7519, 5.2
		}
	case "crit":
		err = fault("crit: no extension is understood") // RFC 7515, 4.1.11
	case "b64", "zip", "enc":
		err = fault("a member (b64, zip, enc) that has no place in a signed token") // RFC 7797, 7
	default:
		err = d.SkipValue()
	}
	return err
}

// isType compares a media type as RFC 7515, 4.1.9 says: in any case, and with
// or without "application/".
func isType(s, want string) bool {
	if len(s) > len(want) && strings.EqualFold(s[:len(s)-len(want)], "application/") {
		s = s[len("application/"):]
	}
	return strings.EqualFold(s, want)
}

func readString(d *jsontext.Decoder, otherwise string) (string, error) {
	t, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	if t.Kind() != '"' {
		return "", fault(otherwise)
	}
	return t.String(), nil
}

// fault is what is wrong with a header or with claims, in our own words: it
// never holds bytes of the token.
type fault string

func (f fault) Error() string { return string(f) }

// tokenFault keeps a decoder's error free of what it read.
func tokenFault(err error) string {
	var f fault
	if errors.As(err, &f) {
		return string(f)
	}
	return logtext.JSONError(err)
}
