package httpauth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Source says where requests carry their token.
type Source struct {
	Header string // the header's name; "" is none
	Prefix string // the scheme before the token, in any case; "" is none
	Cookie string // the cookie's name; "" is none
	Realm  string // of WWW-Authenticate: the tenant's id
}

// DefaultSource returns where USSO clients put their token: the header
// "Authorization: Bearer …", or the cookie access_token.
func DefaultSource() Source {
	return Source{Header: "Authorization", Prefix: "Bearer", Cookie: "access_token"}
}

// The two ways in which a request can carry a token that is not one.
var (
	errAmbiguous = errors.New("more than one credential")
	errMalformed = errors.New("not one token")
)

// FromToken returns an Authenticator that verifies the token of a request, for
// a service that clients reach without ussoauthz in between. The rules are
// those of ussoauthz: header first, then cookie; two different tokens are 400;
// an Authorization of another scheme is no token, and then the cookie beside
// it is not used either. Tokens in the URL are never looked at.
//
// While the verifier has no keys to judge by, requests with a token get 503
// and Retry-After, and clients keep their sessions.
func FromToken(v *jwtverify.Verifier, source Source) Authenticator {
	return func(r *http.Request) (*jwtverify.Identity, error) {
		token, err := source.token(r.Header)
		switch {
		case errors.Is(err, errAmbiguous):
			return nil, &Error{Reason: answers.InvalidRequest, Err: err}
		case err != nil:
			return nil, &Error{Reason: answers.TokenInvalid, Realm: source.Realm, Err: err}
		case token == "":
			return nil, &Error{Reason: answers.TokenNotFound, Realm: source.Realm}
		}
		id, err := v.Verify(r.Context(), token)
		if err != nil {
			return nil, &Error{Reason: reasonOf(err), Realm: source.Realm, Err: err}
		}
		return id, nil
	}
}

// token returns the one token of a request, "" where it has none.
func (s Source) token(h http.Header) (string, error) {
	header, foreign, err := s.fromHeader(h)
	if err != nil || foreign {
		return "", err
	}
	cookie, err := s.fromCookie(h)
	switch {
	case err != nil:
		return "", err
	case cookie == "":
		return header, nil
	case header != "" && header != cookie:
		return "", fmt.Errorf("%w: header and cookie differ", errAmbiguous)
	case !tokenText(cookie):
		return "", fmt.Errorf("%w: the cookie", errMalformed)
	}
	return cookie, nil
}

// fromHeader returns the header's token; foreign tells that its scheme is
// another one.
func (s Source) fromHeader(h http.Header) (token string, foreign bool, err error) {
	if s.Header == "" {
		return "", false, nil
	}
	lines := h.Values(s.Header)
	if len(lines) > 1 {
		return "", false, fmt.Errorf("%w: %d header lines", errAmbiguous, len(lines))
	}
	if len(lines) == 0 || lines[0] == "" {
		return "", false, nil
	}
	value := lines[0]
	if s.Prefix != "" {
		n := len(s.Prefix)
		if len(value) < n || !strings.EqualFold(value[:n], s.Prefix) {
			return "", true, nil
		}
		value = value[n:]
		if value != "" && schemeByte(value[0]) {
			return "", true, nil // "Bearers": a longer scheme
		}
		if !strings.HasPrefix(value, " ") {
			return "", false, fmt.Errorf("%w: no blank after the scheme", errMalformed)
		}
		value = strings.TrimLeft(value, " ")
	}
	if !tokenText(value) {
		return "", false, fmt.Errorf("%w: the header", errMalformed)
	}
	return value, false, nil
}

// schemeByte tells whether c can stand in a scheme: RFC 9110's tchar.
func schemeByte(c byte) bool {
	return letterOrDigit(rune(c)) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// fromCookie returns the value of the token's cookie. Another site of the
// domain can add a cookie of the same name, so two values are ambiguous and
// neither the first nor the last wins.
func (s Source) fromCookie(h http.Header) (string, error) {
	if s.Cookie == "" {
		return "", nil
	}
	found := ""
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			value, ours := s.cookieValue(strings.Trim(pair, " \t"))
			if !ours || value == "" || value == found {
				continue
			}
			if found != "" {
				return "", fmt.Errorf("%w: two values of the cookie", errAmbiguous)
			}
			found = value
		}
	}
	return found, nil
}

// cookieValue returns the value of a pair, and whether the pair is the
// token's. Servers differ on blanks around "=": such a pair comes back whole,
// which is no token.
func (s Source) cookieValue(pair string) (value string, ours bool) {
	name, value, found := strings.Cut(pair, "=")
	if !found || strings.TrimRight(name, " \t") != s.Cookie {
		return "", false
	}
	if name != s.Cookie || strings.TrimLeft(value, " \t") != value {
		return pair, true
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value, true
}

// tokenText tells whether s can be a token at all: RFC 9110's token68, within
// the bound that the verifier has too.
func tokenText(s string) bool {
	const maxToken = 16 << 10
	if s == "" || len(s) > maxToken {
		return false
	}
	return strings.IndexFunc(s, func(c rune) bool { return !letterOrDigit(c) && !strings.ContainsRune("-._~+/=", c) }) < 0
}

func letterOrDigit(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
