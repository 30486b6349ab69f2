package jwtverify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// swapped is a key set whose keys a test replaces, and that counts look-ups.
type swapped struct {
	set   atomic.Pointer[jwtverify.StaticKeySet]
	finds atomic.Int64
}

func (s *swapped) Find(ctx context.Context, kid string) (*jwtverify.Key, error) {
	s.finds.Add(1)
	return s.set.Load().Find(ctx, kid)
}

func (s *swapped) use(t testing.TB, issuer *jwttest.Issuer) {
	t.Helper()
	keys, problems, err := jwtverify.ParseKeySet(issuer.JWKS())
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	s.set.Store(set)
}

type cacheWorld struct {
	issuer *jwttest.Issuer
	keys   *swapped
	cache  *jwtverify.Cache
	now    atomic.Int64
}

func newCacheWorld(t testing.TB) *cacheWorld {
	t.Helper()
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.example"})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := jwtverify.NewCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	w := &cacheWorld{issuer: issuer, keys: &swapped{}, cache: cache}
	w.keys.use(t, issuer)
	w.now.Store(1_800_000_000)
	return w
}

func (w *cacheWorld) verifier(t testing.TB, change ...func(*jwtverify.Config)) *jwtverify.Verifier {
	t.Helper()
	cfg := jwtverify.Config{
		Keys: w.keys, Issuers: []string{"https://sso.example"}, Audiences: []string{"app"}, Cache: w.cache,
		Now: func() time.Time { return time.Unix(w.now.Load(), 0) },
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

func (w *cacheWorld) mint(t testing.TB, sub string) string {
	t.Helper()
	token, err := w.issuer.Mint(map[string]any{"sub": sub, "aud": "app", "nbf": 1_799_999_000, "exp": 1_800_000_100})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestCacheHits(t *testing.T) {
	w := newCacheWorld(t)
	v, token := w.verifier(t), w.mint(t, "a")
	first, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	second, err := v.Verify(t.Context(), token)
	if err != nil || second != first {
		t.Errorf("the second time is no hit: %v", err)
	}
	if w.cache.Len() != 1 || w.cache.Bytes() < int64(len(token)) {
		t.Errorf("%d entries of %d bytes", w.cache.Len(), w.cache.Bytes())
	}
}

// Every hit checks the times and the key of its token again.
func TestCacheRechecks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*cacheWorld)
		want   error
	}{
		{"it expired", func(w *cacheWorld) { w.now.Store(1_800_000_100) }, jwtverify.ErrExpired},
		{"the clock went back before nbf", func(w *cacheWorld) { w.now.Store(1_799_998_999) }, jwtverify.ErrNotYetValid},
		{"the key is gone", func(w *cacheWorld) {
			if err := w.issuer.Rotate(false); err != nil {
				t.Fatal(err)
			}
			w.keys.use(t, w.issuer)
		}, jwtverify.ErrUnknownKey},
		{"the kid is another key now", func(w *cacheWorld) {
			other, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.example", KeyIDs: []string{w.issuer.KeyID("")}})
			if err != nil {
				t.Fatal(err)
			}
			w.keys.use(t, other)
		}, jwtverify.ErrSignature},
		{"nothing", func(*cacheWorld) {}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newCacheWorld(t)
			v, token := w.verifier(t), w.mint(t, "a")
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			tt.change(w)
			id, err := v.Verify(t.Context(), token)
			if !errors.Is(err, tt.want) || (id == nil) != (tt.want != nil) {
				t.Errorf("%v %v, want %v", id, err, tt.want)
			}
		})
	}
}

// One tenant's verified token is nothing to another, though they share the
// cache, the keys and the issuer.
func TestCacheIsPerVerifier(t *testing.T) {
	w := newCacheWorld(t)
	mine, other := w.verifier(t), w.verifier(t, func(c *jwtverify.Config) { c.Audiences = []string{"other"} })
	token := w.mint(t, "a")
	if _, err := mine.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Verify(t.Context(), token); !errors.Is(err, jwtverify.ErrAudience) {
		t.Errorf("the other one: %v", err)
	}
}

// Refused tokens and other spellings of good ones leave nothing behind.
func TestCacheKeepsNoRefusals(t *testing.T) {
	w := newCacheWorld(t)
	v, token := w.verifier(t), w.mint(t, "a")
	for i := range 1000 {
		bad := fmt.Sprintf("%s%04d", token[:len(token)-4], i)
		if _, err := v.Verify(t.Context(), bad); err == nil {
			t.Fatalf("accepted %q", bad)
		}
	}
	for _, bad := range []string{token + "=", " " + token, token + "\n", strings.Repeat("a", 20<<10)} {
		if _, err := v.Verify(t.Context(), bad); !errors.Is(err, jwtverify.ErrMalformed) {
			t.Errorf("%.20q…: %v", bad, err)
		}
	}
	if w.cache.Len() != 0 {
		t.Errorf("%d entries", w.cache.Len())
	}
}

// A flood of good tokens stays within the bound.
func TestCacheIsBounded(t *testing.T) {
	w := newCacheWorld(t)
	v := w.verifier(t)
	for i := range 2000 {
		w.verify(t, v, w.mint(t, fmt.Sprint("user:", i)))
		if got := w.cache.Bytes(); got > 1<<20 {
			t.Fatalf("%d bytes in a cache of 1 MiB", got)
		}
	}
	if w.cache.Len() < 100 {
		t.Errorf("%d entries", w.cache.Len())
	}
}

func (w *cacheWorld) verify(t testing.TB, v *jwtverify.Verifier, token string) *jwtverify.Identity {
	t.Helper()
	id, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Verified tokens of one tenant, each sent twice, never evict those of another that stays
// within its share, used or not.
func TestCacheIsFair(t *testing.T) {
	w := newCacheWorld(t)
	quiet, loud := w.verifier(t), w.verifier(t)
	tokens := make([]string, 50) // about 100 KiB of its half of 1 MiB
	identities := make([]*jwtverify.Identity, len(tokens))
	for i := range tokens {
		tokens[i] = w.mint(t, fmt.Sprint("quiet:", i))
		identities[i] = w.verify(t, quiet, tokens[i])
	}
	for i := range 3000 {
		token := w.mint(t, fmt.Sprint("loud:", i))
		w.verify(t, loud, token)
		w.verify(t, loud, token)
	}
	if full := w.cache.Bytes(); full < 1<<20-8<<10 {
		t.Fatalf("%d bytes are no flood", full)
	}
	for i, token := range tokens {
		if w.verify(t, quiet, token) != identities[i] {
			t.Fatalf("token %d was pushed out", i)
		}
	}
}

// Of one tenant's tokens, those that come again outlive those that do not.
func TestCacheSparesWhatIsUsed(t *testing.T) {
	w := newCacheWorld(t)
	v := w.verifier(t)
	hot := w.mint(t, "hot")
	id := w.verify(t, v, hot)
	for i := range 2000 {
		w.verify(t, v, w.mint(t, fmt.Sprint("cold:", i)))
		if i%50 == 0 && w.verify(t, v, hot) != id {
			t.Fatalf("the hot token was pushed out by cold one %d", i)
		}
	}
}

// Tokens that ended leave, so that their tenant's share is free for others.
func TestCacheDropsTheExpired(t *testing.T) {
	w := newCacheWorld(t)
	v := w.verifier(t)
	for i := range 10 {
		w.verify(t, v, w.mint(t, fmt.Sprint("old:", i)))
	}
	w.now.Store(1_800_000_200)
	token, err := w.issuer.Mint(map[string]any{"sub": "new", "aud": "app", "exp": 1_800_000_300})
	if err != nil {
		t.Fatal(err)
	}
	w.verify(t, v, token)
	if w.cache.Len() != 1 {
		t.Errorf("%d entries, want the new one alone", w.cache.Len())
	}
}

func TestCacheConcurrently(t *testing.T) {
	w := newCacheWorld(t)
	v := w.verifier(t)
	tokens := []string{w.mint(t, "a"), w.mint(t, "b"), w.mint(t, "c")}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				n := (g + i) % len(tokens)
				id, err := v.Verify(t.Context(), tokens[n])
				if err != nil || id.Subject != string("abc"[n]) {
					t.Errorf("%v %v", id, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestNewCacheNeedsABound(t *testing.T) {
	for _, n := range []int64{0, -1} {
		if _, err := jwtverify.NewCache(n); err == nil {
			t.Errorf("a cache of %d bytes", n)
		}
	}
}

func TestCacheHitAllocations(t *testing.T) {
	w := newCacheWorld(t)
	v, token := w.verifier(t), w.mint(t, "a")
	ctx := context.Background()
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(ctx, token); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations for a hit", allocations)
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	w := newCacheWorld(b)
	v, token := w.verifier(b), w.mint(b, "a")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(context.Background(), token); err != nil {
			b.Fatal(err)
		}
	}
}
