package httpauth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// now is the time of every test of this package.
var now = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

const issuerURL = "https://sso.acme.example"

// newVerifier returns a verifier and the issuer of what it accepts.
func newVerifier(t testing.TB) (*jwtverify.Verifier, *jwttest.Issuer) {
	t.Helper()
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: issuerURL})
	if err != nil {
		t.Fatal(err)
	}
	keys, problems, err := jwtverify.ParseKeySet(issuer.JWKS())
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return verifierOf(t, set), issuer
}

func verifierOf(t testing.TB, keys jwtverify.KeySet) *jwtverify.Verifier {
	t.Helper()
	v, err := jwtverify.New(jwtverify.Config{
		Keys: keys, Issuers: []string{issuerURL}, Audiences: []string{"posts"},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mint(t testing.TB, issuer *jwttest.Issuer, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"sub": "user:1", "aud": "posts", "exp": now.Add(time.Hour).Unix(),
		"tenant_id": "acme", "workspace_id": "ws_1",
		"roles": []string{"editor"}, "scopes": []string{"read:posts", "write:posts"},
	}
	for name, value := range changes {
		claims[name] = value
	}
	token, err := issuer.Mint(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// reason is what a request through Middleware is answered, Allowed for one
// that passed.
func reason(t testing.TB, auth httpauth.Authenticator, r *http.Request) answers.Reason {
	t.Helper()
	id, err := auth(r)
	if err == nil {
		if id == nil {
			t.Fatal("no identity and no error")
		}
		return answers.Allowed
	}
	var refusal *httpauth.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%v is no *httpauth.Error", err)
	}
	return refusal.Reason
}

// TestTokenSources: each row is also put to the reading of tokens that
// ussoauthz has, so that a service with and without it agree.
func TestTokenSources(t *testing.T) {
	verifier, issuer := newVerifier(t)
	auth := httpauth.FromToken(verifier, httpauth.DefaultSource())
	a, b := mint(t, issuer, nil), mint(t, issuer, map[string]any{"sub": "user:2"})
	tests := []struct {
		name   string
		header []string
		cookie []string
		want   answers.Reason
	}{
		{"nothing", nil, nil, answers.TokenNotFound},
		{"header", []string{"Bearer " + a}, nil, answers.Allowed},
		{"scheme in any case", []string{"bEARER " + a}, nil, answers.Allowed},
		{"two blanks", []string{"Bearer  " + a}, nil, answers.Allowed},
		{"cookie", nil, []string{"access_token=" + a}, answers.Allowed},
		{"quoted cookie", nil, []string{`access_token="` + a + `"`}, answers.Allowed},
		{"cookie among others", nil, []string{"x=1; access_token=" + a + "; y=2"}, answers.Allowed},
		{"cookie in the second line", nil, []string{"x=1", "access_token=" + a}, answers.Allowed},
		{"other cookies", nil, []string{"xaccess_token=" + a + "; access_tokenx=" + a}, answers.TokenNotFound},
		{"empty cookie", nil, []string{"access_token="}, answers.TokenNotFound},
		{"the same in both", []string{"Bearer " + a}, []string{"access_token=" + a}, answers.Allowed},
		{"two different", []string{"Bearer " + a}, []string{"access_token=" + b}, answers.InvalidRequest},
		{"two header lines", []string{"Bearer " + a, "Bearer " + a}, nil, answers.InvalidRequest},
		{"two cookies", nil, []string{"access_token=" + a + "; access_token=" + b}, answers.InvalidRequest},
		{"two cookies in two lines", nil, []string{"access_token=" + a, "access_token=" + b}, answers.InvalidRequest},
		{"the same cookie twice", nil, []string{"access_token=" + a + "; access_token=" + a}, answers.Allowed},
		{"Basic", []string{"Basic dTpw"}, nil, answers.TokenNotFound},
		{"Basic beside a cookie", []string{"Basic dTpw"}, []string{"access_token=" + a}, answers.TokenNotFound},
		{"a longer scheme", []string{"Bearers " + a}, nil, answers.TokenNotFound},
		{"a bare token", []string{a}, nil, answers.TokenNotFound},
		{"empty header", []string{""}, []string{"access_token=" + a}, answers.Allowed},
		{"Bearer alone", []string{"Bearer"}, nil, answers.TokenInvalid},
		{"Bearer alone beside a cookie", []string{"Bearer"}, []string{"access_token=" + a}, answers.TokenInvalid},
		{"Bearer and a tab", []string{"Bearer\t" + a}, nil, answers.TokenInvalid},
		{"two tokens", []string{"Bearer " + a + " " + b}, nil, answers.TokenInvalid},
		{"two joined by a comma", []string{"Bearer " + a + ",Bearer " + a}, nil, answers.TokenInvalid},
		{"blank before =", nil, []string{"access_token =" + a}, answers.TokenInvalid},
		{"blank after =", nil, []string{"access_token= " + a}, answers.TokenInvalid},
		{"no token in the cookie", nil, []string{"access_token=a,b"}, answers.TokenInvalid},
		{"too long", []string{"Bearer " + strings.Repeat("a", 16<<10+1)}, nil, answers.TokenInvalid},
		{"no JWS", []string{"Bearer abc"}, nil, answers.TokenInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/?access_token="+a, nil)
			var lines tenants.Headers
			for _, value := range test.header {
				r.Header.Add("Authorization", value)
				lines = append(lines, tenants.Header{Name: "authorization", Value: value})
			}
			for _, value := range test.cookie {
				r.Header.Add("Cookie", value)
				lines = append(lines, tenants.Header{Name: "cookie", Value: value})
			}
			if got := reason(t, auth, r); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if got := frontReason(t, verifier, lines); got != test.want {
				t.Errorf("pkg/tenants: got %s, want %s", got, test.want)
			}
		})
	}
}

// frontReason reads the token as ussoauthz does.
func frontReason(t *testing.T, v *jwtverify.Verifier, lines tenants.Headers) answers.Reason {
	t.Helper()
	credential, err := tenants.DefaultConfig().Header.Credential(lines)
	switch {
	case errors.Is(err, tenants.ErrAmbiguous):
		return answers.InvalidRequest
	case err != nil:
		return answers.TokenInvalid
	case credential.Token == "":
		return answers.TokenNotFound
	}
	if _, err := v.Verify(t.Context(), credential.Token); err != nil {
		return answers.TokenInvalid
	}
	return answers.Allowed
}

func TestTokenReasons(t *testing.T) {
	verifier, issuer := newVerifier(t)
	_, stranger := newVerifier(t)
	down := verifierOf(t, noKeys{})
	good := mint(t, issuer, nil)
	tests := []struct {
		name     string
		verifier *jwtverify.Verifier
		token    string
		want     answers.Reason
		cause    error
	}{
		{"good", verifier, good, answers.Allowed, nil},
		{"expired", verifier, mint(t, issuer, map[string]any{"exp": now.Add(-time.Minute).Unix()}), answers.TokenExpired, jwtverify.ErrExpired},
		{"not yet", verifier, mint(t, issuer, map[string]any{"nbf": now.Add(time.Minute).Unix()}), answers.TokenInvalid, jwtverify.ErrNotYetValid},
		{"audience", verifier, mint(t, issuer, map[string]any{"aud": "other"}), answers.TokenInvalid, jwtverify.ErrAudience},
		{"issuer", verifier, mint(t, issuer, map[string]any{"iss": "https://evil.example"}), answers.TokenInvalid, jwtverify.ErrIssuer},
		{"refresh token", verifier, mint(t, issuer, map[string]any{"token_type": "refresh"}), answers.TokenInvalid, jwtverify.ErrTokenType},
		{"other keys", verifier, mint(t, stranger, nil), answers.TokenInvalid, jwtverify.ErrSignature},
		{"no keys", down, good, answers.KeysUnavailable, jwtverify.ErrKeysUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+test.token)
			auth := httpauth.FromToken(test.verifier, httpauth.DefaultSource())
			if got := reason(t, auth, r); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if _, err := auth(r); !errors.Is(err, test.cause) {
				t.Errorf("got %v, want %v", err, test.cause)
			}
		})
	}
}

func TestTokenIdentity(t *testing.T) {
	verifier, issuer := newVerifier(t)
	source := httpauth.Source{Header: "X-Token"}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Token", mint(t, issuer, nil))
	id, err := httpauth.FromToken(verifier, source)(r)
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject != "user:1" || id.TenantID != "acme" || id.WorkspaceID != "ws_1" {
		t.Errorf("got %+v", id)
	}
	if _, err := httpauth.FromToken(verifier, httpauth.Source{})(r); err == nil {
		t.Error("a source without header and cookie found a token")
	}
}
