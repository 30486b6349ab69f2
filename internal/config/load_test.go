package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

const oneTenant = `tenants:
  acme:
    jwks_url: https://sso.acme.example/keys
    issuer: https://sso.acme.example
    audience: my-app
`

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ussoauthz.yaml")
	text := oneTenant + "policy: {paths: [rego]}\nlog: {level: \"${env:USSO_TEST_LEVEL}\"}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(path), "rego"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("USSO_TEST_LEVEL", "warn")
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Stale() {
		t.Error("stale at once")
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !c.Stale() {
		t.Error("not stale after a change")
	}
	got := []string{c.Path, c.Dir, c.Policy.Paths[0], c.Log.Level}
	want := []string{path, filepath.Dir(path), filepath.Join(filepath.Dir(path), "rego"), "warn"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 32<<20+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "can't be read: no such file or directory",
		dir:                             "can't be read: is a directory",
		large:                           "is larger than 32 MiB",
	} {
		_, err := config.Load(path)
		var faults config.Errors
		if !errors.As(err, &faults) || err.Error() != path+": "+want {
			t.Errorf("Load(%s): %v, want %q", path, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	_, err := config.Parse("f.yaml", []byte("log: {level: loud}\nlisten: x\n"+oneTenant), lookup)
	want := `f.yaml:1: log.level: is "loud": write one of debug, info, warn, error
f.yaml:2: listen: is "x": write host:port, like 127.0.0.1:9191, or unix:///path`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	var first config.FieldError
	if !errors.As(err, &first) || first.Line != 1 || first.Field != "log.level" {
		t.Errorf("errors.As gave %+v", first)
	}
}

// A file of nothing but faults is reported up to a bound.
func TestFaultsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&b, "x%d: 1\n", i)
	}
	_, err := config.Parse("f.yaml", []byte(b.String()), lookup)
	var faults config.Errors
	if !errors.As(err, &faults) || len(faults) != 1001 {
		t.Fatalf("%d faults", len(faults))
	}
	if last := faults[1000].Problem; last != "has more than 1000 faults; the rest is not shown" {
		t.Error(last)
	}
}

// Nothing that a fault or a printed configuration says may hold a secret.
func TestSecretsStayHidden(t *testing.T) {
	const secret = "hunter2hunter2hunter2hunter2hunter2"
	environment := func(string) (string, bool) { return secret, true }
	for name, text := range map[string]string{
		"list":      "tenants: {a: {key: [" + secret + "]}}",
		"map":       "tenants: {a: {key: {" + secret + ": x}}}",
		"number":    "tenants: {a: {key: 4242424242424242}}",
		"wrong key": "tenants: {a: {secret: " + secret + "}}",
		"bool":      "require_tls: ${env:S}",
		"duration":  "shutdown: {drain: \"${env:S}\"}",
		"size":      "caches: {tokens: \"${env:S}\"}",
		"tenant":    "tenants: {a: {type: HS256, key: \"${env:S}\"}}",
		"short":     "tenants: {a: {type: HS256, key: hunter2}}",
		"no pem":    "tenants: {a: {type: RS256, key: " + secret + ", issuer: a, audience: b}}",
	} {
		_, err := config.Parse("f.yaml", []byte(text), environment)
		if err == nil {
			t.Errorf("%s: no fault", name)
			continue
		}
		if got := err.Error(); strings.Contains(got, "hunter2") || strings.Contains(got, "424242") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A tenant with a source of keys of its own inherits neither another source nor
// the type of a key: a PEM must never become an HS256 secret by inheritance.
func TestKeySourceIsOneGroup(t *testing.T) {
	const secret = "a secret of thirty-two bytes or more"
	text := "defaults: {key: " + secret + ", type: HS256, issuer: i, audience: a}\n" +
		"routes: [{match: /}]\n" +
		"tenants:\n" +
		"  inherits: {}\n" +
		"  own: {jwks_url: https://sso.example/keys}\n"
	c, err := config.Parse("f.yaml", []byte(text), lookup)
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ URL, Type, Key string }
	got := map[string]source{}
	for _, tenant := range c.Tenants {
		got[tenant.ID] = source{tenant.JWKSURL, tenant.Type, tenant.Key.Reveal()}
	}
	want := map[string]source{
		"inherits": {"", "HS256", secret},
		"own":      {"https://sso.example/keys", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = config.Parse("f.yaml", []byte(text+"  typeless: {key: another "+secret+"}\n"), lookup)
	if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:6: tenants.typeless.type: is missing") {
		t.Errorf("a key without a type: %v", err)
	}
}

func TestFromEnvironment(t *testing.T) {
	full := map[string]string{
		"USSO_JWKS_URL": "https://sso.usso.example/keys", "USSO_ISSUER": "https://sso.usso.example", "USSO_AUDIENCE": "my-app",
		"USSO_LISTEN": "127.0.0.1:1", "USSO_ADMIN_LISTEN": "127.0.0.1:2",
	}
	got, err := config.FromEnvironment(func(name string) string { return full[name] })
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Single, want.Dir = true, "."
	want.Listen, want.Admin.Listen = "127.0.0.1:1", "127.0.0.1:2"
	want.Tenants = []tenants.Config{tenant("default", "https://sso.usso.example/keys", "https://sso.usso.example", "my-app", func(t *tenants.Config) {
		t.TenantIDs = tenants.StringList{"*"}
	})}
	want.Routes = []tenants.Route{{Match: "/"}}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFromEnvironmentFaults(t *testing.T) {
	const hint = ": is not set: set it, or name a configuration file with -c FILE"
	for name, c := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"nothing": {nil, []string{
			"environment: USSO_JWKS_URL" + hint, "environment: USSO_ISSUER" + hint, "environment: USSO_AUDIENCE" + hint,
		}},
		"one missing": {map[string]string{"USSO_JWKS_URL": "https://sso.usso.example/keys", "USSO_ISSUER": "i"}, []string{
			"environment: USSO_AUDIENCE" + hint,
		}},
		"addresses": {map[string]string{
			"USSO_JWKS_URL": "https://sso.usso.example/keys", "USSO_ISSUER": "i", "USSO_AUDIENCE": "a",
			"USSO_LISTEN": "here", "USSO_ADMIN_LISTEN": "there",
		}, []string{
			`environment: USSO_LISTEN: is "here": write host:port, like 127.0.0.1:9191, or unix:///path`,
			`environment: USSO_ADMIN_LISTEN: is "there": write host:port, like 127.0.0.1:9191, or unix:///path`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.FromEnvironment(func(name string) string { return c.env[name] })
			if err == nil {
				t.Fatal("no faults")
			}
			if diff := cmp.Diff(strings.Join(c.want, "\n"), err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
