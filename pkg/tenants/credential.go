package tenants

import (
	"errors"
	"fmt"
	"strings"
)

// The two ways a credential is refused.
var (
	// ErrAmbiguous: the request carries two credentials, and which one counts
	// is a matter of taste. Answer 400.
	ErrAmbiguous = errors.New("ambiguous credential")
	// ErrMalformed: there is a credential, but not one token. Answer 401.
	ErrMalformed = errors.New("malformed credential")
)

// maxToken bounds a token before anything decodes it.
const maxToken = 16 << 10

// Credential is the token of a request and where it stood. The zero value: the
// request carries none.
type Credential struct {
	Token          string
	Header, Cookie bool
}

// Credential returns the one token of a request. Header and cookie may both
// carry it, but only the same one. Query parameters are never looked at.
//
// An authorization header of another scheme is no credential, and a cookie
// beside it is not used: a request that says who it is by other means must not
// silently become somebody else.
//
// The error wraps ErrAmbiguous or ErrMalformed and holds nothing of the token.
func (s TokenSource) Credential(h Headers) (Credential, error) {
	token, foreign, err := s.fromHeader(h)
	if err != nil || foreign {
		return Credential{}, err
	}
	cookie, err := s.fromCookie(h)
	if err != nil {
		return Credential{}, err
	}
	switch {
	case cookie == "":
		return Credential{Token: token, Header: token != ""}, nil
	case token != "" && token != cookie:
		return Credential{}, fmt.Errorf("%w: header and cookie differ", ErrAmbiguous)
	case !isTokenText(cookie):
		return Credential{}, fmt.Errorf("%w: cookie %s is no token", ErrMalformed, s.Cookie)
	}
	return Credential{Token: cookie, Header: token != "", Cookie: true}, nil
}

// fromHeader returns the header's token, "" where there is none; foreign tells
// that the header is of another scheme.
func (s TokenSource) fromHeader(h Headers) (token string, foreign bool, err error) {
	value, lines := "", 0
	for i := range h {
		if s.Header != "" && equalFold(h[i].Name, s.Header) {
			value = h[i].Value
			lines++
		}
	}
	if lines > 1 {
		// RFC 9110 section 11.6.2 allows one; proxies differ on which of two
		// they keep.
		return "", false, fmt.Errorf("%w: %d lines of header %s", ErrAmbiguous, lines, s.Header)
	}
	if value == "" {
		return "", false, nil
	}
	prefix := s.scheme()
	if prefix != "" {
		if len(value) < len(prefix) || !equalFold(value[:len(prefix)], prefix) {
			return "", true, nil
		}
		value = value[len(prefix):]
		if value != "" && isTchar(value[0]) {
			return "", true, nil // "Bearert": a longer scheme
		}
		if !strings.HasPrefix(value, " ") {
			return "", false, fmt.Errorf("%w: no blank after %s", ErrMalformed, prefix)
		}
		value = strings.TrimLeft(value, " ")
	}
	if !isTokenText(value) {
		return "", false, fmt.Errorf("%w: header %s holds something else than one token", ErrMalformed, s.Header)
	}
	return value, false, nil
}

// scheme returns what stands before the token in the header.
func (s TokenSource) scheme() string {
	switch {
	case s.Prefix != nil:
		return *s.Prefix
	case equalFold(s.Header, "authorization"):
		return "Bearer"
	}
	return ""
}

// fromCookie returns the value of the token's cookie, unchecked; "" where
// there is none.
func (s TokenSource) fromCookie(h Headers) (string, error) {
	if s.Cookie == "" {
		return "", nil
	}
	found := ""
	// HTTP/2 may split the header into one line for each pair (RFC 9113
	// section 8.2.3): all lines count as one list.
	for i := range h {
		if h[i].Name != "cookie" {
			continue
		}
		for rest, more := h[i].Value, true; more; {
			var pair string
			pair, rest, more = strings.Cut(rest, ";")
			value, ours := s.cookieValue(pair)
			if !ours || value == "" || value == found {
				continue
			}
			// Another page of the domain can add a cookie of the same name
			// ("tossing"), and who reads first or last takes the attacker's.
			if found != "" {
				return "", fmt.Errorf("%w: two values of cookie %s", ErrAmbiguous, s.Cookie)
			}
			found = value
		}
	}
	return found, nil
}

// cookieValue returns the value of a pair of a Cookie header, and whether the
// pair is the token's. A pair of ours with blanks before '=' is returned whole,
// and blanks behind it stay: neither is a token, however it is compared.
func (s TokenSource) cookieValue(pair string) (value string, ours bool) {
	pair = strings.Trim(pair, " \t")
	if !strings.HasPrefix(pair, s.Cookie) {
		return "", false
	}
	rest := pair[len(s.Cookie):]
	trimmed := strings.TrimLeft(rest, " \t")
	if !strings.HasPrefix(trimmed, "=") {
		return "", false // a longer name, or a name without a value
	}
	value = trimmed[1:]
	if len(trimmed) != len(rest) {
		return pair, true
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value, true
}

// isTokenText tells whether s can be one token: the characters of RFC 9110's
// token68, which are all that a compact JWS has and more.
func isTokenText(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return true
}

var tokenByte = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") {
		t[c] = true
	}
	return t
}()

// Strip returns the Cookie header without the token's cookie, for an upstream
// that must not see it. keep is false where nothing is left: remove the header.
func (s TokenSource) Strip(h Headers) (cookie string, keep bool) {
	if only, lines := h.Get("cookie"); lines == 1 && !s.holdsCookie(only) {
		return only, only != ""
	}
	var b strings.Builder
	for i := range h {
		if h[i].Name != "cookie" {
			continue
		}
		for rest, more := h[i].Value, true; more; {
			var pair string
			pair, rest, more = strings.Cut(rest, ";")
			pair = strings.Trim(pair, " \t")
			if pair == "" || s.holdsCookie(pair) {
				continue
			}
			if b.Len() > 0 {
				b.WriteString("; ")
			}
			b.WriteString(pair)
		}
	}
	return b.String(), b.Len() > 0
}

// holdsCookie tells whether a Cookie header holds a pair of ours.
func (s TokenSource) holdsCookie(header string) bool {
	if s.Cookie == "" {
		return false
	}
	for rest, more := header, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, ";")
		if _, ours := s.cookieValue(pair); ours {
			return true
		}
	}
	return false
}
