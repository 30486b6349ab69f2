package jwks_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

const newURL = "https://new.acme.example/jwks.json"

// moved opens a set in place of another, as a reload with a new source does.
func moved(t *testing.T, f *jwks.Fetcher, old jwtverify.KeySet, cfg jwks.RemoteConfig) *jwks.RemoteKeySet {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = newURL
	}
	r := open(t, f, cfg)
	r.TakeOver(old)
	if remote, ok := old.(*jwks.RemoteKeySet); ok {
		remote.Close()
	}
	synctest.Wait()
	return r
}

// twoHosts answers for the old host, and for the new one as a test sets it.
func twoHosts(oldSet string) (server, fresh *keyServer) {
	server, fresh = newKeyServer(""), newKeyServer("")
	fresh.fail(http.StatusBadGateway)
	server.handler = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Host, "new") {
			fresh.ServeHTTP(w, r)
			return
		}
		_, _ = w.Write([]byte(oldSet))
	}
	return server, fresh
}

// The old keys serve while the new source is silent, for ten minutes and no longer,
// however often the configuration is reloaded meanwhile.
func TestOldKeysServeForTenMinutes(t *testing.T) {
	server, _ := twoHosts(keySetOf("old"))
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		first := open(t, f, jwks.RemoteConfig{})
		find(t, first, "old", nil)
		r := moved(t, f, first, jwks.RemoteConfig{})
		find(t, r, "new", jwtverify.ErrKeysUnavailable)
		if st := r.Status(); st.OldKeys != 1 || time.Until(st.OldUntil) != 10*time.Minute || st.Keys != 0 {
			t.Errorf("status %+v", st)
		}
		for minute := range 10 {
			find(t, r, "old", nil)
			find(t, r, "", nil)
			switch { // an unchanged source, and another one that is silent too
			case minute%3 == 1:
				r = moved(t, f, r, jwks.RemoteConfig{})
			case minute%3 == 2:
				r = moved(t, f, r, jwks.RemoteConfig{URL: newURL + "?" + time.Now().String()[11:19]})
			}
			time.Sleep(time.Minute)
		}
		find(t, r, "old", jwtverify.ErrKeysUnavailable)
		if st := r.Status(); st.OldKeys != 0 || !st.OldUntil.IsZero() {
			t.Errorf("status %+v", st)
		}
		r = moved(t, f, r, jwks.RemoteConfig{URL: newURL + "?last"})
		find(t, r, "old", jwtverify.ErrKeysUnavailable)
	})
}

// The first key set of the new source ends the old keys for good, also one without
// a usable key; an error, or something that is no key set, does not.
func TestTheFirstAnswerEndsTheOldKeys(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		keys bool // of the old source serve still
		want error
	}{
		"another key":    {keySetOf("new"), false, jwtverify.ErrUnknownKey},
		"the same":       {keySetOf("new", "old"), true, nil},
		"no key":         {`{"keys":[]}`, false, jwtverify.ErrKeysUnavailable},
		"no usable key":  {`{"keys":[{"kty":"oct","k":"AAAA","kid":"old"}]}`, false, jwtverify.ErrKeysUnavailable},
		"no key set":     {"<html>not yet</html>", true, nil},
		"another object": {`{"error":"not yet"}`, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			server, fresh := twoHosts(keySetOf("old"))
			inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
				first := open(t, f, jwks.RemoteConfig{})
				find(t, first, "old", nil)
				r := moved(t, f, first, jwks.RemoteConfig{TTL: time.Second})
				find(t, r, "old", nil)
				fresh.set(func(s *keyServer) { s.status, s.body = http.StatusOK, c.body })
				time.Sleep(time.Minute)
				synctest.Wait()
				find(t, r, "old", c.want)
				if st := r.Status(); !c.keys && st.OldKeys != 0 {
					t.Errorf("status %+v", st)
				}
				fresh.fail(http.StatusBadGateway) // and its failure afterwards does not bring them back
				time.Sleep(time.Minute)
				synctest.Wait()
				if !c.keys {
					if k, err := r.Find(t.Context(), "old"); k != nil || err == nil {
						t.Errorf("after the answer: %v, %v", k, err)
					}
					again := moved(t, f, r, jwks.RemoteConfig{URL: newURL + "?2"})
					if k, err := again.Find(t.Context(), "old"); k != nil || !isUnavailable(err) && !errors.Is(err, jwtverify.ErrUnknownKey) {
						t.Errorf("after another reload: %v, %v", k, err)
					}
				}
			})
		})
	}
}

// Neither max_stale, of the old source or of the new one, nor a suspended machine
// gives old keys more time than they had.
func TestOldKeysEndWithMaxStale(t *testing.T) {
	for name, c := range map[string]struct {
		old, fresh time.Duration // max_stale
		age        time.Duration // of the old keys at the reload
		left       time.Duration
	}{
		"of the old source":   {5 * time.Minute, time.Hour, 2 * time.Minute, 3 * time.Minute},
		"of the new source":   {time.Hour, 5 * time.Minute, 2 * time.Minute, 3 * time.Minute},
		"of neither":          {time.Hour, time.Hour, 2 * time.Minute, 10 * time.Minute},
		"over for the new":    {time.Hour, time.Minute, 2 * time.Minute, 0},
		"over for the old":    {2 * time.Minute, time.Hour, 2*time.Minute + 1, 0},
		"just as long as ten": {12 * time.Minute, time.Hour, 2 * time.Minute, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := twoHosts(keySetOf("old"))
			inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
				first := open(t, f, jwks.RemoteConfig{TTL: min(c.old, time.Hour), MaxStale: c.old})
				find(t, first, "old", nil)
				server.set(func(s *keyServer) { s.handler, s.status = nil, http.StatusBadGateway })
				time.Sleep(c.age)
				r := moved(t, f, first, jwks.RemoteConfig{TTL: min(c.fresh, time.Hour), MaxStale: c.fresh})
				if c.left > 0 {
					time.Sleep(c.left - 1)
					find(t, r, "old", nil)
					time.Sleep(time.Nanosecond)
				}
				find(t, r, "old", jwtverify.ErrKeysUnavailable)
			})
		})
	}
	t.Run("suspended", func(t *testing.T) {
		server, _ := twoHosts(keySetOf("old"))
		inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
			first := open(t, f, jwks.RemoteConfig{})
			find(t, first, "old", nil)
			r := moved(t, f, first, jwks.RemoteConfig{})
			find(t, r, "old", nil)
			r.SleepOver(11 * time.Minute)
			find(t, r, "old", jwtverify.ErrKeysUnavailable)
		})
	})
}

// Keys of a file or of the configuration serve as those of a server do, but for one
// without a kid, which would stand for every token of the new source.
func TestOldKeysOfAFile(t *testing.T) {
	keys, _, err := jwtverify.ParseKeySet([]byte(keySetOf("old")))
	if err != nil {
		t.Fatal(err)
	}
	nameless, _, err := jwtverify.ParseKeySet([]byte(keySetOf("/")))
	if err != nil {
		t.Fatal(err)
	}
	server, fresh := twoHosts("")
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := moved(t, f, must(jwtverify.NewStaticKeySet(keys...)), jwks.RemoteConfig{})
		find(t, r, "old", nil)
		find(t, r, "new", jwtverify.ErrKeysUnavailable)
		find(t, moved(t, f, must(jwtverify.NewStaticKeySet(nameless...)), jwks.RemoteConfig{URL: newURL + "?2"}), "any", jwtverify.ErrKeysUnavailable)
		time.Sleep(10*time.Minute - 1)
		find(t, r, "old", nil)
		time.Sleep(time.Nanosecond)
		find(t, r, "old", jwtverify.ErrKeysUnavailable)
		fresh.set(func(s *keyServer) { s.status, s.body = http.StatusOK, keySetOf("new") })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		find(t, r, "new", nil)
	})
}
