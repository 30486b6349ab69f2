package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/internal/doctor"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// authority is one that this process trusts as it does the system's.
var authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "doctor-")
	if err != nil {
		panic(err)
	}
	authority.certificate, authority.key = issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour),
	})
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.certificate.Raw}), 0o600); err != nil {
		panic(err)
	}
	if err := os.Setenv("SSL_CERT_FILE", file); err != nil { // read at the first verification
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// issue makes a certificate of the authority; the authority's own is the first.
func issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	parent, signer := authority.certificate, authority.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return certificate, key
}

// serve starts a server, with a certificate where there is a template.
func serve(t *testing.T, h http.Handler, template *x509.Certificate) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	if template == nil {
		s.Start()
		return s.URL
	}
	certificate, key := issue(template)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}}}
	s.StartTLS()
	return s.URL
}

func server(names ...string) *x509.Certificate {
	c := &x509.Certificate{NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	if names == nil {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	return c
}

func answer(status int, contentType, body string, headers ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func tenant(id, url string) tenants.Config {
	c := tenants.DefaultConfig()
	c.ID, c.JWKSURL, c.Issuer = id, url, tenants.StringList{"https://sso.example"}
	return c
}

func keySet(t *testing.T) string {
	t.Helper()
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.example"})
	if err != nil {
		t.Fatal(err)
	}
	return string(issuer.JWKS())
}

func examine(t *testing.T, timeout time.Duration, list ...tenants.Config) []doctor.Result {
	t.Helper()
	f := jwks.NewFetcher(jwks.FetcherConfig{Timeout: timeout})
	defer f.Close()
	last := 0
	results := doctor.Examine(t.Context(), f, list, t.TempDir(), func(n int) { last = n })
	if last != len(list) {
		t.Errorf("done was told %d of %d", last, len(list))
	}
	return results
}

// Each fault, of a real server, is told by its stage.
func TestFaults(t *testing.T) {
	set := keySet(t)
	const keySetType = "application/jwk-set+json"
	expired := server()
	expired.NotAfter = time.Now().Add(-time.Hour)
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + refused.Addr().String()
	_ = refused.Close()
	foreign := httptest.NewTLSServer(answer(200, keySetType, set)) // of an authority that nobody knows
	t.Cleanup(foreign.Close)
	plain := serve(t, answer(200, keySetType, set), nil)
	hung := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil)
	narrow := func(c *tenants.Config) { c.Algorithms = []string{"RS256"} }
	discovered := func(c *tenants.Config) { c.JWKSURL, c.DiscoveryURL = "", c.JWKSURL }
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, tt := range []struct {
		name, url string
		change    func(*tenants.Config)
		outcome   doctor.Outcome
		stage     string
		text      string // part of the problem, or of its advice
	}{
		{"well", serve(t, answer(200, keySetType, set), server()), nil, doctor.OK, "", ""},
		{"status", serve(t, answer(404, "text/html", "no"), nil), nil, doctor.Failed, "answer", "status 404"},
		{"page", serve(t, answer(200, "text/html", "<html>log in</html>"), nil), nil, doctor.Failed, "answer", "the answer is text/html"},
		{"no set", serve(t, answer(200, keySetType, `{"kyes": []}`), nil), nil, doctor.Failed, "answer", "keys"},
		{"empty set", serve(t, answer(200, keySetType, `{"keys": []}`), nil), nil, doctor.Failed, "answer", "no usable key"},
		{"no usable key", serve(t, answer(200, keySetType, `{"keys": [{"kty": "oct", "k": "AAAA"}]}`), nil), nil, doctor.Failed, "answer", "key 0 left out"},
		{"one bad key", serve(t, answer(200, keySetType, strings.Replace(set, `[`, `[{"kty": "oct", "k": "AAAA"},`, 1)), nil), nil, doctor.Warned, "key", "key 0 left out"},
		{"expired", serve(t, answer(200, keySetType, set), expired), nil, doctor.Failed, "tls", "renew the certificate"},
		{"other name", serve(t, answer(200, keySetType, set), server("sso.example")), nil, doctor.Failed, "tls", "for other names"},
		{"unknown authority", foreign.URL, nil, doctor.Failed, "tls", "authority is not known"},
		{"no tls", strings.Replace(plain, "http:", "https:", 1), nil, doctor.Failed, "tls", "no TLS is spoken"},
		{"refused", nobody, nil, doctor.Failed, "connect", "nobody listens"},
		{"unknown host", "https://" + strings.Repeat("a", 64) + ".invalid/", nil, doctor.Failed, "dns", "resolver"},
		{"algorithm", serve(t, answer(200, keySetType, set), nil), narrow, doctor.Failed, "algorithm", "accepts [RS256]"},
		{"ahead", serve(t, answer(200, keySetType, set, "Date", at(10*time.Minute)), nil), nil, doctor.Warned, "clock", "ahead of ours"},
		{"behind", serve(t, answer(200, keySetType, set, "Date", at(-10*time.Minute)), nil), nil, doctor.Warned, "clock", "behind ours"},
		{"from a cache", serve(t, answer(200, keySetType, set, "Date", at(-10*time.Minute), "Age", "600"), nil), nil, doctor.OK, "", ""},
		{"another issuer's discovery", serve(t, answer(200, "application/json", `{"issuer": "https://evil.example", "jwks_uri": "https://evil.example/"}`), nil), discovered, doctor.Failed, "answer", "not the configured one"},
		{"redirected", serve(t, http.RedirectHandler("https://elsewhere.example/", http.StatusFound), server()), nil, doctor.Failed, "answer", "another origin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tenant("acme", tt.url)
			if tt.change != nil {
				tt.change(&c)
			}
			check(t, examine(t, 10*time.Second, c)[0], tt.outcome, tt.stage, tt.text)
		})
	}
	t.Run("timeout", func(t *testing.T) {
		check(t, examine(t, 100*time.Millisecond, tenant("acme", hung))[0], doctor.Failed, "timeout", "firewall")
	})
}

func check(t *testing.T, got doctor.Result, outcome doctor.Outcome, stage, text string) {
	t.Helper()
	if got.Outcome != outcome {
		t.Fatalf("%+v", got)
	}
	if stage == "" {
		if len(got.Problems) > 0 || len(got.Keys) == 0 {
			t.Errorf("%+v", got)
		}
		return
	}
	if len(got.Problems) != 1 || got.Problems[0].Stage != stage || !strings.Contains(got.Problems[0].Text+got.Problems[0].Advice, text) {
		t.Errorf("%+v", got.Problems)
	}
}

// Tenants of one URL are answered by one fetch, in their order, each by its own
// algorithms; a key in a file is not asked for.
func TestShared(t *testing.T) {
	set := keySet(t)
	var asked atomic.Int64
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(set))
	}), nil) + "?key=s3cret"
	one, two, file := tenant("one", url), tenant("two", url), tenant("file", "")
	two.Algorithms = []string{"RS256"}
	file.JWKSFile = "keys.json"
	results := examine(t, 10*time.Second, one, two, file)
	for i, want := range []doctor.Outcome{doctor.OK, doctor.Failed, doctor.Skipped} {
		if results[i].Outcome != want {
			t.Errorf("%d: %+v", i, results[i])
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	var text strings.Builder
	if err := doctor.Text(&text, false, results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ok    one: 1 key for [EdDSA] from http://127.0.0.1:", "FAIL  two: ", "skip  file: not asked, the keys are in keys.json\n", "1 ok, 0 with warnings, 1 failed, 1 not asked\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "s3cret") {
		t.Error("the query is shown")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := jwks.NewFetcher(jwks.FetcherConfig{})
	defer f.Close()
	url := serve(t, answer(200, "", keySet(t)), nil)
	if r := doctor.Examine(ctx, f, []tenants.Config{tenant("acme", url)}, "", func(int) {})[0]; r.Outcome != doctor.Failed {
		t.Errorf("%+v", r)
	}
}

// Keys that serve still, and not for long, are told of: those that the server
// took away, and all of them where it does not answer.
func TestKeysAboutToVanish(t *testing.T) {
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.example"})
	if err != nil {
		t.Fatal(err)
	}
	server := jwttest.NewServer(issuer)
	defer server.Close()
	dir := t.TempDir()
	fetcher := func() *jwks.Fetcher {
		store, err := jwks.OpenKeyStore(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		f := jwks.NewFetcher(jwks.FetcherConfig{Store: store})
		t.Cleanup(f.Close)
		return f
	}
	acme := tenant("acme", server.JWKSURL())
	look := func() doctor.Result {
		return doctor.Examine(t.Context(), fetcher(), []tenants.Config{acme}, dir, func(int) {})[0]
	}
	if r := look(); r.Outcome != doctor.OK {
		t.Errorf("nothing is kept: %+v", r)
	}
	keys, err := fetcher().Open(acme.Remote(dir)) // the service
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if files, _ := filepath.Glob(filepath.Join(dir, "*.keys")); len(files) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the set is not kept")
		}
	}
	if r := look(); r.Outcome != doctor.OK {
		t.Errorf("what is kept is what is sent: %+v", r)
	}
	old := look().Keys[0].ID
	if err := issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	r := look()
	if r.Outcome != doctor.Warned || len(r.Problems) != 1 || r.Problems[0].Stage != "kept" || !strings.Contains(r.Problems[0].Text, fmt.Sprintf("no longer sends %q", old)) {
		t.Errorf("a key was taken away: %+v", r)
	}
	server.SetDown(true)
	r = look()
	if r.Outcome != doctor.Failed || len(r.Problems) != 2 || r.Problems[1].Stage != "kept" || !strings.Contains(r.Problems[1].Text, "serve until "+time.Now().Add(24*time.Hour).UTC().Format("2006-01-")) {
		t.Errorf("the server is down: %+v", r)
	}
	acme.JWKSCache.MaxStale = time.Nanosecond
	if r = look(); len(r.Problems) != 1 {
		t.Errorf("what is too old to serve: %+v", r)
	}
}
