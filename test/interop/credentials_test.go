//go:build interop

package interop

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// sdkRequest is what the SDK sees of a request.
type sdkRequest struct {
	Headers map[string]string `json:"headers"`
	Cookies map[string]string `json:"cookies"`
}

// extractionCase is a request in which both sides look for a token.
type extractionCase struct {
	name    string
	header  string // the token's; "": Authorization
	request sdkRequest
}

const (
	headerToken = "aGVhZGVy.aGVhZGVy.aGVhZGVy"
	cookieToken = "Y29va2ll.Y29va2ll.Y29va2ll"
	tokenCookie = "usso-access-token" // the SDK's default
)

func extractionCases() []extractionCase {
	authorization := func(value string) map[string]string { return map[string]string{"Authorization": value} }
	cookie := map[string]string{tokenCookie: cookieToken}
	return []extractionCase{
		{name: "a Bearer token", request: sdkRequest{Headers: authorization("Bearer " + headerToken)}},
		{name: "bearer in lower case", request: sdkRequest{Headers: authorization("bearer " + headerToken)}},
		{name: "a cookie", request: sdkRequest{Cookies: cookie}},
		{name: "no credential", request: sdkRequest{}},
		{name: "the same token in header and cookie", request: sdkRequest{Headers: authorization("Bearer " + cookieToken), Cookies: cookie}},
		{name: "a JWE", request: sdkRequest{Headers: authorization("Bearer YQ.YQ.YQ.YQ.YQ")}},
		{name: "a token in another header", header: "X-Token", request: sdkRequest{Headers: map[string]string{"X-Token": headerToken}}},
		{name: "another header that is missing", header: "X-Token", request: sdkRequest{Headers: authorization("Bearer " + headerToken)}},
		{name: "a Bearer token beside x-api-key", request: sdkRequest{Headers: map[string]string{"Authorization": "Bearer " + headerToken, "X-Api-Key": "key"}}},

		{name: "two tokens in header and cookie", request: sdkRequest{Headers: authorization("Bearer " + headerToken), Cookies: cookie}},
		{name: "a token without Bearer", request: sdkRequest{Headers: authorization(headerToken)}},
		{name: "Basic", request: sdkRequest{Headers: authorization("Basic dTpw")}},
		{name: "Basic beside a cookie", request: sdkRequest{Headers: authorization("Basic dTpw"), Cookies: cookie}},
		{name: "Bearer alone", request: sdkRequest{Headers: authorization("Bearer")}},
		{name: "Bearer alone beside a cookie", request: sdkRequest{Headers: authorization("Bearer"), Cookies: cookie}},
		{name: "Bearer and two tokens", request: sdkRequest{Headers: authorization("Bearer " + headerToken + " " + headerToken)}},
		{name: "Bearer and two spaces", request: sdkRequest{Headers: authorization("Bearer  " + headerToken)}},
		{name: "an API key after Bearer", request: sdkRequest{Headers: authorization("Bearer usso_sk_0123456789abcdef")}},
		{name: "an API key in x-api-key", request: sdkRequest{Headers: map[string]string{"X-Api-Key": "usso_sk_0123456789abcdef"}}},
		{name: "a token without a signature", request: sdkRequest{Headers: authorization("Bearer YQ.YQ.")}},
		{name: "Bearer in another header", header: "X-Token", request: sdkRequest{Headers: map[string]string{"X-Token": "Bearer " + headerToken}}},
	}
}

func (c extractionCase) headerName() string {
	if c.header == "" {
		return "Authorization"
	}
	return c.header
}

// TestUSSOCredentials has the SDK and us look for the token of the same
// requests. They must agree unless docs/divergences.md lists the case.
func TestUSSOCredentials(t *testing.T) {
	s := installSDK(t)
	listed := testkit.ReadDivergences(t, "The USSO SDK: where the token is")
	cases := extractionCases()
	sdkCases := make([]sdkCase, len(cases))
	for i, c := range cases {
		sdkCases[i] = sdkCase{Name: c.name, Request: &c.request, Config: map[string]any{
			"jwks_url":   "http://127.0.0.1:1/jwks.json", // never fetched
			"jwt_header": map[string]any{"header_name": c.headerName(), "cookie_name": tokenCookie},
		}}
	}
	theirs := s.judge(t, time.Now(), sdkCases)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			there, here, row := sdkFound(theirs[c.name]), found(c), listed.Find(c.name)
			switch {
			case there == here && row != nil:
				t.Errorf("%v says that the SDK and we differ, but both %s", row, here)
			case there != here && row == nil:
				t.Errorf("the SDK %s and we %s, and docs/divergences.md does not say so", there, here)
			case row != nil && (!strings.HasPrefix(row.There, there) || !strings.HasPrefix(row.Here, here)):
				t.Errorf("%v says %q there and %q here; the SDK %s, and we %s", row, row.There, row.Here, there, here)
			}
		})
	}
	listed.Finish(t)
}

// The outcomes, as docs/divergences.md begins the cell of a side.
const (
	usesHeader = "uses the header"
	usesCookie = "uses the cookie"
	usesAPIKey = "sends an API key"
	findsNone  = "finds none"
	refuses    = "refuses"
)

func outcomeOf(token string) string {
	switch token {
	case headerToken:
		return usesHeader
	case cookieToken:
		return usesCookie
	}
	return refuses // what is no token does not verify
}

func sdkFound(v verdict) string {
	switch v.Found {
	case "jwt":
		return outcomeOf(v.Value)
	case "api key":
		return usesAPIKey
	case "none":
		return findsNone
	}
	return refuses // jwe
}

func found(c extractionCase) string {
	var headers tenants.Headers
	for _, name := range slices.Sorted(maps.Keys(c.request.Headers)) {
		headers = append(headers, tenants.Header{Name: strings.ToLower(name), Value: c.request.Headers[name]})
	}
	for name, value := range c.request.Cookies {
		headers = append(headers, tenants.Header{Name: "cookie", Value: name + "=" + value})
	}
	credential, err := tenants.TokenSource{Header: c.headerName(), Cookie: tokenCookie}.Credential(headers)
	switch {
	case err != nil:
		return refuses
	case credential.Token == "":
		return findsNone
	}
	return outcomeOf(credential.Token)
}
