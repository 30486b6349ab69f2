package decisiontest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// signer mints tokens that one tenant accepts.
type signer struct {
	tenant         tenants.Config
	alg            jwtverify.Algorithm
	issuer, forger *jwttest.Issuer // with the same key ids; the forger's keys are published nowhere
}

// rekey returns the configuration with every source of keys replaced by keys
// that are made now, and who signs with them. Tenants that share a source go on
// to share it: what their tokens need depends on that. The public keys lie in
// dir.
func rekey(cfg *config.Config, dir string) (*config.Config, map[string]*signer, error) {
	changed := *cfg
	changed.Tenants = slices.Clone(cfg.Tenants)
	sources := map[string][]*signer{}
	signers := map[string]*signer{}
	for i := range changed.Tenants {
		t := &changed.Tenants[i]
		s := &signer{tenant: *t, alg: jwtverify.EdDSA}
		if names := accepted(t); len(names) > 0 {
			var err error
			if s.alg, err = jwtverify.ParseAlgorithm(names[0]); err != nil {
				return nil, nil, fmt.Errorf("tenant %s: %w", t.ID, err)
			}
		}
		signers[t.ID] = s
		source := strings.Join([]string{t.JWKSURL, t.DiscoveryURL, t.JWKSFile, t.Key.Reveal()}, "\n")
		sources[source] = append(sources[source], s)
	}
	number := 0
	for _, sharing := range sources {
		number++
		if err := mintKeys(sharing, changed.Tenants, filepath.Join(dir, fmt.Sprintf("keys-%d.json", number))); err != nil {
			return nil, nil, err
		}
	}
	return &changed, signers, nil
}

// accepted are the algorithms of a tenant's tokens; none: EdDSA and others.
func accepted(t *tenants.Config) []string {
	if !t.Key.IsZero() && t.Type != "" {
		return []string{t.Type} // what its one key verifies
	}
	return t.Algorithms
}

// mintKeys gives tenants that share a source the same fresh keys.
func mintKeys(sharing []*signer, list []tenants.Config, file string) error {
	var opts jwttest.Options
	for _, s := range sharing {
		if !slices.Contains(opts.Algorithms, s.alg) {
			opts.Algorithms = append(opts.Algorithms, s.alg)
		}
	}
	var issuers [2]*jwttest.Issuer
	for i := range issuers {
		var err error
		if issuers[i], err = jwttest.NewIssuer(opts); err != nil {
			return fmt.Errorf("making keys: %w", err)
		}
	}
	if err := os.WriteFile(file, issuers[0].JWKS(), 0o600); err != nil {
		return fmt.Errorf("keeping keys: %w", err)
	}
	for _, s := range sharing {
		s.issuer, s.forger = issuers[0], issuers[1]
		i := slices.IndexFunc(list, func(t tenants.Config) bool { return t.ID == s.tenant.ID })
		t := &list[i]
		algorithms := accepted(t)
		t.JWKSURL, t.DiscoveryURL, t.JWKSFile, t.Key, t.Type = "", "", "", tenants.Secret{}, ""
		if s.alg == jwtverify.HS256 {
			t.Key, t.Type = tenants.NewSecret(string(issuers[0].Secret())), string(jwtverify.HS256)
			continue
		}
		t.JWKSFile, t.Algorithms = file, algorithms
	}
	return nil
}

// mint makes the token of a case.
func (s *signer) mint(t Token) (string, error) {
	claims, issuer := s.claims(t.Claims), s.issuer
	switch t.Kind {
	case None:
		return "", nil
	case Expired:
		claims["exp"], claims["iat"] = time.Now().Add(-time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix()
	case WrongAudience:
		claims["aud"] = "another-audience"
	case WrongIssuer:
		claims["iss"] = "https://another-issuer.example"
	case Forged:
		issuer = s.forger
	}
	token, err := issuer.Mint(claims, jwttest.WithAlgorithm(s.alg))
	if err != nil {
		return "", fmt.Errorf("minting the token: %w", err)
	}
	return token, nil
}

// claims adds to a case's claims what a token of the tenant needs: a claim of
// null is left out. A name of ours stands where the tenant's claims: say.
func (s *signer) claims(written map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	if len(s.tenant.Issuer) > 0 {
		claims["iss"] = s.tenant.Issuer[0]
	}
	if len(s.tenant.Audience) > 0 {
		claims["aud"] = s.tenant.Audience[0]
	}
	ours := map[string]any{"tenant_id": s.tenantID()}
	if written["user_id"] == nil {
		ours["sub"] = "user:test"
	}
	if types := s.tenant.TokenTypes; len(types) > 0 && !slices.Contains(types, "access") {
		ours["token_type"] = types[0]
	}
	for name, value := range ours {
		if _, has := written[name]; !has {
			place(claims, s.at(name), value)
		}
	}
	for name, value := range written {
		if since, ok := value.(fromNow); ok {
			value = now.Add(time.Duration(since)).Unix()
		}
		place(claims, s.at(name), value)
	}
	if expiry, ok := claims["exp"].(int64); ok && written["iat"] == nil && expiry < now.Unix() {
		claims["iat"] = expiry - 3600 // issued before it expired
	}
	return claims
}

// tenantID is a value that the tenant accepts, its own id where it says nothing.
func (s *signer) tenantID() string {
	ids := s.tenant.TenantIDs
	if len(ids) == 0 || slices.Contains(ids, s.tenant.ID) || slices.Contains(ids, "*") {
		return s.tenant.ID
	}
	return ids[0]
}

// at is where the tenant's tokens have a claim.
func (s *signer) at(name string) string {
	if mapped := s.tenant.Claims[name]; mapped != "" {
		return mapped
	}
	return name
}

// place writes a claim at a name, or at a JSON pointer (RFC 6901) into objects
// that it makes on the way; nil removes the claim.
func place(claims map[string]any, at string, value any) {
	name := at
	if rest, isPointer := strings.CutPrefix(at, "/"); isPointer {
		parts := strings.Split(rest, "/")
		for i := range parts {
			parts[i] = strings.ReplaceAll(strings.ReplaceAll(parts[i], "~1", "/"), "~0", "~")
		}
		name = parts[len(parts)-1]
		for _, part := range parts[:len(parts)-1] {
			inner, ok := claims[part].(map[string]any)
			if !ok {
				inner = map[string]any{}
				claims[part] = inner
			}
			claims = inner
		}
	}
	if value == nil {
		delete(claims, name)
		return
	}
	claims[name] = value
}
