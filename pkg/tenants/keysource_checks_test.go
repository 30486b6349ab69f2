package tenants_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Names of files are relative to the configuration; no name stays no name.
func TestRemoteFiles(t *testing.T) {
	c := base()
	if got := c.Remote("/etc/ussoauthz"); got.CAFile != "" || got.CertFile != "" || got.KeyFile != "" {
		t.Errorf("got %+v; want no files", got)
	}
	c.JWKSTLS = tenants.JWKSTLS{CAFile: "ca.pem", CertFile: "/run/cert.pem", KeyFile: "keys/key.pem"}
	got := c.Remote("/etc/ussoauthz")
	if diff := cmp.Diff([]string{"/etc/ussoauthz/ca.pem", "/run/cert.pem", "/etc/ussoauthz/keys/key.pem"}, []string{got.CAFile, got.CertFile, got.KeyFile}); diff != "" {
		t.Error(diff)
	}
}

// jwks_tls may be inherited from the defaults: it concerns remote keys alone.
func TestTLSFilesOfLocalKeys(t *testing.T) {
	issuer := newIssuer(t)
	c := base()
	c.JWKSTLS = tenants.JWKSTLS{CAFile: "absent.pem", CertFile: "absent.pem"}
	expectFaults(t, c.Check(""), fault{"jwks_tls.key_file", "is missing"}, fault{"jwks_tls.ca_file", "absent.pem"})
	withKey(string(issuer.PublicPEM(jwtverify.EdDSA)), "EdDSA")(&c)
	expectFaults(t, c.Check(""))
}

func TestMissingTypeOfUnreadableKey(t *testing.T) {
	for _, key := range []string{"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", `{"kty": "none"}`, "{"} {
		c := base()
		withKey(key, "")(&c)
		expectFaults(t, c.Check(""), fault{"type", "is missing, and key can't be read: "})
	}
}

// What is public in any form is no secret.
func TestPublicKeyAsSecret(t *testing.T) {
	issuer := newIssuer(t, jwtverify.RS256)
	block, _ := pem.Decode(issuer.PublicPEM(jwtverify.RS256))
	for name, key := range map[string]string{
		"PEM":                     string(issuer.PublicPEM(jwtverify.RS256)),
		"JWK":                     singleJWK(t, issuer),
		"base64 of a PEM":         base64.StdEncoding.EncodeToString(block.Bytes),
		"DER":                     string(block.Bytes),
		"base64 of a PKCS #1 PEM": base64.StdEncoding.EncodeToString(pkcs1(t, block.Bytes)),
		"SSH, Ed25519":            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMUb user@host",
		"SSH, ECDSA":              "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY user@host",
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			withKey(key, "HS256")(&c)
			expectFaults(t, c.Check(""), fault{"type", "which others know"})
		})
	}
}

func pkcs1(t *testing.T, der []byte) []byte {
	t.Helper()
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return x509.MarshalPKCS1PublicKey(key.(*rsa.PublicKey))
}

func TestSharedIssuersOfDiscovery(t *testing.T) {
	config := func(id, url string, verify bool) tenants.Config {
		c := base()
		c.ID, c.JWKSURL, c.DiscoveryURL, c.VerifyIss = id, "", url, verify
		c.Issuer = tenants.StringList{"https://" + id + ".example"}
		return c
	}
	for _, test := range []struct {
		name string
		a, b tenants.Config
		want map[string]bool
	}{
		{"one document, one is blind", config("a", "https://sso.example/d", true), config("b", "https://sso.example/d", false), map[string]bool{"a": true, "b": true}},
		{"two documents, one is blind", config("a", "https://sso.example/d", true), config("b", "https://sso.example/e", false), map[string]bool{"a": false, "b": true}},
		{"one URL that is none, one is blind", config("a", "https://sso.example:x/", true), config("b", "https://sso.example:x/", false), map[string]bool{"a": true, "b": true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, tenants.FindMixups([]tenants.Config{test.a, test.b}, "").SharedIssuers()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A configuration that is printed shows whether there is a secret.
func TestSecretAsYAML(t *testing.T) {
	for want, s := range map[string]tenants.Secret{`""`: {}, "'[redacted]'": tenants.NewSecret(secret)} {
		text, err := yaml.Marshal(s)
		if err != nil || strings.TrimSpace(string(text)) != want {
			t.Errorf("got %q, %v; want %s", text, err, want)
		}
	}
}

func TestKeyFileOfAnotherFolder(t *testing.T) {
	c := base()
	dir := t.TempDir()
	withFile("keys.json")(&c)
	expectFaults(t, c.Check(dir), fault{"jwks_file", filepath.Join(dir, "keys.json")})
}

// Keys that make no set are a fault, whoever left them together.
func TestKeysThatMakeNoSet(t *testing.T) {
	jwks := newIssuer(t).JWKS()
	keys, problems, err := jwtverify.ParseKeySet(jwks)
	if err != nil || len(problems) > 0 || len(keys) == 0 {
		t.Fatal(problems, err)
	}
	for name, tt := range map[string]struct {
		keys []*jwtverify.Key
		want string
	}{
		"a key":          {keys[:1], ""},
		"none":           {nil, "needs at least one key"},
		"no key":         {[]*jwtverify.Key{nil}, "is nil"},
		"one kid, twice": {[]*jwtverify.Key{keys[0], keys[0]}, "two keys of the key set have the kid"},
	} {
		t.Run(name, func(t *testing.T) {
			faults, kept := tenants.Keep(tt.keys...)
			if kept != (tt.want == "") {
				t.Errorf("kept: %v", kept)
			}
			if tt.want == "" {
				expectFaults(t, faults)
			} else {
				expectFaults(t, faults, fault{"jwks_file", tt.want})
			}
		})
	}
}
