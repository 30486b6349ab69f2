//go:build interop

package interop

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// world is the provider's two tenants, and a fetcher for their keys.
type world struct {
	fetcher      *jwks.Fetcher
	acme, globex *tenant
}

// TestOpenIDProvider fetches real tokens over HTTP and verifies them with keys
// that were fetched over HTTP.
func TestOpenIDProvider(t *testing.T) {
	provider := startProvider(t)
	w := &world{
		fetcher: jwks.NewFetcher(jwks.FetcherConfig{}),
		acme:    discover(t, provider, "acme"),
		globex:  discover(t, provider, "globex"),
	}
	t.Cleanup(w.fetcher.Close)
	t.Run("algorithms", w.algorithms)
	t.Run("identity", w.identity)
	t.Run("claims", w.claims)
	t.Run("refused", w.refused)
	t.Run("secret", w.secret)
	t.Run("unsupported key", w.unsupportedKey)
	t.Run("discovery of another issuer", w.otherIssuer)
}

// open opens a key set and waits until it was asked for.
func (w *world) open(t *testing.T, cfg jwks.RemoteConfig) *jwks.RemoteKeySet {
	t.Helper()
	set, err := w.fetcher.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	awaitFetch(t, set)
	return set
}

// awaitFetch waits for the first fetch, good or bad. A service need not: its
// first requests wait for it, or are told to come again.
func awaitFetch(t *testing.T, set *jwks.RemoteKeySet) {
	t.Helper()
	ctx := deadline(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s := set.Status(); s.Fetched.IsZero() && s.LastError == nil; s = set.Status() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no keys were fetched: %+v", s)
		}
	}
}

// byURL and byDiscovery are the two ways to a tenant's keys.
func byURL(n *tenant) jwks.RemoteConfig { return jwks.RemoteConfig{URL: n.JWKS} }

func byDiscovery(n *tenant) jwks.RemoteConfig {
	return jwks.RemoteConfig{URL: n.discovery, Discovery: true, Issuers: []string{n.Issuer}}
}

// verifier is that of a tenant; change may edit its configuration.
func verifier(t *testing.T, n *tenant, keys jwtverify.KeySet, change ...func(*jwtverify.Config)) *jwtverify.Verifier {
	t.Helper()
	cfg := jwtverify.Config{
		Keys: keys, Issuers: []string{n.Issuer}, Audiences: []string{n.audience()}, TenantIDs: []string{n.name},
		Leeway: 10 * time.Second,
	}
	for _, f := range change {
		f(&cfg)
	}
	v, err := jwtverify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// algorithms: acme's keys name their algorithm, those of globex do not, so that
// one RSA key signs for several.
func (w *world) algorithms(t *testing.T) {
	ways := map[string]func(*tenant) jwks.RemoteConfig{"jwks": byURL, "discovery": byDiscovery}
	for _, c := range []struct {
		tenant *tenant
		algs   []string
	}{
		{w.acme, []string{"RS256", "ES256", "ES384", "EdDSA"}},
		{w.globex, []string{"RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA", "Ed25519"}},
	} {
		for way, config := range ways {
			v := verifier(t, c.tenant, w.open(t, config(c.tenant)))
			for _, alg := range c.algs {
				token := c.tenant.access(t, alg)
				if got := headerOf(t, token); got["alg"] != alg || got["typ"] != "at+jwt" || got["kid"] == "" {
					t.Fatalf("asked %s for a token signed with %s, got %v", c.tenant.name, alg, got)
				}
				id, err := v.Verify(t.Context(), token)
				if err != nil {
					t.Errorf("%s, keys by %s: %s: %v", c.tenant.name, way, alg, err)
				} else if id.UserID != clientID {
					t.Errorf("%s, keys by %s: %s: user %q", c.tenant.name, way, alg, id.UserID)
				}
			}
			t.Logf("%s, keys by %s: %s accepted", c.tenant.name, way, strings.Join(c.algs, ", "))
		}
	}
}

// identity: without a mapping the claims of USSO are read.
func (w *world) identity(t *testing.T) {
	v := verifier(t, w.acme, w.open(t, byURL(w.acme)))
	got, err := v.Verify(t.Context(), w.acme.access(t, "ES256"))
	if err != nil {
		t.Fatal(err)
	}
	if life := got.Expiry.Sub(got.IssuedAt); life != 2*time.Minute || time.Since(got.IssuedAt).Abs() > time.Minute {
		t.Errorf("issued at %s, expires %s later", got.IssuedAt, life)
	}
	if got.ID == "" {
		t.Error("no jti")
	}
	if got.Claims.Get("client_id") != clientID || got.Claims.Get("scope") != "read:posts write:posts" {
		t.Errorf("claims: %v", got.Claims)
	}
	short := *got
	short.Expiry, short.IssuedAt, short.ID, short.Claims, short.Derived = time.Time{}, time.Time{}, "", nil, nil
	want := jwtverify.Identity{
		Subject: clientID, UserID: clientID, TenantID: "acme", WorkspaceID: "ws_acme",
		Roles: []string{"editor", "auditor"}, Scopes: []string{"read:posts"}, TokenType: "access", Issuer: w.acme.Issuer, Leeway: 10 * time.Second,
	}
	if diff := cmp.Diff(want, short); diff != "" {
		t.Error(diff)
	}
}

// claims: the facts come from where another issuer puts them.
func (w *world) claims(t *testing.T) {
	v := verifier(t, w.acme, w.open(t, byURL(w.acme)), func(c *jwtverify.Config) {
		c.TenantIDs = []string{"org_acme"}
		c.Claims = map[string]string{
			"user_id": "client_id", "tenant_id": "/org/id", "workspace_id": "/org/workspace",
			"roles": "/resource_access/a~1b/roles", "scopes": "scope",
		}
	})
	id, err := v.Verify(t.Context(), w.acme.access(t, "EdDSA"))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{id.UserID, id.TenantID, id.WorkspaceID, strings.Join(id.Roles, ","), strings.Join(id.Scopes, " ")}
	want := []string{clientID, "org_acme", "desk_acme", "slashed", "read:posts write:posts"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	keycloak := verifier(t, w.acme, w.open(t, byURL(w.acme)), func(c *jwtverify.Config) {
		c.Claims = map[string]string{"roles": "/realm_access/roles"}
	})
	id, err = keycloak.Verify(t.Context(), w.acme.access(t, "RS256"))
	if err != nil || !slices.Equal(id.Roles, []string{"realm-admin"}) {
		t.Errorf("roles by a pointer: %v, %v", id, err)
	}
}

func (w *world) refused(t *testing.T) {
	keys := w.open(t, byURL(w.acme))
	acme := verifier(t, w.acme, keys)
	globex := verifier(t, w.globex, w.open(t, byDiscovery(w.globex)))
	with := func(change func(*jwtverify.Config)) *jwtverify.Verifier { return verifier(t, w.acme, keys, change) }
	good := w.acme.access(t, "RS256")
	if _, err := acme.Verify(t.Context(), good); err != nil {
		t.Fatalf("the token that the others are made of: %v", err)
	}
	for _, c := range []struct {
		name     string
		verifier *jwtverify.Verifier
		token    string
		want     error
	}{
		{"acme's token at globex", globex, good, jwtverify.ErrUnknownKey},
		{"globex's token at acme", acme, w.globex.access(t, "ES256"), jwtverify.ErrUnknownKey},
		{"acme's token at globex, had both the same keys", verifier(t, w.globex, keys), good, jwtverify.ErrAudience},
		{"the same, with both audiences", verifier(t, w.globex, keys, func(c *jwtverify.Config) {
			c.Audiences = []string{w.globex.audience(), w.acme.audience()}
		}), good, jwtverify.ErrIssuer},
		{"the same, with one issuer for both", verifier(t, w.globex, keys, func(c *jwtverify.Config) {
			c.Audiences, c.Issuers = []string{w.acme.audience()}, []string{w.acme.Issuer}
		}), good, jwtverify.ErrTenant},
		{"another API's token", acme, w.acme.access(t, "elsewhere"), jwtverify.ErrAudience},
		{"an ID token", acme, w.acme.idToken(t, "user:7"), jwtverify.ErrAudience},
		{"an opaque token", acme, w.acme.access(t, "opaque"), jwtverify.ErrMalformed},
		{"an encrypted token", acme, w.acme.access(t, "encrypted"), jwtverify.ErrMalformed},
		{"PS256, by a key for it", acme, w.acme.access(t, "PS256"), jwtverify.ErrAlgorithm},
		{"PS256, by a key for any algorithm", globex, w.globex.access(t, "PS256"), jwtverify.ErrAlgorithm},
		{"HS256", acme, w.acme.access(t, "HS256"), jwtverify.ErrAlgorithm},
		{"an algorithm that the tenant left out", with(func(c *jwtverify.Config) {
			c.Algorithms = []jwtverify.Algorithm{jwtverify.EdDSA}
		}), good, jwtverify.ErrAlgorithm},
		{"after its two minutes", with(func(c *jwtverify.Config) {
			c.Now = func() time.Time { return time.Now().Add(131 * time.Second) }
		}), good, jwtverify.ErrExpired},
		{"a changed signature", acme, flipLast(good), jwtverify.ErrSignature},
		{"no tenant_id where one is needed", with(func(c *jwtverify.Config) {
			c.RequireTenantID, c.Claims = true, map[string]string{"tenant_id": "organization"}
		}), good, jwtverify.ErrTenant},
	} {
		id, err := c.verifier.Verify(t.Context(), c.token)
		if id != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, id, err, c.want)
			continue
		}
		t.Logf("%s: %v", c.name, err)
	}
}

// flipLast changes a signature by its first character: the last one also holds
// bits that are not of the signature.
func flipLast(token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	flipped := byte('A')
	if token[at] == 'A' {
		flipped = 'B'
	}
	return token[:at] + string(flipped) + token[at+1:]
}

// secret: an HS256 token of the provider, by the secret that it was given.
func (w *world) secret(t *testing.T) {
	for _, c := range []struct {
		secret string
		want   error
	}{
		{sharedSecret, nil},
		{strings.ToUpper(sharedSecret), jwtverify.ErrSignature},
	} {
		key, err := jwtverify.NewSecretKey([]byte(c.secret))
		if err != nil {
			t.Fatal(err)
		}
		set, err := jwtverify.NewStaticKeySet(key)
		if err != nil {
			t.Fatal(err)
		}
		v := verifier(t, w.acme, set, func(cfg *jwtverify.Config) {
			cfg.Algorithms = []jwtverify.Algorithm{jwtverify.HS256}
		})
		if _, err := v.Verify(t.Context(), w.acme.access(t, "HS256")); !errors.Is(err, c.want) {
			t.Errorf("secret %q: %v, want %v", c.secret, err, c.want)
		}
	}
}

// unsupportedKey: a key that is none for us is told and left out, the others
// of its set work (as algorithms shows).
func (w *world) unsupportedKey(t *testing.T) {
	keys, problems, err := jwtverify.ParseKeySet(get(t, w.acme.JWKS))
	if err != nil || len(keys) != 4 || len(problems) != 1 {
		t.Fatalf("%d keys, problems %v, %v; want 4 and one", len(keys), problems, err)
	}
	if !strings.Contains(problems[0].Error(), "PS256") {
		t.Errorf("the problem does not name PS256: %v", problems[0])
	}
	set := w.open(t, byURL(w.acme))
	if s := set.Status(); s.Keys != 4 {
		t.Errorf("the fetched set: %+v, want 4 keys", s)
	}
	kid := headerOf(t, w.acme.access(t, "PS256"))["kid"]
	if _, err := set.Find(t.Context(), kid); !errors.Is(err, jwtverify.ErrUnknownKey) {
		t.Errorf("the PS256 key: %v, want %v", err, jwtverify.ErrUnknownKey)
	}
}

// otherIssuer: a discovery document that speaks for another issuer brings no
// keys (OpenID Connect Discovery, 4.3).
func (w *world) otherIssuer(t *testing.T) {
	set := w.open(t, jwks.RemoteConfig{URL: w.acme.discovery, Discovery: true, Issuers: []string{w.globex.Issuer}})
	if s := set.Status(); s.Keys != 0 || s.LastError == nil {
		t.Errorf("status %+v, want no keys and an error", s)
	}
	_, err := verifier(t, w.acme, set).Verify(t.Context(), w.acme.access(t, "RS256"))
	if !errors.Is(err, jwtverify.ErrKeysUnavailable) {
		t.Errorf("%v, want %v", err, jwtverify.ErrKeysUnavailable)
	}
}
