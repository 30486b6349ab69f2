package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// What is in force is shown, and no secret of it.
func TestRedacted(t *testing.T) {
	c := config.Default()
	c.Path = "conf/ussoauthz.yaml"
	c.DecisionLog.Service = config.DecisionService{URL: "https://logs.example", Token: tenants.NewSecret("s3cret"), Headers: map[string]tenants.Secret{"X-Key": tenants.NewSecret("s3cret")}}
	c.Policy.AllowNet = []string{"opa.example"}
	c.Revocation.Redis = revocation.Redis{URL: "rediss://redis.example", Username: "me", Password: tenants.NewSecret("s3cret")}
	acme := tenant("acme", "https://sso.example/keys?access=s3cret", "https://sso.example", "app", nil)
	globex := tenant("globex", "", "https://globex.example", "app", func(t *tenants.Config) { t.Key, t.Type = tenants.NewSecret("s3cret"), "HS256" })
	c.Tenants = []tenants.Config{acme, globex}
	text, err := c.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "s3cret") {
		t.Errorf("a secret is shown:\n%s", text)
	}
	for _, want := range []string{
		"# conf/ussoauthz.yaml\n", "listen: 127.0.0.1:9191", "max_request_bytes: 1MiB", "timeout: " + (100 * time.Millisecond).String(),
		"jwks_url: https://sso.example/keys?redacted", "key: '[redacted]'", "key: \"\"", "X-Key: '[redacted]'", "url: rediss://redis.example", "password: '[redacted]'", "opa.example",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// In the sections that are not ours names tell what is a secret; a URL's
// password is one anywhere.
func TestRedactedText(t *testing.T) {
	for in, want := range map[string]string{
		"redis://user:s3cret@redis:6379/0":       "redis://redacted@redis:6379/0",
		"redis://:s3cret@redis:6379":             "redis://redacted@redis:6379",
		"redis://user:s3%zzcret@redis":           "[redacted]",
		"https://bundles.example/b?token=s3cret": "https://bundles.example/b?redacted",
		"https://bundles.example/b":              "https://bundles.example/b",
		"GET /posts/{id}":                        "GET /posts/{id}",
		"10s":                                    "10s",
	} {
		if got := config.RedactScalar(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	in := `revocation: {url: "redis://u:s3cret@h", password: s3cret, apikey: s3cret, api_key: s3cret, keys: {k: {private_key: s3cret, key: s3cret, algorithm: RS256}}, credentials: {bearer: {token: s3cret}}}`
	got := config.RedactYAML(t, in)
	if strings.Contains(got, "s3cret") || !strings.Contains(got, "RS256") {
		t.Errorf("%s", got)
	}
}
