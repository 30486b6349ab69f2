package jwtverify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The clock of every test here: a fixed second of 2027.
const now = 1800000000

func clock() time.Time { return time.Unix(now, 0) }

func everyAlgorithm() []jwtverify.Algorithm {
	return append(jwtverify.Asymmetric(), jwtverify.HS256)
}

func newIssuer(t testing.TB, algs ...jwtverify.Algorithm) *jwttest.Issuer {
	t.Helper()
	i, err := jwttest.NewIssuer(jwttest.Options{Algorithms: algs, Issuer: "https://sso.example"})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// keySet holds the issuer's public keys, or its secret if that is all it has.
func keySet(t testing.TB, i *jwttest.Issuer) jwtverify.KeySet {
	t.Helper()
	keys, problems, err := jwtverify.ParseKeySet(i.JWKS())
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	if secret := i.Secret(); secret != nil {
		k, err := jwtverify.NewSecretKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func config(keys jwtverify.KeySet) jwtverify.Config {
	return jwtverify.Config{
		Keys:       keys,
		Algorithms: everyAlgorithm(),
		Issuers:    []string{"https://sso.example"},
		Audiences:  []string{"my-app"},
		Now:        clock,
	}
}

func newVerifier(t testing.TB, c jwtverify.Config) *jwtverify.Verifier {
	t.Helper()
	v, err := jwtverify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mint(t testing.TB, i *jwttest.Issuer, claims map[string]any, opts ...jwttest.MintOption) string {
	t.Helper()
	token, err := i.Mint(claims, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// good are claims that a verifier of config accepts, with changes; a nil value
// leaves the claim out.
func good(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://sso.example", "aud": "my-app", "exp": now + 600, "iat": now, "nbf": now,
		"sub": "user:1", "token_type": "access", "tenant_id": "acme", "workspace_id": "ws_1",
		"roles": []string{"editor"}, "scopes": []string{"read:posts", "write:posts"},
	}
	for name, v := range changes {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

func TestVerifyEveryAlgorithm(t *testing.T) {
	for _, alg := range everyAlgorithm() {
		t.Run(string(alg), func(t *testing.T) {
			i := newIssuer(t, alg)
			v := newVerifier(t, config(keySet(t, i)))
			id, err := v.Verify(context.Background(), mint(t, i, good(nil)))
			if err != nil {
				t.Fatal(err)
			}
			if id.UserID != "user:1" {
				t.Errorf("user %q", id.UserID)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range everyAlgorithm() {
		b.Run(string(alg), func(b *testing.B) {
			i := newIssuer(b, alg)
			v := newVerifier(b, config(keySet(b, i)))
			token := mint(b, i, good(map[string]any{"jti": "0123456789abcdef", "session_id": "s_0123456789", "email": "someone@example.org"}))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// findFunc is a KeySet of one function.
type findFunc func(ctx context.Context, kid string) (*jwtverify.Key, error)

func (f findFunc) Find(ctx context.Context, kid string) (*jwtverify.Key, error) { return f(ctx, kid) }

// An outage of the keys must have another error than a bad token, and no other error of a
// KeySet may count against the token.
func TestKeySetErrors(t *testing.T) {
	i := newIssuer(t)
	token := mint(t, i, good(nil))
	for name, c := range map[string]struct {
		key  *jwtverify.Key
		err  error
		want string
	}{
		"unavailable":      {nil, fmt.Errorf("fetching: %w", jwtverify.ErrKeysUnavailable), "ErrKeysUnavailable"},
		"unknown":          {nil, fmt.Errorf("looking: %w", jwtverify.ErrUnknownKey), "ErrUnknownKey"},
		"context":          {nil, context.DeadlineExceeded, "ErrKeysUnavailable"},
		"nothing":          {nil, nil, "ErrUnknownKey"},
		"a key of nothing": {&jwtverify.Key{}, nil, "ErrAlgorithm"},
	} {
		v := newVerifier(t, config(findFunc(func(context.Context, string) (*jwtverify.Key, error) { return c.key, c.err })))
		id, err := v.Verify(context.Background(), token)
		if id != nil || !slices.Equal(sentinelsOf(err), []string{c.want}) {
			t.Errorf("%s: %v, %v", name, id, err)
		}
	}
}

// A token that is refused by its form must not reach the key set: otherwise each forged
// token could cost a fetch.
func TestCheapChecksComeFirst(t *testing.T) {
	v := newVerifier(t, config(findFunc(func(context.Context, string) (*jwtverify.Key, error) {
		t.Error("the key set was searched")
		return nil, jwtverify.ErrUnknownKey
	})))
	i := newIssuer(t)
	for _, token := range []string{
		"", "a.b", strings.Repeat("a", 20000), "a.b.c", "....",
		mint(t, i, good(nil), jwttest.WithHeader("alg", "none")),
		mint(t, i, good(nil), jwttest.WithHeader("crit", []string{"x"})),
		mint(t, i, good(nil), jwttest.WithHeader("typ", "dpop+jwt")),
		withSignature(mint(t, i, good(nil)), 1367), // a byte more than RSA of 8192 bits
	} {
		if id, err := v.Verify(context.Background(), token); id != nil || err == nil {
			t.Errorf("%q passed", token)
		}
	}
}

// withSignature replaces a token's signature by one of n characters.
func withSignature(token string, n int) string {
	return token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", n)
}

// What no key can have signed is refused before it is hashed; what one could is
// looked at.
func TestLongestSignature(t *testing.T) {
	i := newIssuer(t)
	cache, err := jwtverify.NewCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	c := config(mustSet(t, newForge(t).keys...))
	c.Cache = cache
	v := newVerifier(t, c)
	for n, want := range map[int]struct {
		lookup jwtverify.Lookup
		err    error
	}{
		1366: {jwtverify.Miss, jwtverify.ErrUnknownKey},
		1367: {jwtverify.NoLookup, jwtverify.ErrMalformed},
	} {
		_, lookup, err := v.VerifyLookup(t.Context(), withSignature(mint(t, i, good(nil)), n))
		if lookup != want.lookup || !errors.Is(err, want.err) {
			t.Errorf("%d characters: %v, %v", n, lookup, err)
		}
	}
}

// A claim that is spelled with escapes is the same claim.
func TestEscapedClaimNames(t *testing.T) {
	i := newIssuer(t)
	v := newVerifier(t, config(keySet(t, i)))
	claims := good(map[string]any{"a\"b": "c", "é": "d"})
	id, err := v.Verify(t.Context(), mint(t, i, claims))
	if err != nil {
		t.Fatal(err)
	}
	if all := id.Claims.Map(); id.Claims.Get("a\"b") != "c" || id.Claims.Get("é") != "d" || all["a\"b"] != "c" || len(all) != len(claims) {
		t.Errorf("%v", all)
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	_, err := jwtverify.New(jwtverify.Config{
		Algorithms: []jwtverify.Algorithm{"none"}, TokenTypes: []string{}, TenantIDs: []string{},
		Leeway: -1, Claims: map[string]string{"exp": "x", "roles": "/~"},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"key set", "algorithm", "issuer", "audience", "leeway", "token_types", "tenant_ids", `"exp"`, "JSON pointer"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in %v", want, err)
		}
	}
}

// The verifier must not change with what its configuration was made of.
func TestConfigIsCopied(t *testing.T) {
	i := newIssuer(t)
	c := config(keySet(t, i))
	c.TenantIDs = []string{"acme"}
	c.Claims = map[string]string{"roles": "roles"}
	v := newVerifier(t, c)
	c.Issuers[0], c.Audiences[0], c.TenantIDs[0], c.Algorithms[0] = "x", "x", "x", "x"
	c.Claims["roles"] = "sub"
	id, err := v.Verify(context.Background(), mint(t, i, good(nil)))
	if err != nil || !slices.Equal(id.Roles, []string{"editor"}) {
		t.Error(id, err)
	}
}

// swapSet is a KeySet whose keys a test replaces.
type swapSet struct{ set jwtverify.KeySet }

func (s *swapSet) Find(ctx context.Context, kid string) (*jwtverify.Key, error) {
	return s.set.Find(ctx, kid)
}

func TestRecheck(t *testing.T) {
	i := newIssuer(t)
	at := int64(now)
	keys := &swapSet{keySet(t, i)}
	c := config(keys)
	c.Now = func() time.Time { return time.Unix(at, 0) }
	c.Leeway = 10 * time.Second
	v := newVerifier(t, c)
	_, proof, err := v.Prove(context.Background(), mint(t, i, good(nil)))
	if err != nil {
		t.Fatal(err)
	}
	original := keys.set
	reparsed := keySet(t, i) // the same keys, fetched again
	if err := i.Rotate(true); err != nil {
		t.Fatal(err)
	}
	added := keySet(t, i)
	if err := i.Rotate(false); err != nil {
		t.Fatal(err)
	}
	removed := keySet(t, i)
	impostor := newIssuer(t) // the same kid, another key
	unavailable := findFunc(func(context.Context, string) (*jwtverify.Key, error) { return nil, jwtverify.ErrKeysUnavailable })
	for _, step := range []struct {
		name string
		set  jwtverify.KeySet
		at   int64
		want string // "": still good
	}{
		{"at once", original, now, ""},
		{"last second", original, now + 609, ""},
		{"expired", original, now + 610, "ErrExpired"},
		{"clock went back a little", original, now - 10, ""},
		{"clock went back", original, now - 11, "ErrNotYetValid"},
		{"fetched again", reparsed, now, ""},
		{"a key was added", added, now, ""},
		{"the key was removed", removed, now, "ErrUnknownKey"},
		{"the kid means another key", keySet(t, impostor), now, "ErrUnknownKey"},
		{"no keys", unavailable, now, "ErrKeysUnavailable"},
	} {
		keys.set, at = step.set, step.at
		err := v.Recheck(context.Background(), proof)
		if got := strings.Join(sentinelsOf(err), " "); got != step.want || (err == nil) != (step.want == "") {
			t.Errorf("%s: got %v, want %q", step.name, err, step.want)
		}
	}
	if err := v.Recheck(context.Background(), &jwtverify.Proof{}); !errors.Is(err, jwtverify.ErrUnknownKey) {
		t.Errorf("an empty proof: %v", err)
	}
	if err := v.Recheck(context.Background(), nil); !errors.Is(err, jwtverify.ErrUnknownKey) {
		t.Errorf("no proof: %v", err)
	}
}

// A token for each sentinel, from many goroutines at once.
func TestVerifyConcurrently(t *testing.T) {
	i := newIssuer(t, jwtverify.Asymmetric()...)
	v := newVerifier(t, config(keySet(t, i)))
	tokens := map[string]string{}
	for _, alg := range jwtverify.Asymmetric() {
		tokens[mint(t, i, good(nil), jwttest.WithAlgorithm(alg))] = ""
	}
	tokens[mint(t, i, good(map[string]any{"exp": 1}))] = "ErrExpired"
	tokens[mint(t, i, good(map[string]any{"aud": "x"}))] = "ErrAudience"
	tokens[mint(t, i, good(nil), jwttest.WithKeyID("x"))] = "ErrUnknownKey"
	tokens[mint(t, i, good(nil), jwttest.WithHeader("alg", "RS256"))] = "ErrAlgorithm"
	tokens[mint(t, i, good(nil))+"AAAA"] = "ErrSignature"
	tokens["junk"] = "ErrMalformed"
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				for token, want := range tokens {
					_, err := v.Verify(context.Background(), token)
					if got := strings.Join(sentinelsOf(err), " "); got != want {
						t.Errorf("got %v, want %q", err, want)
					}
				}
			}
		})
	}
	wg.Wait()
}

// Verifications share pooled buffers: none may read what an earlier token left in them, nor
// overwrite what an identity refers to.
func TestIdentitiesOutliveOtherVerifications(t *testing.T) {
	f := newForge(t)
	i, v := f.issuer, newVerifier(t, config(mustSet(t, f.keys...)))
	claims := func(n int) map[string]any {
		c := good(map[string]any{"sub": fmt.Sprint("user-", n), "scopes": []string{fmt.Sprint("read:", n)}})
		for extra := range n { // more members than the buffer holds, then fewer
			c[fmt.Sprint("extra-", extra)] = strings.Repeat("x", n)
		}
		return c
	}
	sizes := []int{3, 40, 0, 60, 1, 20}
	var identities []*jwtverify.Identity
	for _, n := range sizes {
		id, err := v.Verify(t.Context(), mint(t, i, claims(n)))
		if err != nil {
			t.Fatal(err)
		}
		identities = append(identities, id)
		if _, err := v.Verify(t.Context(), mint(t, i, claims(n), jwttest.WithKeyID("stranger"))); err == nil {
			t.Fatal("passed")
		}
	}
	for at, n := range sizes {
		id := identities[at]
		if id.Subject != fmt.Sprint("user-", n) || !slices.Equal(id.Scopes, []string{fmt.Sprint("read:", n)}) {
			t.Errorf("identity %d: %q %q", n, id.Subject, id.Scopes)
		}
		if got := id.Claims.Map(); len(got) != len(claims(n)) || got["sub"] != id.Subject {
			t.Errorf("claims of identity %d: %v", n, got)
		}
	}
}

// A refusal by length, alphabet or unknown kid must cost next to nothing.
func TestRefusalsAreCheap(t *testing.T) {
	i := newIssuer(t)
	v := newVerifier(t, config(mustSet(t, newForge(t).keys...)))
	for name, c := range map[string]struct {
		token string
		most  float64
	}{
		"1 MB":        {strings.Repeat("a", 1<<20), 8},
		"dots":        {strings.Repeat(".", 1<<14), 8},
		"long header": {strings.Repeat("a", 12000) + ".a.a", 8},
		"unknown kid": {mint(t, i, good(nil)), 40},
	} {
		got := testing.AllocsPerRun(100, func() {
			if _, err := v.Verify(context.Background(), c.token); err == nil {
				t.Error("passed")
			}
		})
		if got > c.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, c.most)
		}
	}
}

// BenchmarkRaw is what BenchmarkVerify is measured against: the signature
// check of the standard library and nothing else.
func BenchmarkRaw(b *testing.B) {
	for _, alg := range everyAlgorithm() {
		b.Run(string(alg), func(b *testing.B) {
			f := newForge(b)
			token := mint(b, f.issuer, good(map[string]any{"jti": "0123456789abcdef", "session_id": "s_0123456789", "email": "someone@example.org"}), jwttest.WithAlgorithm(alg))
			dot := strings.LastIndexByte(token, '.')
			signed, signature := []byte(token[:dot]), []byte(unb64(token[dot+1:]))
			b.ReportAllocs()
			for b.Loop() {
				if !standardVerify(f, alg, signed, signature) {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkRefuse is what junk costs.
func BenchmarkRefuse(b *testing.B) {
	i := newIssuer(b)
	v := newVerifier(b, config(keySet(b, i)))
	for name, token := range map[string]string{
		"1MB":        strings.Repeat("a", 1<<20),
		"unknownKid": mint(b, i, good(nil), jwttest.WithKeyID("x")),
		"algNone":    mint(b, i, good(nil), jwttest.WithHeader("alg", "none")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), token); err == nil {
					b.Fatal("passed")
				}
			}
		})
	}
}

// jwx panics on an Ed25519 key of 31 bytes. No loader lets one through; if one
// did, it would have to cost a token and not the process.
func TestPanicIsARefusal(t *testing.T) {
	key, err := jwtverify.NewUncheckedKey(make([]byte, 31))
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, config(mustSet(t, key)))
	id, err := v.Verify(context.Background(), mint(t, newIssuer(t), good(nil), jwttest.WithKeyID("unchecked")))
	if id != nil || !errors.Is(err, jwtverify.ErrSignature) || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("%v, %v", id, err)
	}
}

// Claims are made into values on the way, by many at once, and never changed
// by what NewClaims was given.
func TestClaims(t *testing.T) {
	i := newIssuer(t)
	cache, err := jwtverify.NewCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	c := config(keySet(t, i))
	c.Cache = cache
	v := newVerifier(t, c)
	token := mint(t, i, good(map[string]any{"plan": map[string]any{"seats": json.Number("12345678901234567890"), "on": []any{true, nil}}}))
	want := map[string]any{"seats": json.Number("12345678901234567890"), "on": []any{true, nil}}
	if id, err := v.Verify(t.Context(), token); err != nil || id.Claims.Get("none") != nil {
		t.Errorf("%v %v", id, err)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			id, err := v.Verify(t.Context(), token)
			if err != nil {
				t.Error(err)
				return
			}
			if got := id.Claims.Get("plan"); !reflect.DeepEqual(got, want) || !reflect.DeepEqual(id.Claims.Map()["plan"], want) || id.Claims.Get("none") != nil {
				t.Errorf("%v", got)
			}
		})
	}
	readers.Wait()

	values := map[string]any{"a": "b"}
	given := jwtverify.NewClaims(values)
	values["a"], values["c"] = "x", "y"
	if got := given.Map(); given.Get("a") != "b" || len(got) != 1 {
		t.Errorf("%v", got)
	}
	var none *jwtverify.Claims
	if none.Get("a") != nil || none.Map() != nil {
		t.Error("nobody has claims")
	}
}
