package jwtverify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// A vector is one token and what must become of it. Files of them are in
// testdata/vectors. Strings marked as templates are Go templates with the
// functions of forge_test.go; {{.H}}, {{.P}} and {{.S}} are the segments of the
// genuine token that header, claims or payload, and sign describe.
type vector struct {
	Name string `json:"name"`
	Why  string `json:"why"`

	// The genuine token.
	Sign    string         `json:"sign"`    // the key that signs; empty: EdDSA
	Header  string         `json:"header"`  // template; empty: alg, kid and typ of the key
	Claims  map[string]any `json:"claims"`  // changes to the good claims
	Drop    []string       `json:"drop"`    // good claims to leave out
	Payload string         `json:"payload"` // template; instead of claims

	Token string `json:"token"` // template of what is sent; empty: the genuine token

	// What the verifier knows. Empty: the public keys of all algorithms.
	JWKS   []jwkRecipe   `json:"jwks"`
	Set    string        `json:"set"` // template; a whole key set, instead of jwks
	Static *staticKey    `json:"static"`
	Config *vectorConfig `json:"config"`

	Expect   string         `json:"expect"`   // ok, a sentinel's name, "no key set" or "bad config"
	Left     *int           `json:"left"`     // how many keys of jwks or set are usable
	Identity map[string]any `json:"identity"` // fields that the identity must have
}

// A jwkRecipe is a public key of the issuer with changes, or any text.
type jwkRecipe struct {
	Of   string         `json:"of"`
	Set  map[string]any `json:"set"` // string values are templates
	Drop []string       `json:"drop"`
	Raw  string         `json:"raw"` // template; instead of all others
}

type staticKey struct {
	Secret string              `json:"secret"` // template
	JWK    *jwkRecipe          `json:"jwk"`
	PEM    string              `json:"pem"` // the algorithm whose public key it is
	Type   jwtverify.Algorithm `json:"type"`
}

type vectorConfig struct {
	Algorithms      []jwtverify.Algorithm `json:"algorithms"`
	Issuers         *[]string             `json:"issuers"`
	Audiences       *[]string             `json:"audiences"`
	SkipExpiry      bool                  `json:"skip_expiry"`
	SkipNotBefore   bool                  `json:"skip_not_before"`
	SkipAudience    bool                  `json:"skip_audience"`
	SkipIssuer      bool                  `json:"skip_issuer"`
	Leeway          int                   `json:"leeway"`
	TokenTypes      []string              `json:"token_types"`
	TenantIDs       []string              `json:"tenant_ids"`
	RequireTenantID bool                  `json:"require_tenant_id"`
	Claims          map[string]string     `json:"claims"`
}

var sentinels = map[string]error{
	"ErrMalformed":       jwtverify.ErrMalformed,
	"ErrAlgorithm":       jwtverify.ErrAlgorithm,
	"ErrUnknownKey":      jwtverify.ErrUnknownKey,
	"ErrSignature":       jwtverify.ErrSignature,
	"ErrExpired":         jwtverify.ErrExpired,
	"ErrNotYetValid":     jwtverify.ErrNotYetValid,
	"ErrIssuer":          jwtverify.ErrIssuer,
	"ErrAudience":        jwtverify.ErrAudience,
	"ErrTokenType":       jwtverify.ErrTokenType,
	"ErrTenant":          jwtverify.ErrTenant,
	"ErrKeysUnavailable": jwtverify.ErrKeysUnavailable,
}

// Outcomes that come before any token is verified.
var (
	errNoKeySet  = errors.New("no key set")
	errBadConfig = errors.New("bad config")
)

// loadVectors reads every vector file, strictly: a vector with an unknown
// member or expectation, without a reason, or with a name used before proves
// nothing and fails, as does a folder without vectors.
func loadVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no vector files", err)
	}
	var all []vector
	seen := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list := readVectors(t, file, data)
		for _, v := range list {
			if err := v.check(); err != nil {
				t.Errorf("%s: %s: %v", file, v.Name, err)
			}
			if seen[v.Name] {
				t.Errorf("%s: the name %q is used twice", file, v.Name)
			}
			seen[v.Name] = true
		}
		all = append(all, list...)
	}
	if t.Failed() {
		t.FailNow()
	}
	return all
}

func readVectors(t testing.TB, file string, data []byte) []vector {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber()
	var list []vector
	if err := d.Decode(&list); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(list) == 0 {
		t.Fatalf("%s: no vectors", file)
	}
	return list
}

// check refuses vectors that can't mean what they say.
func (v *vector) check() error {
	known := v.Expect == "ok" || v.Expect == errNoKeySet.Error() || v.Expect == errBadConfig.Error() || sentinels[v.Expect] != nil
	uses := func(parts ...string) bool {
		return v.Token == "" || slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(v.Token, p) })
	}
	switch {
	case v.Name == "" || v.Why == "":
		return errors.New("name and why are needed")
	case !known:
		return fmt.Errorf("unknown expectation %q", v.Expect)
	case v.Payload != "" && (v.Claims != nil || v.Drop != nil):
		return errors.New("payload and claims: one of them is unused")
	case v.Header != "" && !uses(".H", ".S"):
		return errors.New("header is unused")
	case (v.Payload != "" || v.Claims != nil || v.Drop != nil) && !uses(".P", ".S"):
		return errors.New("payload or claims are unused")
	case v.Sign != "" && v.Header != "" && !uses(".S"):
		return errors.New("sign is unused")
	case v.JWKS != nil && v.Set != "", v.Static != nil && (v.JWKS != nil || v.Set != ""):
		return errors.New("jwks, set and static: one of them is unused")
	case v.Left != nil && v.JWKS == nil && v.Set == "":
		return errors.New("left is unused")
	case v.Identity != nil && v.Expect != "ok":
		return errors.New("identity is unused")
	}
	return nil
}

func TestVectors(t *testing.T) {
	f := newForge(t)
	for _, v := range loadVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			if v.Name == "" {
				t.Fatal("no name")
			}
			token := v.token(t, f)
			id, err := v.run(t, f, token)
			expect(t, v.Expect, token, id, err)
			if v.Identity != nil {
				expectIdentity(t, v.Identity, id)
			}
		})
	}
}

// run builds the verifier and verifies.
func (v *vector) run(t testing.TB, f *forge, token string) (*jwtverify.Identity, error) {
	t.Helper()
	keys, err := v.keys(t, f)
	if err != nil {
		return nil, err
	}
	verifier, err := jwtverify.New(v.config(keys))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadConfig, err)
	}
	id, err := verifier.Verify(context.Background(), token)
	agree(t, verifier, token, err)
	return id, err
}

// expect compares the outcome, and holds every error to what the package
// promises: one sentinel, no identity, nothing of the token in the text.
func expect(t *testing.T, want, token string, id *jwtverify.Identity, err error) {
	t.Helper()
	switch want {
	case "ok":
		if err != nil || id == nil {
			t.Fatalf("refused: %v", err)
		}
		return
	case errNoKeySet.Error(), errBadConfig.Error():
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Fatalf("got %v, want %s", err, want)
		}
		return
	}
	if id != nil {
		t.Error("an identity came out of a refused token")
	}
	if got := sentinelsOf(err); !slices.Equal(got, []string{want}) {
		t.Fatalf("got %v (%v), want %s", got, err, want)
	}
	if len(err.Error()) > 400 {
		t.Errorf("error text of %d bytes", len(err.Error()))
	}
	for segment := range strings.SplitSeq(token, ".") {
		if len(segment) > 8 && strings.Contains(err.Error(), segment) {
			t.Errorf("error text holds a part of the token: %v", err)
		}
	}
}

func sentinelsOf(err error) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(sentinels)) {
		if errors.Is(err, sentinels[name]) {
			found = append(found, name)
		}
	}
	return found
}

func expectIdentity(t *testing.T, want map[string]any, id *jwtverify.Identity) {
	t.Helper()
	b, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	got := map[string]any{}
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	for name, w := range want {
		if g, has := got[name]; !has || !reflect.DeepEqual(g, w) {
			t.Errorf("%s = %v, want %v", name, g, w)
		}
	}
}

// keys builds the key set. Where none of its keys is usable, an unrelated one replaces
// them, as in a set that has other keys.
func (v *vector) keys(t testing.TB, f *forge) (jwtverify.KeySet, error) {
	t.Helper()
	switch {
	case v.Static != nil:
		k, err := v.Static.key(t, f)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBadConfig, err)
		}
		return mustSet(t, k), nil
	case v.JWKS == nil && v.Set == "":
		return mustSet(t, f.keys...), nil
	}
	text := f.execute(t, v.Set, nil)
	if v.JWKS != nil {
		members := make([]string, len(v.JWKS))
		for i, r := range v.JWKS {
			members[i] = r.text(t, f)
		}
		text = `{"keys":[` + strings.Join(members, ",") + `]}`
	}
	keys, problems, err := jwtverify.ParseKeySet([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKeySet, err)
	}
	if v.Left != nil && len(keys) != *v.Left {
		t.Errorf("%d usable keys, want %d; problems: %v", len(keys), *v.Left, problems)
	}
	if v.JWKS != nil && len(keys) < len(v.JWKS) && len(problems) == 0 {
		t.Error("keys were left out without a word")
	}
	if len(keys) == 0 {
		keys = f.keys[:1]
		if v.Sign == "" || v.Sign == "EdDSA" {
			keys = f.keys[len(f.keys)-1:]
		}
	}
	return mustSet(t, keys...), nil
}

func mustSet(t testing.TB, keys ...*jwtverify.Key) *jwtverify.StaticKeySet {
	t.Helper()
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (s *staticKey) key(t testing.TB, f *forge) (*jwtverify.Key, error) {
	t.Helper()
	switch {
	case s.JWK != nil:
		return jwtverify.ParseJWK([]byte(s.JWK.text(t, f)), s.Type)
	case s.PEM != "":
		return jwtverify.ParsePEM(f.issuer.PublicPEM(jwtverify.Algorithm(s.PEM)), s.Type)
	}
	return jwtverify.NewSecretKey([]byte(f.execute(t, s.Secret, nil)))
}

func (v *vector) config(keys jwtverify.KeySet) jwtverify.Config {
	c := config(keys)
	c.Algorithms = nil
	if v.Static != nil && v.Static.Type != "" {
		c.Algorithms = []jwtverify.Algorithm{v.Static.Type}
	}
	o := v.Config
	if o == nil {
		return c
	}
	if o.Algorithms != nil {
		c.Algorithms = o.Algorithms
	}
	if o.Issuers != nil {
		c.Issuers = *o.Issuers
	}
	if o.Audiences != nil {
		c.Audiences = *o.Audiences
	}
	c.SkipExpiry, c.SkipNotBefore, c.SkipAudience, c.SkipIssuer = o.SkipExpiry, o.SkipNotBefore, o.SkipAudience, o.SkipIssuer
	c.Leeway = time.Duration(o.Leeway) * time.Second
	c.TokenTypes, c.TenantIDs, c.RequireTenantID, c.Claims = o.TokenTypes, o.TenantIDs, o.RequireTenantID, o.Claims
	return c
}

// token mints the genuine token and makes of it what the vector says.
func (v *vector) token(t testing.TB, f *forge) string {
	t.Helper()
	alg := jwtverify.Algorithm(v.Sign)
	if alg == "" {
		alg = jwtverify.EdDSA
	}
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, f.issuer.KeyID(alg))
	if v.Header != "" {
		header = f.execute(t, v.Header, nil)
	}
	payload := f.execute(t, v.Payload, nil)
	if v.Payload == "" {
		payload = v.goodPayload(t)
	}
	s := newSegments(t, f, alg, header, payload)
	if v.Token == "" {
		return s.H + "." + s.P + "." + s.S
	}
	return f.execute(t, v.Token, s)
}

func (v *vector) goodPayload(t testing.TB) string {
	t.Helper()
	claims := good(nil)
	maps.Copy(claims, v.Claims)
	for _, name := range v.Drop {
		if _, has := claims[name]; !has {
			t.Fatalf("drop: there is no claim %q", name)
		}
		delete(claims, name)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (r *jwkRecipe) text(t testing.TB, f *forge) string {
	t.Helper()
	if r.Raw != "" {
		return f.execute(t, r.Raw, nil)
	}
	jwk := f.jwk(t, r.Of)
	for name, value := range r.Set {
		if s, ok := value.(string); ok {
			value = f.execute(t, s, nil)
		}
		if old, has := jwk[name]; has && reflect.DeepEqual(old, value) {
			t.Fatalf("set: %q has this value already", name)
		}
		jwk[name] = value
	}
	for _, name := range r.Drop {
		if _, has := jwk[name]; !has {
			t.Fatalf("drop: the key has no member %q", name)
		}
		delete(jwk, name)
	}
	b, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A vector that proves nothing must not pass for one that does.
func TestUselessVectorsAreRefused(t *testing.T) {
	useful := vector{Name: "n", Why: "w", Expect: "ok"}
	if err := useful.check(); err != nil {
		t.Fatal(err)
	}
	one := 1
	for name, change := range map[string]func(*vector){
		"no name":             func(v *vector) { v.Name = "" },
		"no reason":           func(v *vector) { v.Why = "" },
		"no expectation":      func(v *vector) { v.Expect = "" },
		"unknown expectation": func(v *vector) { v.Expect = "ErrMalfromed" },
		"two payloads":        func(v *vector) { v.Payload, v.Drop = "{}", []string{"exp"} },
		"unused header":       func(v *vector) { v.Header, v.Token = "{}", "a.{{.P}}.c" },
		"unused claims":       func(v *vector) { v.Drop, v.Token = []string{"exp"}, "a.b.c" },
		"unused key":          func(v *vector) { v.Sign, v.Header, v.Token = "RS256", "{}", "{{.H}}.b.c" },
		"two key sets":        func(v *vector) { v.Set, v.JWKS = "{}", []jwkRecipe{{Of: "EdDSA"}} },
		"unused count":        func(v *vector) { v.Left = &one },
		"unused identity":     func(v *vector) { v.Expect, v.Identity = "ErrIssuer", map[string]any{"ID": ""} },
	} {
		v := useful
		change(&v)
		if v.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
