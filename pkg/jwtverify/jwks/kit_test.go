package jwks_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// keyServer is a key server: in memory as a RoundTripper, where time is that
// of the test's bubble, or behind httptest.
type keyServer struct {
	mu      sync.Mutex
	body    string
	status  int
	header  map[string]string
	delay   time.Duration // before it answers
	hang    map[string]bool
	handler http.HandlerFunc // instead of all that
	begun   []time.Time

	busy map[string]int // by host, and "all"
	peak map[string]int
}

func newKeyServer(body string) *keyServer {
	return &keyServer{
		body: body, status: http.StatusOK, header: map[string]string{}, hang: map[string]bool{},
		busy: map[string]int{}, peak: map[string]int{},
	}
}

func (s *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.enter(r.URL.Host)
	defer s.leave(r.URL.Host)
	s.mu.Lock()
	body, status, delay, handler, hang := s.body, s.status, s.delay, s.handler, s.hang[r.URL.Host]
	for name, value := range s.header {
		w.Header().Set(name, value)
	}
	s.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	if hang {
		<-r.Context().Done()
		return
	}
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	if tag := w.Header().Get("ETag"); tag != "" && tag == r.Header.Get("If-None-Match") {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func (s *keyServer) enter(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = append(s.begun, time.Now())
	for _, of := range []string{host, "all"} {
		s.busy[of]++
		s.peak[of] = max(s.peak[of], s.busy[of])
	}
}

func (s *keyServer) leave(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[host]--
	s.busy["all"]--
}

// RoundTrip answers without a network.
func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// set changes the server.
func (s *keyServer) set(change func(*keyServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *keyServer) serve(body string) { s.set(func(s *keyServer) { s.body = body }) }
func (s *keyServer) fail(status int)   { s.set(func(s *keyServer) { s.status = status }) }

func (s *keyServer) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.begun)
}

// mostAtATime is the peak of requests to a host, or to "all".
func (s *keyServer) mostAtATime(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak[host]
}

// gaps are the times between the fetches.
func (s *keyServer) gaps() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(s.begun); i++ {
		gaps = append(gaps, s.begun[i].Sub(s.begun[i-1]))
	}
	return gaps
}

// keySetOf is a key set of Ed25519 keys. "a" and "a/2" are two keys of kid a; a
// name that begins with "/" has no kid.
func keySetOf(names ...string) string {
	var keys []string
	for _, name := range names {
		seed := sha256.Sum256([]byte(name))
		x := base64.RawURLEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
		kid, _, _ := strings.Cut(name, "/")
		member := ""
		if kid != "" {
			member = fmt.Sprintf(`"kid":%q,`, kid)
		}
		keys = append(keys, fmt.Sprintf(`{%s"kty":"OKP","crv":"Ed25519","use":"sig","x":%q}`, member, x))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

const keyURL = "https://sso.acme.example/jwks.json"

// inBubble runs a test in fake time with a fetcher of server. Every
// goroutine and timer must be gone at its end.
func inBubble(t *testing.T, server *keyServer, test func(t *testing.T, f *jwks.Fetcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := jwks.NewFetcher(jwks.FetcherConfig{Transport: server})
		defer f.Close()
		test(t, f)
	})
}

func open(t testing.TB, f *jwks.Fetcher, cfg jwks.RemoteConfig) *jwks.RemoteKeySet {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = keyURL
	}
	r, err := f.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// find expects an error, or a key for nil.
func find(t testing.TB, r *jwks.RemoteKeySet, kid string, want error) *jwtverify.Key {
	t.Helper()
	k, err := r.Find(context.Background(), kid)
	switch {
	case want != nil && (!errors.Is(err, want) || k != nil):
		t.Fatalf("Find(%q) = %v, %v: want %v", kid, k, err, want)
	case want == nil && (err != nil || k == nil || kid != "" && k.ID() != kid):
		t.Fatalf("Find(%q) = %v, %v: want the key", kid, k, err)
	}
	return k
}

// took returns the fake time that a call takes.
func took(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}

func isUnavailable(err error) bool { return errors.Is(err, jwtverify.ErrKeysUnavailable) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
