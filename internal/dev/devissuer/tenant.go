package devissuer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Tenant issues for one tenant of a configuration. It is safe for concurrent
// use.
type Tenant struct {
	cfg  tenants.Config
	keys *Keys
	algs []jwtverify.Algorithm // the first one is the default
	now  func() time.Time
}

// NewTenant returns the issuer for a tenant of a configuration that was loaded
// without faults. now is the clock; nil is time.Now.
func NewTenant(cfg tenants.Config, keys *Keys, now func() time.Time) (*Tenant, error) {
	if now == nil {
		now = time.Now
	}
	t := &Tenant{cfg: cfg, keys: keys, now: now}
	names := cfg.Algorithms
	if !cfg.Key.IsZero() && cfg.Type != "" {
		names = []string{cfg.Type} // what its one key verifies
	}
	for _, name := range names {
		alg, err := jwtverify.ParseAlgorithm(name)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", cfg.ID, err)
		}
		t.algs = append(t.algs, alg)
	}
	if len(t.algs) == 0 {
		t.algs = jwtverify.Asymmetric()
	}
	return t, nil
}

// ID returns the tenant's id.
func (t *Tenant) ID() string { return t.cfg.ID }

// Mint signs the claims exactly as they are. alg "" is the tenant's first one,
// EdDSA where its block says nothing.
func (t *Tenant) Mint(claims map[string]any, alg jwtverify.Algorithm) (string, error) {
	if alg == "" {
		alg = t.algs[0]
	}
	if !slices.Contains(t.algs, alg) {
		return "", fmt.Errorf("tenant %s accepts %v, not %s", t.cfg.ID, t.algs, alg)
	}
	opts := jwttest.Options{Algorithms: []jwtverify.Algorithm{alg}}
	if alg == jwtverify.HS256 {
		opts.PrivateKeys = []any{[]byte(t.cfg.Key.Reveal())}
		return t.mint(opts, claims, jwttest.WithKeyID(""))
	}
	signer, err := t.signer(alg)
	if err != nil {
		return "", err
	}
	kid, err := keyID(signer, alg)
	if err != nil {
		return "", err
	}
	opts.PrivateKeys, opts.KeyIDs = []any{signer}, []string{kid}
	return t.mint(opts, claims)
}

func (t *Tenant) mint(opts jwttest.Options, claims map[string]any, mint ...jwttest.MintOption) (string, error) {
	issuer, err := jwttest.NewIssuer(opts)
	if err != nil {
		return "", fmt.Errorf("tenant %s: %w", t.cfg.ID, err)
	}
	return issuer.Mint(claims, mint...)
}

// signer returns the private key of alg. A tenant whose public key stands in
// the configuration itself can't get a new one: nobody would accept its tokens.
func (t *Tenant) signer(alg jwtverify.Algorithm) (crypto.Signer, error) {
	if t.cfg.Key.IsZero() && t.cfg.JWKSFile == "" {
		return t.keys.loadOrMake(t.cfg.ID, alg)
	}
	signer, err := t.keys.load(t.cfg.ID, alg)
	if err == nil && signer == nil {
		err = fmt.Errorf("tenant %s has a public key of its own: put the private one, as PKCS #8 PEM, into %s", t.cfg.ID, t.keys.file(t.cfg.ID, alg))
	}
	return signer, err
}

// keySet returns the tenant's public keys: all that were made so far, by
// whatever process, and the default one.
func (t *Tenant) keySet() ([]json.RawMessage, error) {
	var opts jwttest.Options
	for i, alg := range t.algs {
		find := t.keys.load
		if i == 0 {
			find = t.keys.loadOrMake
		}
		if alg == jwtverify.HS256 { // a secret is never published
			continue
		}
		signer, err := find(t.cfg.ID, alg)
		if err != nil {
			return nil, err
		}
		if signer == nil {
			continue
		}
		kid, err := keyID(signer, alg)
		if err != nil {
			return nil, err
		}
		opts.Algorithms = append(opts.Algorithms, alg)
		opts.PrivateKeys = append(opts.PrivateKeys, signer)
		opts.KeyIDs = append(opts.KeyIDs, kid)
	}
	if len(opts.Algorithms) == 0 {
		return nil, nil
	}
	issuer, err := jwttest.NewIssuer(opts)
	if err != nil {
		return nil, fmt.Errorf("tenant %s: %w", t.cfg.ID, err)
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(issuer.JWKS(), &set); err != nil {
		return nil, err
	}
	return set.Keys, nil
}

// keyID names a key by its RFC 7638 thumbprint, which every process that reads
// the key computes alike.
func keyID(signer crypto.Signer, alg jwtverify.Algorithm) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
		return "", err
	}
	key, err := jwtverify.ParsePEM(b.Bytes(), alg)
	if err != nil {
		return "", err
	}
	return key.Thumbprint(), nil
}
