package jwks_test

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// served fetches once from a real server through the guarded transport and
// returns the set after that fetch.
func served(t *testing.T, server *httptest.Server, path string, cfg jwks.FetcherConfig) *jwks.RemoteKeySet {
	t.Helper()
	if server.TLS != nil {
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		cfg.Transport = jwks.GuardedTransport(false, roots)
	}
	f := jwks.NewFetcher(cfg)
	t.Cleanup(f.Close)
	r := open(t, f, jwks.RemoteConfig{URL: server.URL + path})
	fetched(t, r)
	return r
}

// fetched waits until the first fetch has ended.
func fetched(t *testing.T, r *jwks.RemoteKeySet) {
	t.Helper()
	for range 1000 {
		if !r.Status().NextFetch.IsZero() {
			return
		}
		_, _ = r.Find(t.Context(), "") // returns when the fetch ends, and causes none
	}
	t.Fatal("the fetch does not end")
}

// expectError wants no keys and an error that says why.
func expectError(t *testing.T, r *jwks.RemoteKeySet, want string) {
	t.Helper()
	st := r.Status()
	if st.LastError == nil || st.Keys != 0 || !strings.Contains(st.LastError.Error(), want) {
		t.Errorf("%d keys, error %v: want an error about %q", st.Keys, st.LastError, want)
	}
}

func expectKeys(t *testing.T, r *jwks.RemoteKeySet, want int) {
	t.Helper()
	if st := r.Status(); st.LastError != nil || st.Keys != want {
		t.Errorf("%d keys, error %v: want %d", st.Keys, st.LastError, want)
	}
}

func answering(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

func TestFetchFromARealServer(t *testing.T) {
	server := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Accept") != "application/jwk-set+json, application/json" || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("request %s %v", r.Method, r.Header)
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, keySetOf("a"))
	})
	expectKeys(t, served(t, server, "/", jwks.FetcherConfig{}), 1)
}

// attack 158
func TestATricklingBodyEndsAtTheDeadline(t *testing.T) {
	server := answering(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, " ")
			w.(http.Flusher).Flush()
			select {
			case <-time.After(10 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	r := served(t, server, "/", jwks.FetcherConfig{Timeout: 100 * time.Millisecond})
	expectError(t, r, "no complete answer within 100ms")
}

// attack 171
func TestOversizedBodiesAreCut(t *testing.T) {
	for name, length := range map[string]bool{"declared": true, "chunked": false} {
		t.Run(name, func(t *testing.T) {
			const size = 24 << 20
			server := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				if length {
					w.Header().Set("Content-Length", fmt.Sprint(size))
				}
				block := bytes.Repeat([]byte(" "), 1<<16)
				sent := 0
				for ; sent < size; sent += len(block) {
					if _, err := w.Write(block); err != nil {
						break
					}
				}
				if sent == size {
					t.Error("all of the body was read")
				}
			})
			expectError(t, served(t, server, "/", jwks.FetcherConfig{}), "more than 524288 bytes")
		})
	}
}

func TestASetOfTheGreatestSizeIsRead(t *testing.T) {
	server := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		set := keySetOf("a")
		fmt.Fprint(w, set, strings.Repeat(" ", 512<<10-len(set)))
	})
	expectKeys(t, served(t, server, "/", jwks.FetcherConfig{}), 1)
}

// attack 171
func TestAGzipBombIsNotInflated(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write([]byte(keySetOf("a") + strings.Repeat(" ", 16<<20)))
	_ = z.Close()
	server := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	expectError(t, served(t, server, "/", jwks.FetcherConfig{}), "content coding")
}

func TestHugeHeadersAreRefused(t *testing.T) {
	server := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Pad", strings.Repeat("x", 100<<10))
		fmt.Fprint(w, keySetOf("a"))
	})
	expectError(t, served(t, server, "/", jwks.FetcherConfig{}), "requesting keys")
}

func TestAHugeETagIsNotStored(t *testing.T) {
	server := newKeyServer(keySetOf("a"))
	server.header["ETag"] = `"` + strings.Repeat("x", 2<<10) + `"`
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{TTL: time.Minute})
		find(t, r, "a", nil)
		server.serve(keySetOf("b")) // the server would answer 304 to an If-None-Match
		time.Sleep(time.Minute)
		find(t, r, "b", nil)
	})
}

// attack 172: what can go wrong below HTTP.
func TestTransportErrorsAreErrors(t *testing.T) {
	hijack := func(do func(net.Conn)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			do(conn)
			_ = conn.Close()
		}
	}
	set := keySetOf("a")
	for name, h := range map[string]http.HandlerFunc{
		"reset before the answer": hijack(func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }),
		"reset half way": hijack(func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(set), set[:len(set)/2])
			_ = c.(*net.TCPConn).SetLinger(0)
		}),
		"closed half way": hijack(func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(set)+1, set)
		}),
		"chunks without an end": hijack(func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(set), set)
		}),
		"no HTTP": hijack(func(c net.Conn) { fmt.Fprint(c, set) }),
	} {
		t.Run(name, func(t *testing.T) {
			expectError(t, served(t, answering(t, h), "/", jwks.FetcherConfig{}), "")
		})
	}
	t.Run("connection refused", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		expectError(t, served(t, server, "/", jwks.FetcherConfig{}), "refused")
	})
	t.Run("unknown certificate", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // the client hangs up, as it should
		server.StartTLS()
		defer server.Close()
		f := jwks.NewFetcher(jwks.FetcherConfig{})
		defer f.Close()
		r := open(t, f, jwks.RemoteConfig{URL: server.URL})
		fetched(t, r)
		expectError(t, r, "certificate")
	})
}

// attack 172, with good keys in memory.
func TestAResetRefreshKeepsTheLastGoodKeys(t *testing.T) {
	var mu sync.Mutex
	broken := false
	server := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, keySetOf("a"))
	})
	r := served(t, server, "/", jwks.FetcherConfig{})
	a := find(t, r, "a", nil)
	mu.Lock()
	broken = true
	mu.Unlock()
	find(t, r, "rotated", jwtverify.ErrKeysUnavailable)
	if st := r.Status(); st.LastError == nil || st.Keys != 1 || find(t, r, "a", nil) != a {
		t.Errorf("status %+v", st)
	}
}

// attack 155
func TestFailingFetchesLeaveNoSockets(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	requests := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		requests++
		mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, strings.Repeat("busy ", 10_000)) // never read
	}))
	allClosed := make(chan struct{}, 1000)
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch state {
		case http.StateNew:
			open[c] = true
		case http.StateClosed:
			if delete(open, c); len(open) == 0 {
				allClosed <- struct{}{}
			}
		}
	}
	server.Start()
	f := jwks.NewFetcher(jwks.FetcherConfig{})
	for i := range 50 {
		r, err := f.Open(jwks.RemoteConfig{URL: fmt.Sprintf("%s/%d", server.URL, i)})
		if err != nil {
			t.Fatal(err)
		}
		fetched(t, r)
		expectError(t, r, "status 503")
	}
	for left := 1; left > 0; {
		<-allClosed // hangs, and so fails, if a socket stays open
		mu.Lock()
		left = len(open)
		mu.Unlock()
	}
	if requests != 50 {
		t.Errorf("%d requests", requests)
	}
	f.Close()
	server.Close()
	goleak.VerifyNone(t, leaks)
}

// attack 168
func TestRedirects(t *testing.T) {
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the other origin was requested")
		fmt.Fprint(w, keySetOf("evil"))
	}))
	defer other.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/1": "/keys", "/2": "/1", "/3": "/2", "/loop": "/loop", "/nowhere": "",
			"/other": other.URL, "/http": strings.Replace("https://"+r.Host+"/keys", "https", "http", 1),
			"/metadata": "https://169.254.169.254/latest", "/user": "https://u:p@" + r.Host + "/keys", "/file": "file:///etc/passwd",
			"/scheme-relative": "//" + other.Listener.Addr().String() + "/",
		}
		if target, ok := to[r.URL.Path]; ok {
			w.Header().Set("Location", target)
			w.WriteHeader(http.StatusFound)
		}
		fmt.Fprint(w, keySetOf("a"))
	}))
	defer server.Close()
	for path, want := range map[string]string{
		"/keys": "", "/1": "", "/2": "",
		"/3": "more than 2 redirects", "/loop": "more than 2 redirects", "/nowhere": "302",
		"/other": "another origin", "/http": "without https", "/metadata": "another origin", "/user": "another origin",
		"/file": "without https", "/scheme-relative": "another origin",
	} {
		t.Run(path, func(t *testing.T) {
			r := served(t, server, path, jwks.FetcherConfig{})
			if want == "" {
				expectKeys(t, r, 1)
			} else {
				expectError(t, r, want)
			}
		})
	}
}

func TestPlainHTTPIsNotRedirected(t *testing.T) {
	server := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" {
			http.Redirect(w, r, "/keys", http.StatusFound)
		}
		fmt.Fprint(w, keySetOf("a"))
	})
	expectError(t, served(t, server, "/", jwks.FetcherConfig{}), "without https")
}

func TestDiscovery(t *testing.T) {
	const issuer = "https://sso.acme.example"
	document := func(issuer, uri string) string {
		return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"more":[1]}`, issuer, uri)
	}
	for name, c := range map[string]struct{ document, want string }{
		"good":              {document(issuer, "https://keys.acme.example/jwks"), ""},
		"second issuer":     {document("https://old.acme.example", "https://keys.acme.example/jwks"), ""},
		"another issuer":    {document("https://evil.example", "https://keys.acme.example/jwks"), "issuer"},
		"issuer with slash": {document(issuer+"/", "https://keys.acme.example/jwks"), "issuer"},
		"issuer in capital": {document("https://SSO.acme.example", "https://keys.acme.example/jwks"), "issuer"},
		"no issuer":         {`{"jwks_uri":"https://keys.acme.example/jwks"}`, "issuer"},
		"issuer list":       {`{"issuer":["` + issuer + `"],"jwks_uri":"https://keys.acme.example/jwks"}`, "strict JSON"},
		"issuer twice":      {`{"issuer":"x","issuer":"` + issuer + `","jwks_uri":"https://keys.acme.example/jwks"}`, "duplicate"},
		"Issuer":            {`{"Issuer":"` + issuer + `","jwks_uri":"https://keys.acme.example/jwks"}`, "issuer"},
		"no uri":            {`{"issuer":"` + issuer + `"}`, "jwks_uri"},
		"http uri":          {document(issuer, "http://keys.acme.example/jwks"), "jwks_uri"},
		"loopback uri":      {document(issuer, "http://127.0.0.1:9901/config_dump"), "loopback"},
		"file uri":          {document(issuer, "file:///etc/passwd"), "jwks_uri"},
		"relative uri":      {document(issuer, "/jwks"), "jwks_uri"},
		"user in uri":       {document(issuer, "https://u:p@keys.acme.example/jwks"), "jwks_uri"},
		"no object":         {"null", "object"},
		"html":              {"<html>", "object"},
		"garbage behind":    {document(issuer, "https://keys.acme.example/jwks") + "x", "strict JSON"},
		"too long":          {document(issuer, "https://keys.acme.example/jwks") + strings.Repeat(" ", 512<<10), "more than"},
		"a key set":         {keySetOf("a"), "issuer"},
		"empty":             {"", "object"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newKeyServer("")
			server.handler = func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.String() {
				case issuer + "/.well-known/openid-configuration":
					fmt.Fprint(w, c.document)
				case "https://keys.acme.example/jwks":
					fmt.Fprint(w, keySetOf("a"))
				default:
					t.Errorf("requested %s", r.URL)
				}
			}
			inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
				r := open(t, f, jwks.RemoteConfig{
					URL: issuer + "/.well-known/openid-configuration", Discovery: true,
					Issuers: []string{issuer, "https://old.acme.example"},
				})
				synctest.Wait()
				if c.want == "" {
					expectKeys(t, r, 1)
					return
				}
				expectError(t, r, c.want)
				if server.fetches() != 1 {
					t.Error("a refused document led to a request")
				}
			})
		})
	}
}

func TestPlainDiscoveryOfThisMachine(t *testing.T) {
	var server *httptest.Server
	server = answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			fmt.Fprint(w, keySetOf("a"))
			return
		}
		fmt.Fprintf(w, `{"issuer":"dev","jwks_uri":%q}`, server.URL+"/jwks")
	})
	f := jwks.NewFetcher(jwks.FetcherConfig{})
	defer f.Close()
	r := open(t, f, jwks.RemoteConfig{URL: server.URL, Discovery: true, Issuers: []string{"dev"}})
	find(t, r, "a", nil)
}

// An ETag is that of one URL: under another it may mean another set.
func TestAMovedKeySetIsReadAnew(t *testing.T) {
	server := newKeyServer("")
	var moved atomic.Bool
	server.handler = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/discovery" && moved.Load():
			fmt.Fprint(w, `{"issuer":"i","jwks_uri":"https://a.example/new"}`)
		case r.URL.Path == "/discovery":
			fmt.Fprint(w, `{"issuer":"i","jwks_uri":"https://a.example/old"}`)
		case r.Header.Get("If-None-Match") == `"1"`:
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", `"1"`)
			fmt.Fprint(w, keySetOf(r.URL.Path[1:]))
		}
	}
	inBubble(t, server, func(t *testing.T, f *jwks.Fetcher) {
		r := open(t, f, jwks.RemoteConfig{URL: "https://a.example/discovery", Discovery: true, Issuers: []string{"i"}, TTL: time.Minute})
		find(t, r, "old", nil)
		time.Sleep(10 * time.Minute)
		find(t, r, "old", nil)
		moved.Store(true)
		time.Sleep(time.Minute)
		find(t, r, "new", nil)
	})
}
