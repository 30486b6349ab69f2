package jwtverify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// header holds the members of a JOSE header that choose the key (RFC 7515, 4.1). Keys
// and certificates that a header carries or points to (jwk, jku, x5c, x5u) are the
// sender's word and are never read.
type header struct {
	alg string
	kid string // "" where it is missing or empty
}

// parseHeader parses a decoded header strictly: it refuses duplicate members, wrong
// types, invalid UTF-8, data after the object, and every extension that would change
// what the signature means. The errors wrap ErrMalformed.
func parseHeader(b []byte) (header, error) {
	var h header
	if err := json.Unmarshal(b, &h); err != nil {
		return header{}, fmt.Errorf("%w: header: %s", ErrMalformed, describeError(err))
	}
	if h.alg == "" {
		return header{}, fmt.Errorf("%w: header has no alg", ErrMalformed)
	}
	return h, nil
}

// UnmarshalJSONFrom reads the members one by one: with struct tags a null would look
// like a missing member.
func (h *header) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if t, err := d.ReadToken(); err != nil {
		return err
	} else if t.Kind() != '{' {
		return formError("not a JSON object")
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
			err = formError("typ is neither JWT nor at+jwt")
		}
	case "cty":
		var cty string
		if cty, err = readString(d, "cty is not a string"); err == nil && isType(cty, "jwt") {
			err = formError("nested token (cty JWT)") // RFC 7519, 5.2
		}
	case "crit":
		err = formError("crit: no extension is understood") // RFC 7515, 4.1.11
	case "b64", "zip", "enc":
		err = formError("a member (b64, zip, enc) that has no place in a signed token") // RFC 7797, 7
	default:
		err = d.SkipValue()
	}
	return err
}

// isType compares a media type without regard to case, and with or without
// "application/" (RFC 7515, 4.1.9).
func isType(s, want string) bool {
	if len(s) > len(want) && strings.EqualFold(s[:len(s)-len(want)], "application/") {
		s = s[len("application/"):]
	}
	return strings.EqualFold(s, want)
}

func readString(d *jsontext.Decoder, problem string) (string, error) {
	t, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	if t.Kind() != '"' {
		return "", formError(problem)
	}
	return t.String(), nil
}

// formError says what is wrong with a header or with claims. It is a constant text,
// without bytes of the token.
type formError string

func (e formError) Error() string { return string(e) }

// describeError returns the text of a formError, or of a decoder's error without the bytes
// that it may quote.
func describeError(err error) string {
	var e formError
	if errors.As(err, &e) {
		return string(e)
	}
	return logtext.JSONError(err)
}
