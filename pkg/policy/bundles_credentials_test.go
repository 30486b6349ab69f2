package policy_test

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

const (
	bundleSecret = "s3cret-of-the-client"
	bundleToken  = "t0ken-for-bundles"
)

// account is a kind of credentials. give and see say what is wrong with a
// request for a token, and for a bundle; nil: who has bundleToken may have it.
type account struct {
	credentials func(tokens string) section // tokens is the URL of who gives tokens
	tls         bool                        // they are given over TLS alone
	give        func(r *http.Request, key signer) error
	answer      string // to who may have a token
	see         func(r *http.Request) error
}

var accounts = map[string]account{
	"oauth2 with a secret": {
		credentials: func(tokens string) section {
			return section{"oauth2": section{"token_url": tokens, "client_id": "gate", "client_secret": bundleSecret, "scopes": []string{"bundles", "read"}}}
		},
		tls: true,
		give: func(r *http.Request, _ signer) error {
			id, secret, _ := r.BasicAuth()
			if r.Method != http.MethodPost || id != "gate" || secret != bundleSecret || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "bundles read" {
				return fmt.Errorf("%s by %q with the form %v", r.Method, id, r.Form)
			}
			return nil
		},
		answer: `{"access_token": "` + bundleToken + `", "token_type": "Bearer", "expires_in": 600}`,
	},
	"oauth2 with a signed assertion": {
		credentials: func(tokens string) section {
			return section{"oauth2": section{"token_url": tokens, "client_id": "gate", "signing_key": "own", "additional_claims": section{"sub": "gate"}}}
		},
		tls: true,
		give: func(r *http.Request, key signer) error {
			if kind := r.FormValue("client_assertion_type"); kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				return fmt.Errorf("the assertion's type is %q", kind)
			}
			return signedES256(key.public, r.FormValue("client_assertion"))
		},
		answer: `{"access_token": "` + bundleToken + `", "token_type": "bearer", "expires_in": 600}`,
	},
	"S3": {
		credentials: func(string) section { return section{"s3_signing": section{"environment_credentials": section{}}} },
		see:         signedForS3,
	},
	"GCP": {
		credentials: func(tokens string) section {
			return section{"gcp_metadata": section{"endpoint": tokens, "audience": "bundles"}}
		},
		give: func(r *http.Request, _ signer) error {
			if r.Header.Get("Metadata-Flavor") != "Google" || r.FormValue("audience") != "bundles" {
				return fmt.Errorf("%v with %v", r.URL, r.Header)
			}
			return nil
		},
		answer: bundleToken,
	},
	"Azure": {
		credentials: func(tokens string) section {
			return section{"azure_managed_identity": section{"endpoint": tokens, "resource": "https://storage.azure.example/", "client_id": "gate"}}
		},
		give: func(r *http.Request, _ signer) error {
			if r.Header.Get("Metadata") != "true" || r.FormValue("resource") != "https://storage.azure.example/" || r.FormValue("client_id") != "gate" {
				return fmt.Errorf("%v with %v", r.URL, r.Header)
			}
			return nil
		},
		answer: `{"access_token": "` + bundleToken + `", "token_type": "Bearer"}`,
	},
}

// TestBundleAccounts: with each kind of credentials a bundle comes from a server
// that gives none without, and no secret reaches a log or a state.
func TestBundleAccounts(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKGATE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", bundleSecret)
	t.Setenv("AWS_REGION", "eu-central-1")
	key := newSigner(t)
	for name, kind := range accounts {
		t.Run(name, func(t *testing.T) {
			var given atomic.Int64
			tokens := kind.tokenServer(t, key, &given)
			server := kind.bundleServer(t)
			service := section{"url": server.URL, "credentials": kind.credentials(tokens.URL)}
			if kind.tls {
				ca := filepath.Join(t.TempDir(), "ca.pem")
				block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tokens.TLS.Certificates[0].Certificate[0]})
				if err := os.WriteFile(ca, block, 0o600); err != nil {
					t.Fatal(err)
				}
				service["tls"] = section{"ca_cert": ca}
			}
			sections := section{
				"services": section{"web": service},
				"keys":     section{"own": section{"private_key": key.private, "algorithm": "ES256"}},
				"bundles":  section{"main": section{"service": "web", "resource": "policies/main.tar.gz"}},
			}
			r := read(t, sections)
			r.untilRevision("main", "v1")
			r.wants(answers.Allowed)
			if kind.give != nil && given.Load() == 0 {
				t.Error("nobody asked for a token")
			}
			for _, told := range []string{r.log.String(), fmt.Sprint(r.States())} {
				for _, secret := range []string{bundleSecret, bundleToken, key.private} {
					if strings.Contains(told, secret) {
						t.Errorf("a secret shows in %s", told)
					}
				}
			}
		})
	}
}

// tokenServer gives tokens to who may have one.
func (a account) tokenServer(t *testing.T, key signer, given *atomic.Int64) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.give(r, key); err != nil {
			t.Error(err)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		given.Add(1)
		_, _ = io.WriteString(w, a.answer) // who does not read it fails
	}))
	if a.tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// bundleServer gives a bundle to who may have it.
func (a account) bundleServer(t *testing.T) *httptest.Server {
	raw := allows("v1", true).pack(t, nil)
	see := a.see
	if see == nil {
		see = func(r *http.Request) error {
			if got := r.Header.Get("Authorization"); got != "Bearer "+bundleToken {
				return fmt.Errorf("Authorization is %q", got)
			}
			return nil
		}
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := see(r); err != nil {
			t.Error(err)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write(raw) // who does not read it fails
	}))
	t.Cleanup(s.Close)
	return s
}

// signedES256 verifies a compact JWS (RFC 7515, RFC 7518 section 3.4).
func signedES256(public, token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("%q is no token", token)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		return fmt.Errorf("a signature of %d bytes, %v", len(signature), err)
	}
	block, _ := pem.Decode([]byte(public))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key.(*ecdsa.PublicKey), sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return errors.New("the signature is wrong")
	}
	return nil
}

// signedForS3 verifies AWS Signature Version 4 as S3 does: the canonical request
// anew from what arrived, with the secret that both sides know.
func signedForS3(r *http.Request) error {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	at := r.Header.Get("X-Amz-Date")
	if !ok || len(at) != len("20060102T150405Z") {
		return fmt.Errorf("no signature of version 4: %v", r.Header)
	}
	scope := at[:8] + "/eu-central-1/s3/aws4_request"
	if fields["Credential"] != "AKGATE/"+scope {
		return fmt.Errorf("the credential is %q", fields["Credential"])
	}
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n" + r.URL.RawQuery + "\n"
	for name := range strings.SplitSeq(fields["SignedHeaders"], ";") {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		canonical += name + ":" + value + "\n"
	}
	canonical += "\n" + fields["SignedHeaders"] + "\n" + r.Header.Get("X-Amz-Content-Sha256")
	sum := sha256.Sum256([]byte(canonical))
	mac := []byte("AWS4" + bundleSecret)
	for _, text := range []string{at[:8], "eu-central-1", "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + at + "\n" + scope + "\n" + hex.EncodeToString(sum[:])} {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(text))
		mac = h.Sum(nil)
	}
	if !hmac.Equal([]byte(fields["Signature"]), []byte(hex.EncodeToString(mac))) {
		return fmt.Errorf("the signature of %q is wrong", canonical)
	}
	return nil
}

// TestBundleRedirect: credentials stay with the host that they are for. What
// headers holds does not: it is no place for a secret.
func TestBundleRedirect(t *testing.T) {
	raw := allows("v1", true).pack(t, nil)
	var seen atomic.Pointer[http.Header]
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers := r.Header.Clone()
		seen.Store(&headers)
		_, _ = w.Write(raw) // who does not read it fails
	}))
	t.Cleanup(other.Close)
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer "+bundleToken {
				t.Errorf("Authorization is %q", got)
			}
			http.Redirect(w, r, elsewhere+r.URL.Path, status)
		}))
		r := read(t, section{
			"services": section{"web": section{"url": first.URL, "headers": section{"x-plan": "gold"}, "credentials": section{"bearer": section{"token": bundleToken}}}},
			"bundles":  section{"main": section{"service": "web", "resource": "main.tar.gz"}},
		})
		r.untilRevision("main", "v1")
		r.Close()
		first.Close()
		if headers := *seen.Load(); headers.Get("Authorization") != "" || headers.Get("X-Plan") != "gold" {
			t.Errorf("%d: the other host got %v", status, headers)
		}
	}
}
