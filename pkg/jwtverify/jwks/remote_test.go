package jwks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

func TestFirstRequestWaitsForTheFirstFetch(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.delay = 300 * time.Millisecond
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		var r *jwks.RemoteKeySet
		if d := took(func() { r = open(t, f, jwks.RemoteConfig{}) }); d != 0 {
			t.Errorf("Open took %s", d)
		}
		if d := took(func() { find(t, r, "a", nil) }); d != 300*time.Millisecond {
			t.Errorf("Find took %s", d)
		}
		find(t, r, "", nil)
		if n := server.fetches(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestWaitingIsBounded(t *testing.T) {
	for _, c := range []struct {
		left, want time.Duration
	}{{0, 500 * time.Millisecond}, {time.Minute, 500 * time.Millisecond}, {200 * time.Millisecond, 100 * time.Millisecond}} {
		server := newKeyServer("")
		server.hang["sso.acme.example"] = true
		inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
			r := open(t, f, jwks.RemoteConfig{})
			ctx := t.Context()
			if c.left > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.left)
				defer cancel()
			}
			d := took(func() {
				if k, err := r.Find(ctx, "a"); !isUnavailable(err) || k != nil {
					t.Errorf("Find = %v, %v", k, err)
				}
			})
			if d != c.want {
				t.Errorf("with %s left Find took %s: want %s", c.left, d, c.want)
			}
		})
	}
}

func TestACancelledRequestDoesNotWait(t *testing.T) {
	server := newKeyServer("")
	server.hang["sso.acme.example"] = true
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		d := took(func() {
			if _, err := r.Find(ctx, "a"); !isUnavailable(err) {
				t.Errorf("Find: %v", err)
			}
		})
		if d != 0 {
			t.Errorf("Find took %s", d)
		}
	})
}

func TestWaitersAreBounded(t *testing.T) {
	server := newKeyServer("")
	server.hang["sso.acme.example"] = true
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		var wg sync.WaitGroup
		var waited, atOnce atomic.Int64
		for range 2 * jwks.MaxWaiters {
			wg.Go(func() {
				if took(func() { find(t, r, "a", jwtverify.ErrKeysUnavailable) }) > 0 {
					waited.Add(1)
				} else {
					atOnce.Add(1)
				}
			})
		}
		wg.Wait()
		if waited.Load() != jwks.MaxWaiters || atOnce.Load() != jwks.MaxWaiters {
			t.Errorf("%d waited, %d did not: want %d of each", waited.Load(), atOnce.Load(), jwks.MaxWaiters)
		}
		if d := took(func() { find(t, r, "a", jwtverify.ErrKeysUnavailable) }); d == 0 {
			t.Error("places of those who went are not given back")
		}
	})
}

// attack 152
func TestFailedFirstFetchIsRetriedWithBackoff(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.status = http.StatusInternalServerError
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		synctest.Wait()
		if d := took(func() { find(t, r, "a", jwtverify.ErrKeysUnavailable) }); d != 0 {
			t.Errorf("Find waited %s in backoff", d)
		}
		if st := r.Status(); st.LastError == nil || st.NextFetch.IsZero() || !st.Fetched.IsZero() {
			t.Errorf("status %+v", st)
		}
		server.fail(http.StatusOK)
		time.Sleep(time.Second)
		synctest.Wait()
		find(t, r, "a", nil)
		if st := r.Status(); st.LastError != nil || st.Keys != 1 || st.Fetches != 2 || st.Fetched.IsZero() {
			t.Errorf("status %+v", st)
		}
	})
}

func TestBackoffDoublesToFiveMinutes(t *testing.T) {
	server := newKeyServer("")
	server.status = http.StatusBadGateway
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		open(t, f, jwks.RemoteConfig{})
		time.Sleep(time.Hour)
		want := time.Second
		for i, gap := range server.gaps() {
			if gap > want || gap < want*9/10 {
				t.Fatalf("gap %d is %s: want up to a tenth less than %s", i, gap, want)
			}
			want = min(2*want, 5*time.Minute)
		}
		if n := server.fetches(); n < 19 || n > 24 {
			t.Errorf("%d fetches in an hour", n)
		}
	})
}

// attack 156
func TestReadersNeverWaitForARefresh(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
		find(t, r, "a", nil)
		server.set(func(s *keyServer) { s.hang["sso.acme.example"] = true })
		for server.fetches() < 3 { // through a refresh that hangs and its end
			if d := took(func() { find(t, r, "a", nil) }); d != 0 {
				t.Fatalf("Find took %s", d)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// attack 159
func TestHungHostsDoNotStarveOthers(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		server.set(func(s *keyServer) { s.hang["hung.example"] = true })
		for i := range 100 {
			open(t, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://hung.example/%d", i)})
		}
		for i := range 20 {
			r := open(t, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://good%d.example/", i)})
			if d := took(func() { find(t, r, "a", nil) }); d != 0 {
				t.Errorf("source %d waited %s for hosts that hang", i, d)
			}
		}
		synctest.Wait()
		if n := server.mostAtATime("hung.example"); n != 2 {
			t.Errorf("%d fetches at a time to one host", n)
		}
	})
}

func TestFetchesAreBoundedInAll(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.delay = time.Second
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		for i := range 200 {
			open(t, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://h%d.example/", i)})
		}
		time.Sleep(10 * time.Second)
		if n := server.mostAtATime("all"); n != 24 {
			t.Errorf("%d fetches at a time: want 32 less the quarter for requests", n)
		}
		if n := server.fetches(); n != 200 || !f.Idle() {
			t.Errorf("%d fetches of 200 in the time of 9 rounds", n)
		}
	})
}

// Hosts that hang hold every ordinary fetch until they time out; a request for
// another tenant must not wait for that, and requests alone are bounded too.
func TestHangingHostsLeaveFetchesToRequests(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		var sets []*jwks.RemoteKeySet
		for i := range 1000 {
			host := fmt.Sprintf("hung%d.example", i)
			server.set(func(s *keyServer) { s.hang[host] = true })
			sets = append(sets, open(t, f, jwks.RemoteConfig{URL: "https://" + host + "/"}))
		}
		synctest.Wait()
		good := open(t, f, jwks.RemoteConfig{})
		if d := took(func() { find(t, good, "a", nil) }); d != 0 {
			t.Errorf("waited %s for hosts that hang", d)
		}
		var wg sync.WaitGroup
		for _, r := range sets {
			wg.Go(func() { find(t, r, "a", jwtverify.ErrKeysUnavailable) })
		}
		wg.Wait()
		if n := server.mostAtATime("all"); n != 32 {
			t.Errorf("%d fetches at a time", n)
		}
	})
}

// A set that a request needs comes before those that no request needs yet.
func TestARequestedSourceOvertakesIdleOnes(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.delay = 100 * time.Millisecond
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		var last *jwks.RemoteKeySet
		for i := range 1000 {
			last = open(t, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://one.example/%d", i)})
		}
		if d := took(func() { find(t, last, "a", nil) }); d > 200*time.Millisecond {
			t.Errorf("waited %s behind 999 idle sources", d)
		}
	})
}

// attack 160
func TestManySourcesAreAllRefreshed(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.delay = 50 * time.Millisecond
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		var sets []*jwks.RemoteKeySet
		for i := range 60 {
			sets = append(sets, open(t, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://h%d.example/", i), TTL: 2 * time.Second}))
		}
		time.Sleep(time.Minute)
		for i, r := range sets {
			if n := r.Status().Fetches; n < 29 || n > 34 {
				t.Errorf("source %d was fetched %d times in 30 intervals", i, n)
			}
		}
	})
}

func TestTenThousandSourcesOfADeadHost(t *testing.T) {
	server := newKeyServer("")
	server.hang["dead.example"] = true
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		before := runtime.NumGoroutine()
		var m0, m1 runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m0)
		sets := make([]*jwks.RemoteKeySet, 10_000)
		d := took(func() {
			for i := range sets {
				sets[i] = open(t, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://dead.example/%d", i)})
			}
		})
		runtime.GC()
		runtime.ReadMemStats(&m1)
		if d != 0 {
			t.Errorf("Open waited %s", d)
		}
		if n := runtime.NumGoroutine() - before; n > 8 {
			t.Errorf("%d goroutines", n)
		}
		if mib := int64(m1.HeapAlloc-m0.HeapAlloc) >> 20; mib > 20 {
			t.Errorf("%d MiB", mib)
		}
		runtime.KeepAlive(sets)
	})
}

// attack 163: a flood of kids causes a burst of three fetches and then one in 30
// seconds. What could not be looked for may be a good token of a new key.
func TestUnknownKidFloodFetchesOnce(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		find(t, r, "a", nil)
		d := took(func() {
			for i := range 100_000 {
				want := jwtverify.ErrKeysUnavailable
				if i < 3 {
					want = jwtverify.ErrUnknownKey
				}
				find(t, r, fmt.Sprint("forged", i), want)
			}
			find(t, r, "forged1", jwtverify.ErrUnknownKey)
		})
		if n := server.fetches(); n != 4 || d != 0 {
			t.Errorf("%d fetches in %s: want the first one and three more, without waiting", n, d)
		}
		time.Sleep(29 * time.Second)
		find(t, r, "x", jwtverify.ErrKeysUnavailable)
		if n := server.fetches(); n != 4 {
			t.Errorf("%d fetches: the limit did not last", n)
		}
		for i := range 10 {
			time.Sleep(time.Second)
			find(t, r, fmt.Sprint("x", i), jwtverify.ErrUnknownKey)
			find(t, r, fmt.Sprint("y", i), jwtverify.ErrKeysUnavailable)
			if n := server.fetches(); n != 5+i {
				t.Errorf("%d fetches after %d times 30 s: want %d", n, i+1, 5+i)
			}
			time.Sleep(29 * time.Second)
		}
	})
}

// After a rotation neither a forged kid, nor one of another issuer that goes on and
// on, nor both may get the tokens of the new key refused.
func TestForgedKidsDoNotHideARotation(t *testing.T) {
	server := newKeyServer(keySetOf("old"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		find(t, r, "old", nil)
		for range 20 { // clients that nobody repairs
			find(t, r, "elsewhere", jwtverify.ErrUnknownKey)
			find(t, r, "elsewhere2", jwtverify.ErrUnknownKey)
			time.Sleep(11 * time.Second)
		}
		find(t, r, "forged", jwtverify.ErrUnknownKey)
		before := server.fetches()
		server.serve(keySetOf("old", "new"))
		find(t, r, "forged", jwtverify.ErrUnknownKey) // which causes no fetch again so soon
		if n := server.fetches(); n != before {
			t.Errorf("%d fetches for a kid that was looked for just before", n-before)
		}
		time.Sleep(30 * time.Second)
		find(t, r, "new", nil)
	})
}

// While a flood has used up the lookups, a token of a new key gets a time to come
// again, and finds its key then.
func TestRotationDuringAFlood(t *testing.T) {
	server := newKeyServer(keySetOf("old"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		for i := range 10 {
			_, _ = r.Find(t.Context(), fmt.Sprint("forged", i))
		}
		server.serve(keySetOf("old", "new"))
		time.Sleep(7500 * time.Millisecond)
		_, err := r.Find(t.Context(), "new")
		if after := jwtverify.RetryAfter(err); !isUnavailable(err) || after != 23*time.Second || !strings.Contains(err.Error(), "23s") {
			t.Errorf("%v: come again after %v, want 23s", err, after)
		}
		time.Sleep(23 * time.Second)
		find(t, r, "new", nil)
		if after := jwtverify.RetryAfter(errors.New("another")); after != 0 {
			t.Errorf("another error: %v", after)
		}
	})
}

// An issuer that is down, or sends no key set, has not answered for a kid: it may be
// that of a new key. The same holds for a fetch that began before the request.
func TestUnknownKidOfASilentIssuer(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: 10 * time.Minute})
		find(t, r, "a", nil)
		server.fail(http.StatusBadGateway)
		find(t, r, "new", jwtverify.ErrKeysUnavailable)
		find(t, r, "a", nil)
		server.set(func(s *keyServer) { s.status, s.body = http.StatusOK, keySetOf("a", "new") })
		time.Sleep(10 * time.Second) // of the backoff
		synctest.Wait()
		find(t, r, "new", nil)
	})
}

// What is remembered of forged kids is bounded, and what is forgotten is looked
// for once more.
func TestAbsentKidsAreBounded(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.delay = 10 * time.Millisecond
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Hour})
		find(t, r, "a", nil)
		for round := range 20 {
			var wg sync.WaitGroup
			for i := range jwks.MaxWaiters {
				wg.Go(func() { _, _ = r.Find(t.Context(), fmt.Sprint(round, "-", i)) })
			}
			wg.Wait()
			if n := r.Absent(); n == 0 || n > jwks.MaxAbsent {
				t.Fatalf("round %d: %d kids are remembered", round, n)
			}
			time.Sleep(31 * time.Second)
		}
		server.serve(keySetOf("a", "19-0"))
		find(t, r, "fresh", jwtverify.ErrUnknownKey)
		find(t, r, "19-0", nil)
	})
}

func TestParallelUnknownKidsShareOneFetch(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		find(t, r, "a", nil)
		server.set(func(s *keyServer) { s.hang["sso.acme.example"] = true })
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				if d := took(func() { find(t, r, fmt.Sprint(i), jwtverify.ErrKeysUnavailable) }); d > 500*time.Millisecond {
					t.Errorf("waited %s", d)
				}
			})
		}
		wg.Wait()
		if n := server.fetches(); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

// A token without a kid can't be helped by a fetch.
func TestMissingKidCausesNoFetch(t *testing.T) {
	server := newKeyServer(keySetOf("a", "b"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		find(t, r, "", jwtverify.ErrUnknownKey)
		find(t, r, "", jwtverify.ErrUnknownKey)
		if n := server.fetches(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

// attack 164
func TestRotationReachesWaitingRequests(t *testing.T) {
	server := newKeyServer(keySetOf("old"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		find(t, r, "old", nil)
		server.set(func(s *keyServer) { s.body, s.delay = keySetOf("old", "new"), 200*time.Millisecond })
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if d := took(func() { find(t, r, "new", nil) }); d != 200*time.Millisecond {
					t.Errorf("waited %s", d)
				}
			})
		}
		wg.Wait()
		if n := server.fetches(); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

// A refresh that began before the rotation has read the old set: the request
// that joined it may have another one.
func TestRotationDuringARefreshIsSeen(t *testing.T) {
	server := newKeyServer(keySetOf("old"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
		find(t, r, "old", nil)
		server.set(func(s *keyServer) { s.delay = 100 * time.Millisecond })
		for server.fetches() < 2 {
			time.Sleep(10 * time.Millisecond)
		}
		server.serve(keySetOf("old", "new"))
		if d := took(func() { find(t, r, "new", nil) }); d > 200*time.Millisecond {
			t.Errorf("waited %s", d)
		}
		if n := server.fetches(); n != 3 {
			t.Errorf("%d fetches", n)
		}
	})
}

// attack 162
func TestUnknownKidLeavesOneSchedule(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: 10 * time.Minute})
		for range 10 {
			find(t, r, "unknown", jwtverify.ErrUnknownKey)
			time.Sleep(30 * time.Second)
		}
		before := server.fetches()
		if before < 10 || before > 11 {
			t.Errorf("%d fetches for 10 unknown kids", before)
		}
		time.Sleep(time.Hour)
		if n := server.fetches() - before; n < 6 || n > 7 {
			t.Errorf("%d fetches in an hour of 10 minute intervals", n)
		}
	})
}

// attack 166
func TestRemovedKeyIsGoneAfterTheFetch(t *testing.T) {
	server := newKeyServer(keySetOf("a", "b"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
		find(t, r, "b", nil)
		server.serve(keySetOf("a"))
		time.Sleep(time.Minute)
		synctest.Wait()
		find(t, r, "b", jwtverify.ErrUnknownKey)
		find(t, r, "a", nil)
		find(t, r, "", nil)
	})
}

// A cache of verified tokens compares key objects.
func TestUnchangedKeysStayTheSameObjects(t *testing.T) {
	server := newKeyServer(keySetOf("a", "b"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
		a, b := find(t, r, "a", nil), find(t, r, "b", nil)
		server.serve(keySetOf("c", "b/2", "a"))
		time.Sleep(time.Minute)
		synctest.Wait()
		find(t, r, "c", nil)
		if find(t, r, "a", nil) != a {
			t.Error("the unchanged key is another object")
		}
		if b2 := find(t, r, "b", nil); b2 == b || b2.Equal(b) {
			t.Error("the changed key is the old one")
		}
	})
}

// attacks 74 and 167
func TestEmptySetMustBeSeenTwice(t *testing.T) {
	empties := map[string]string{
		"empty":       `{"keys":[]}`,
		"none usable": `{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}`,
		"none named":  keySetOf("/1", "/2"),
	}
	for name, empty := range empties {
		t.Run(name, func(t *testing.T) {
			server := newKeyServer(keySetOf("a"))
			inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
				r := open(t, f, jwks.RemoteConfig{TTL: 10 * time.Minute})
				find(t, r, "a", nil)
				server.serve(empty)
				find(t, r, "forged", jwtverify.ErrKeysUnavailable) // the first sight
				time.Sleep(30 * time.Second)
				find(t, r, "forged", jwtverify.ErrKeysUnavailable) // too soon for a second one
				find(t, r, "a", nil)
				if st := r.Status(); st.LastError == nil || st.Keys != 1 || server.fetches() != 3 {
					t.Errorf("status %+v after %d fetches", st, server.fetches())
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				find(t, r, "a", jwtverify.ErrUnknownKey)
				if st := r.Status(); st.LastError == nil || st.Keys != 0 {
					t.Errorf("status %+v", st)
				}
				server.serve(keySetOf("a"))
				time.Sleep(10 * time.Minute)
				find(t, r, "a", nil)
				if st := r.Status(); st.LastError != nil {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

func TestAGoodSetBetweenTwoEmptyOnesStartsAnew(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
		for range 5 {
			server.serve(keySetOf("a"))
			time.Sleep(time.Minute)
			server.serve(`{"keys":[]}`)
			for n := server.fetches(); server.fetches() == n; {
				time.Sleep(time.Second)
			}
			find(t, r, "a", nil)
		}
	})
}

func TestFirstSetWithoutKeysIsAnError(t *testing.T) {
	server := newKeyServer(`{"keys":[]}`)
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		find(t, r, "a", jwtverify.ErrKeysUnavailable)
		server.serve(keySetOf("a"))
		time.Sleep(time.Second)
		find(t, r, "a", nil)
	})
}

func TestBadAnswersKeepTheLastGoodKeys(t *testing.T) {
	for name, body := range map[string]string{
		"html": "<html>", "empty body": "", "null": "null", "list": "[]", "no keys": "{}", "error": `{"error":"x"}`,
		"cut": keySetOf("b")[:40], "garbage behind": keySetOf("b") + "<html>", "two keys members": `{"keys":[],"keys":[]}`,
		"too many": keySetOf(manyNames(101)...),
	} {
		t.Run(name, func(t *testing.T) {
			server := newKeyServer(keySetOf("a"))
			inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
				r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
				find(t, r, "a", nil)
				server.serve(body)
				time.Sleep(time.Hour)
				find(t, r, "a", nil)
				if r.Status().LastError == nil {
					t.Error("no error in the status")
				}
				server.serve(keySetOf("b"))
				time.Sleep(5 * time.Minute)
				find(t, r, "b", nil)
			})
		})
	}
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("k", i)
	}
	return names
}

// attack 154
func TestStatusOtherThan200IsRefusedWhateverItsBody(t *testing.T) {
	for _, status := range []int{201, 203, 204, 206, 304, 404, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			server := newKeyServer(keySetOf("evil"))
			server.status = status
			inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
				r := open(t, f, jwks.RemoteConfig{})
				find(t, r, "evil", jwtverify.ErrKeysUnavailable)
			})
		})
	}
}

func TestKeysFailClosedAfterMaxStale(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute, MaxStale: time.Hour})
		find(t, r, "a", nil)
		server.fail(http.StatusBadGateway)
		time.Sleep(time.Hour)
		find(t, r, "a", nil)
		time.Sleep(time.Nanosecond)
		find(t, r, "a", jwtverify.ErrKeysUnavailable)
		find(t, r, "unknown", jwtverify.ErrKeysUnavailable)
		server.fail(http.StatusOK)
		time.Sleep(5 * time.Minute)
		find(t, r, "a", nil)
	})
}

func TestPlannedRefreshesNeverLetKeysBecomeStale(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.delay = 4 * time.Second
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Hour, MaxStale: time.Hour})
		time.Sleep(5 * time.Second)
		for range 1000 {
			find(t, r, "a", nil)
			time.Sleep(7 * time.Minute)
		}
		for _, gap := range server.gaps() {
			if gap > 55*time.Minute { // else one failure is an outage
				t.Errorf("%s between two fetches of keys that serve for an hour", gap)
			}
		}
	})
}

func TestNotModifiedConfirmsTheKeys(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.header["ETag"] = `"1"`
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute, MaxStale: 2 * time.Minute})
		a := find(t, r, "a", nil)
		server.serve("not read any more")
		time.Sleep(time.Hour)
		if find(t, r, "a", nil) != a {
			t.Error("another key object")
		}
		if st := r.Status(); st.LastError != nil || st.Fetches < 60 {
			t.Errorf("status %+v", st)
		}
		server.set(func(s *keyServer) { s.header["ETag"], s.body = `"2"`, keySetOf("b") })
		time.Sleep(time.Minute)
		find(t, r, "b", nil)
	})
}

// attack 170
func TestMaxAgeIsClamped(t *testing.T) {
	for _, c := range []struct {
		control   string
		ttl, want time.Duration
	}{
		{"", time.Hour, time.Hour},
		{"max-age=600", time.Hour, 10 * time.Minute},
		{"public, MAX-AGE=\"600\"", time.Hour, 10 * time.Minute},
		{"max-age=0", time.Hour, time.Minute},
		{"max-age=-1", time.Hour, time.Minute},
		{"max-age=1e30", time.Hour, time.Minute},
		{"max-age=86400, no-store", time.Hour, time.Minute},
		{"max-age=99999999999999999999999", time.Hour, time.Hour},
		{"max-age=0", 10 * time.Second, 10 * time.Second},
	} {
		t.Run(c.control, func(t *testing.T) {
			server := newKeyServer(keySetOf("a"))
			server.header["Cache-Control"] = c.control
			inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
				open(t, f, jwks.RemoteConfig{TTL: c.ttl})
				time.Sleep(5 * c.ttl)
				gaps := server.gaps()
				if len(gaps) == 0 {
					t.Fatal("no refresh")
				}
				for _, gap := range gaps {
					if gap > c.want || gap < c.want*9/10 {
						t.Errorf("gap %s: want up to a tenth less than %s", gap, c.want)
					}
				}
			})
		})
	}
}

// Sources that were opened together must not stay together.
func TestRefreshesAreSpread(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		next := map[time.Time]bool{}
		for i := range 100 {
			r := open(t, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://h%d.example/", i)})
			find(t, r, "a", nil)
			next[r.Status().NextFetch] = true
		}
		if len(next) < 50 {
			t.Errorf("%d different times of 100", len(next))
		}
	})
}

// attack 174
func TestResultOfAClosedSetIsDropped(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.delay = time.Second
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
		time.Sleep(500 * time.Millisecond)
		r.Close()
		r.Close()
		if d := took(func() { find(t, r, "a", jwtverify.ErrKeysUnavailable) }); d != 0 {
			t.Errorf("Find of a closed set waited %s", d)
		}
		time.Sleep(time.Hour)
		find(t, r, "a", jwtverify.ErrKeysUnavailable)
		if n := server.fetches(); n != 1 || !f.Idle() {
			t.Errorf("%d fetches: the closed source goes on", n)
		}
	})
}

// A transport may bring an answer though the fetch was cancelled.
func TestAnAnswerAfterCloseIsDropped(t *testing.T) {
	late := roundTripper(func(r *http.Request) (*http.Response, error) {
		time.Sleep(time.Second)
		return newKeyServer(keySetOf("a")).RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
	})
	synctest.Test(t, func(t *testing.T) {
		f := jwks.NewFetcher(jwks.FetcherConfig{Transport: late})
		defer f.Close()
		r := open(t, f, jwks.RemoteConfig{})
		synctest.Wait()
		r.Close()
		time.Sleep(2 * time.Second)
		if st := r.Status(); st.Keys != 0 || !st.NextFetch.IsZero() || !f.Idle() {
			t.Errorf("status %+v of a closed set", st)
		}
		open(t, f, jwks.RemoteConfig{})
		synctest.Wait()
		if d := took(f.Close); d != time.Second {
			t.Errorf("Close took %s: it must wait for the fetch under way", d)
		}
	})
}

func TestCloseWakesThoseWhoWait(t *testing.T) {
	server := newKeyServer("")
	server.hang["sso.acme.example"] = true
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if d := took(func() { find(t, r, "a", jwtverify.ErrKeysUnavailable) }); d != 100*time.Millisecond {
				t.Errorf("waited %s", d)
			}
		})
		time.Sleep(100 * time.Millisecond)
		r.Close()
		wg.Wait()
	})
}

func TestClosedSetGoesOnWithItsKeys(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{MaxStale: time.Hour})
		find(t, r, "a", nil)
		r.Close()
		find(t, r, "a", nil)
		find(t, r, "new", jwtverify.ErrKeysUnavailable) // nobody looks for it any more
		time.Sleep(time.Hour + 1)
		find(t, r, "a", jwtverify.ErrKeysUnavailable)
		if n := server.fetches(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

// attack 175
func TestSetsOfOneURLShareItsSource(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		first := open(t, f, jwks.RemoteConfig{Issuers: []string{"https://one.example"}, TTL: time.Minute})
		second := open(t, f, jwks.RemoteConfig{Issuers: []string{"https://two.example"}, TTL: time.Minute})
		if find(t, first, "a", nil) != find(t, second, "a", nil) || server.fetches() != 1 {
			t.Errorf("%d fetches: the source is not shared", server.fetches())
		}
		first.Close()
		server.serve(keySetOf("b"))
		time.Sleep(time.Minute)
		find(t, second, "b", nil)
		second.Close()
		time.Sleep(time.Hour)
		if n := server.fetches(); n != 2 {
			t.Errorf("%d fetches", n)
		}
		find(t, open(t, f, jwks.RemoteConfig{TTL: time.Minute}), "b", nil)
		if n := server.fetches(); n != 3 {
			t.Errorf("%d fetches: a source that was closed came back", n)
		}
	})
}

// attack 176: a reading of the monotonic clock makes time.Since blind to jumps
// of the wall clock; it is lost where a time is rounded or printed and read.
func TestLifetimesUseTheMonotonicClock(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: server})
	defer f.Close()
	r := open(t, f, jwks.RemoteConfig{})
	find(t, r, "a", nil)
	st := r.Status()
	for what, at := range map[string]time.Time{"last good fetch": st.Fetched, "next fetch": st.NextFetch} {
		if !strings.Contains(at.String(), "m=+") {
			t.Errorf("%s %s has no monotonic reading", what, at)
		}
	}
}

func TestPanicInAFetchIsAnError(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.handler = func(http.ResponseWriter, *http.Request) { panic("hostile answer") }
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{})
		find(t, r, "a", jwtverify.ErrKeysUnavailable)
		server.set(func(s *keyServer) { s.handler = nil })
		time.Sleep(time.Second)
		find(t, r, "a", nil)
	})
}

func TestOpenAfterCloseIsAnError(t *testing.T) {
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: newKeyServer("")})
	f.Close()
	f.Close()
	if _, err := f.Open(jwks.RemoteConfig{URL: keyURL}); err == nil {
		t.Error("Open after Close")
	}
}

func TestOpenRefusesBadConfigurations(t *testing.T) {
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: newKeyServer("")})
	defer f.Close()
	for name, c := range map[string]struct {
		cfg  jwks.RemoteConfig
		want string
	}{
		"url":       {jwks.RemoteConfig{URL: "http://sso.acme.example/"}, "allow_http: true"},
		"ttl":       {jwks.RemoteConfig{URL: keyURL, TTL: time.Millisecond}, "ttl"},
		"negative":  {jwks.RemoteConfig{URL: keyURL, TTL: -time.Hour}, "ttl"},
		"max stale": {jwks.RemoteConfig{URL: keyURL, TTL: time.Hour, MaxStale: time.Minute}, "max_stale"},
		"issuers":   {jwks.RemoteConfig{URL: keyURL, Discovery: true}, "issuer"},
		"no issuer": {jwks.RemoteConfig{URL: keyURL, Discovery: true, Issuers: []string{""}}, "issuer"},
	} {
		if _, err := f.Open(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v: want an error about %q", name, err, c.want)
		}
	}
}

func TestOnlyChangesAreLogged(t *testing.T) {
	server := newKeyServer(strings.Replace(keySetOf("a", "b"), `"kid":"b"`, `"kid":"b","d":"c2VjcmV0"`, 1))
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := jwks.NewFetcher(jwks.FetcherConfig{Transport: server, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		open(t, f, jwks.RemoteConfig{URL: keyURL + "?access=letmein", TTL: time.Minute})
		time.Sleep(time.Hour)
		server.fail(http.StatusBadGateway)
		time.Sleep(time.Hour)
		server.fail(http.StatusOK)
		time.Sleep(time.Hour)
		f.Close()
		text := log.String()
		if n := strings.Count(text, "\n"); n != 3 {
			t.Errorf("%d lines, want 3: refused, fails, works again\n%s", n, text)
		}
		for _, want := range []string{"private key", "502", "works again"} {
			if strings.Count(text, want) != 1 {
				t.Errorf("want %q once in\n%s", want, text)
			}
		}
		for _, never := range []string{"letmein", "c2VjcmV0"} {
			if strings.Contains(text, never) {
				t.Errorf("%q in\n%s", never, text)
			}
		}
	})
}

func TestFindOfAKnownKeyAllocatesNothing(t *testing.T) {
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: newKeyServer(keySetOf("a"))})
	defer f.Close()
	r := open(t, f, jwks.RemoteConfig{})
	find(t, r, "a", nil)
	ctx := context.Background()
	for _, kid := range []string{"a", ""} {
		if n := testing.AllocsPerRun(1000, func() { _, _ = r.Find(ctx, kid) }); n != 0 {
			t.Errorf("Find(%q): %v allocations", kid, n)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: newKeyServer(keySetOf("a", "b"))})
	defer f.Close()
	r := open(b, f, jwks.RemoteConfig{})
	find(b, r, "a", nil)
	if _, err := r.Find(b.Context(), "forged"); err == nil {
		b.Fatal("found a forged kid")
	}
	for _, kid := range []string{"a", "forged"} {
		b.Run(kid, func(b *testing.B) {
			b.ReportAllocs()
			ctx := context.Background()
			for b.Loop() {
				_, _ = r.Find(ctx, kid)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	f := jwks.NewFetcher(jwks.FetcherConfig{Transport: newKeyServer(keySetOf("a"))})
	defer f.Close()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		open(b, f, jwks.RemoteConfig{URL: fmt.Sprintf("https://sso.acme.example/%d", i)})
	}
}

// A machine that was suspended has keys that nobody vouched for since, though its
// monotonic clock stood still: the first request has them fetched, and where
// that fails they are too old.
func TestKeysOfASuspendedMachine(t *testing.T) {
	server := newKeyServer(keySetOf("a", "leaked"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Hour, MaxStale: 24 * time.Hour})
		defer r.Close()
		synctest.Wait()
		r.Sleep(24*time.Hour + 4*time.Minute) // no more than a clock that is set right
		find(t, r, "leaked", nil)
		if server.fetches() != 1 {
			t.Errorf("%d fetches", server.fetches())
		}
		server.serve(keySetOf("a"))
		r.Sleep(2 * time.Minute)
		find(t, r, "a", nil)
		find(t, r, "leaked", jwtverify.ErrUnknownKey) // it is looked for once
		find(t, r, "leaked", jwtverify.ErrUnknownKey)
		if server.fetches() != 3 {
			t.Errorf("%d fetches", server.fetches())
		}
		server.fail(http.StatusBadGateway)
		time.Sleep(time.Minute)
		r.Sleep(48 * time.Hour)
		for range 100 {
			find(t, r, "a", jwtverify.ErrKeysUnavailable)
		}
		if n := server.fetches(); n != 4 {
			t.Errorf("%d fetches, want one more for 100 requests", n)
		}
		server.fail(http.StatusOK)
		time.Sleep(3 * time.Second) // the backoff
		find(t, r, "a", nil)

		server.serve(`{"keys":[]}`) // not believed at once, which is no failure
		time.Sleep(time.Minute)
		r.Sleep(48 * time.Hour)
		before := server.fetches()
		for range 100 {
			find(t, r, "a", jwtverify.ErrKeysUnavailable)
		}
		if n := server.fetches() - before; n != 1 {
			t.Errorf("%d fetches for 100 requests", n)
		}
	})
}
