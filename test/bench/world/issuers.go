// Package world is what the bench measures in: issuers that mint and publish
// keys, configurations of the service, and the CheckRequests that Envoy would
// send.
package world

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

const audience = "bench"

// Issuers are tenants t0, t1, … with an issuer of their own each, behind one
// HTTP server.
type Issuers struct {
	list     []*jwttest.Issuer
	stranger *jwttest.Issuer // signs as if it were t0's issuer
	http     *httptest.Server
	now      time.Time
}

// NewIssuers makes n issuers with so many EdDSA keys each, of which the last
// signs, and serves their keys.
func NewIssuers(n, keys int) (*Issuers, error) {
	s := &Issuers{list: make([]*jwttest.Issuer, n), now: time.Now()}
	for i := range s.list {
		issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: issuerOf(i)})
		if err != nil {
			return nil, err
		}
		for range keys - 1 {
			if err := issuer.Rotate(true); err != nil {
				return nil, err
			}
		}
		s.list[i] = issuer
	}
	var err error
	s.stranger, err = jwttest.NewIssuer(jwttest.Options{Issuer: issuerOf(0), KeyIDs: []string{s.list[0].KeyID(jwtverify.EdDSA)}})
	if err != nil {
		return nil, err
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s, nil
}

// Close stops the server.
func (s *Issuers) Close() { s.http.Close() }

func (s *Issuers) serve(w http.ResponseWriter, r *http.Request) {
	i, err := strconv.Atoi(r.URL.Path[1:])
	if err != nil || i < 0 || i >= len(s.list) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(s.list[i].JWKS()) // the service went away
}

func tenantOf(i int) string { return "t" + strconv.Itoa(i) }

// Host is where tenant i is served.
func Host(i int) string { return "api." + tenantOf(i) + ".example" }

func issuerOf(i int) string          { return "https://sso." + tenantOf(i) + ".example" }
func (s *Issuers) keys(i int) string { return fmt.Sprintf("%s/%d", s.http.URL, i) }

// Mint returns a token of tenant i for its user n, as USSO's platform writes
// them. With another id it is another token with the same rights. change may
// edit the claims.
func (s *Issuers) Mint(i, n int, id string, change func(map[string]any), opts ...jwttest.MintOption) (string, error) {
	claims := s.claims(i, n, id)
	if change != nil {
		change(claims)
	}
	return s.list[i].Mint(claims, opts...)
}

// Forge returns a token that names t0's key, but that another one signed.
func (s *Issuers) Forge(n int, id string) (string, error) {
	return s.stranger.Mint(s.claims(0, n, id))
}

func (s *Issuers) claims(i, n int, id string) map[string]any {
	user := fmt.Sprintf("user:%08d-0000-4000-8000-%012d", i, n)
	return map[string]any{
		"iss": issuerOf(i), "jti": id, "sub": user, "user_id": user, "aud": audience,
		"tenant_id": tenantOf(i), "workspace_id": "ws_0123456789", "session_id": "se_" + id,
		"roles": []string{"editor", "member"}, "scopes": []string{"read:items", "write:items", "read:media/files"},
		"token_type": "access", "iat": s.now.Unix(), "exp": s.now.Add(time.Hour).Unix(),
	}
}
