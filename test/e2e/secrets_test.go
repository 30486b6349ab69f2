package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/testkit/redistest"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// minted are all secrets of the run. What a service that a test started wrote
// and told is searched for all of them when it ends.
var minted = &vault{tokens: map[string]bool{}, forms: map[string]string{}}

type vault struct {
	mu     sync.Mutex
	tokens map[string]bool   // by their signatures, which are what makes them secrets
	forms  map[string]string // each way in which a secret could be written, and what it would show
}

// token remembers a token and returns it.
func (v *vault) token(text string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tokens[text[strings.LastIndexByte(text, '.')+1:]] = true
	return text
}

// secret remembers another secret, each of its lines, and returns it.
func (v *vault) secret(name, text string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "-----") {
			continue // of PEM: no secret
		}
		raw := []byte(line)
		numbers := strings.Trim(fmt.Sprint(raw), "[]")
		for form, written := range map[string]string{
			"as it is": line, "in base64": strings.TrimRight(base64.StdEncoding.EncodeToString(raw), "="),
			"in base64url": base64.RawURLEncoding.EncodeToString(raw), "in hex": hex.EncodeToString(raw), "in capital hex": strings.ToUpper(hex.EncodeToString(raw)),
			"in hex with spaces": fmt.Sprintf("% x", raw), "for a URL": url.QueryEscape(line), "quoted": strings.Trim(fmt.Sprintf("%q", line), `"`),
			"in numbers": numbers, "in a list": strings.ReplaceAll(numbers, " ", ", "), "in JSON's list": strings.ReplaceAll(numbers, " ", ","),
		} {
			v.forms[written] = name + " " + form
		}
	}
	return text
}

var signature = regexp.MustCompile(`[A-Za-z0-9_-]{40,}`)

// find names the secrets that a text shows.
func (v *vault) find(text string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []string
	for written, name := range v.forms {
		if strings.Contains(text, written) {
			found = append(found, name)
		}
	}
	for _, part := range signature.FindAllString(text, -1) {
		if v.tokens[part] {
			found = append(found, "a token")
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// search fails the test where an output shows a secret.
func (v *vault) search(t testing.TB, output, text string) {
	t.Helper()
	for _, name := range v.find(text) {
		t.Errorf("%s shows %s", output, name)
	}
}

// stopAndSearch ends a stack and searches all that its service told: the pages
// of the admin port, its log and its decisions; and the log of Envoy, where its
// access log is.
func stopAndSearch(t testing.TB, s *stack.Stack) {
	t.Helper()
	if s.AuthzAdmin != "" && !s.AuthzProcess().Ended() {
		for _, page := range []string{"/configz", "/readyz?verbose", "/metrics", "/log-level", "/nothing"} {
			minted.search(t, page, pageOf(t, s.AuthzAdmin+page))
		}
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	files := []string{s.Log("ussoauthz.log"), s.Log("envoy.log")}
	for _, pattern := range []string{"decisions*", "*.jsonl"} {
		more, err := filepath.Glob(s.Log(pattern))
		if err != nil {
			t.Error(err)
		}
		files = append(files, more...)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) { // another service's stack has no log
			t.Error(err)
		}
		minted.search(t, filepath.Base(name), string(text))
	}
}

func pageOf(t testing.TB, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return "" // it is being stopped, or has no such port
	}
	defer func() { _ = res.Body.Close() }() // it was read
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// A secret that is planted in an output is found in every form, and nothing is
// found where there is none.
func TestPlantedSecretsAreFound(t *testing.T) {
	v := &vault{tokens: map[string]bool{}, forms: map[string]string{}}
	algs := []jwtverify.Algorithm{jwtverify.EdDSA, jwtverify.RS256, jwtverify.ES256, jwtverify.HS256}
	issuer, err := jwttest.NewIssuer(jwttest.Options{Algorithms: algs})
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range algs {
		token, err := issuer.Mint(map[string]any{"sub": "user:1"}, jwttest.WithAlgorithm(alg))
		if err != nil {
			t.Fatal(err)
		}
		line := `level=DEBUG msg=checked authorization="Bearer ` + token + `"`
		if found := v.find(line); len(found) > 0 {
			t.Errorf("%s before it was minted: %v", alg, found)
		}
		v.token(token)
		for _, text := range []string{line, token[strings.LastIndexByte(token, '.')+1:], `{"cookie":"access_token=` + token + `;a=b"}`, "/?t=" + token + "&x"} {
			if found := v.find("so it is\n" + text + "\n"); !slices.Equal(found, []string{"a token"}) {
				t.Errorf("%s is found as %v in %s", alg, found, text)
			}
		}
		if found := v.find(token[:strings.LastIndexByte(token, '.')]); len(found) > 0 {
			t.Errorf("claims alone are no secret: %v", found)
		}
	}
	v.secret("the password", `pass"word/+ 1`)
	v.secret("the key", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n")
	for text, want := range map[string]string{
		`auth pass"word/+ 1 failed`: "the password as it is", `{"p": "pass\"word/+ 1"}`: "the password quoted", "?p=pass%22word%2F%2B+1&q": "the password for a URL",
		"cGFzcyJ3b3JkLysgMQ==": "the password in base64", "7061737322776f72642f2b2031": "the password in hex", "7061737322776F72642F2B2031": "the password in capital hex",
		"[112 97 115 115 34 119 111 114 100 47 43 32 49]": "the password in numbers", "[112,97,115,115,34,119,111,114,100,47,43,32,49]": "the password in JSON's list",
		"key=MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg": "the key", "-----BEGIN PRIVATE KEY-----": "", "pass word": "",
	} {
		found := v.find("1 " + text)
		if want == "" && len(found) > 0 || want != "" && !slices.ContainsFunc(found, func(name string) bool { return strings.HasPrefix(name, want) }) {
			t.Errorf("%s: %v, want %q", text, found, want)
		}
	}
}

const secretsConfig = `listen: ${env:USSOAUTHZ_LISTEN}
admin: {listen: "${env:USSOAUTHZ_ADMIN}", pprof: true}
shutdown: {drain: 0s}
log: {level: debug}
decision_log:
  console: true
  input: true
  file: {path: decisions.jsonl}
  service: {url: "${env:STAND}/log", token: "${env:LOG_TOKEN}", headers: {X-Log-Key: "${env:LOG_KEY}"}, delay: 100ms}
revocation: {redis: {url: "${env:REDIS}", password: "${env:REDIS_PASSWORD}", resync: 1s}}
policy:
  bundles:
    services:
      stand: {url: "${env:STAND}", credentials: {bearer: {token: "${env:BUNDLE_TOKEN}"}}, headers: {X-Bundle-Key: "${env:BUNDLE_KEY}"}}
    bundles: {main: {service: stand, resource: bundle, polling: {min_delay_seconds: 0, max_delay_seconds: 1}}}
defaults: {audience: posts, jwks_cache: {ttl: 1s}}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.acme.example", jwks_url: "${env:STAND}/keys?access=${env:JWKS_KEY}"}
  own: {hosts: [own.example], issuer: "https://own.example", type: HS256, key: "${env:HMAC}"}
  tls: {hosts: [tls.example], issuer: "https://tls.example", jwks_url: "${env:TLS}/keys", jwks_tls: {ca_file: tls/ca.pem, cert_file: tls/cert.pem, key_file: tls/key.pem}}
routes:
  - {match: "GET /{$}", public: true}
  - {match: /, scopes: [read:posts]}
`

// reflector is a server for keys, bundles and decisions that, while it is
// broken, answers with all that it was asked with: what a careless client would
// write into its log.
type reflector struct {
	*httptest.Server
	mu     sync.Mutex
	broken []string // paths
	keys   []byte
	bundle []byte
	asked  map[string]int // by path, where the secret was sent along
}

func (s *reflector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret := map[string]string{"/log/logs": r.Header.Get("X-Log-Key"), "/bundle": r.Header.Get("Authorization"), "/keys": r.URL.RawQuery}[r.URL.Path]
	if secret != "" {
		s.asked[r.URL.Path]++
	}
	switch {
	case slices.Contains(s.broken, r.URL.Path):
		w.Header().Set("X-Echo", secret)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, "you sent %s %s %v", r.Method, r.URL, r.Header) // the client went away
	case r.URL.Path == "/keys":
		_, _ = w.Write(s.keys)
	case r.URL.Path == "/bundle":
		_, _ = w.Write(s.bundle)
	}
}

func (s *reflector) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

func (s *reflector) breaks(paths ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = paths
}

// A service that holds a secret of every kind, at its most talkative, with
// servers that fail and reflect, shows none of them in anything that it writes.
func TestSecretsStayInside(t *testing.T) {
	env := []string{}
	secret := func(name string) string {
		text := minted.secret(name, fmt.Sprintf("s3cret+/%s-%d", strings.ToLower(name), time.Now().UnixNano()))
		env = append(env, name+"="+text)
		return text
	}
	for _, name := range []string{"LOG_TOKEN", "LOG_KEY", "BUNDLE_TOKEN", "BUNDLE_KEY", "JWKS_KEY"} {
		secret(name)
	}
	shared := secret("HMAC")
	redis := redistest.Start(t, "--requirepass", secret("REDIS_PASSWORD"))
	deaf := httptest.NewTLSServer(http.NotFoundHandler()) // of an authority that nobody here knows
	defer deaf.Close()
	stand := &reflector{asked: map[string]int{}, bundle: secretsBundle(t)}
	stand.Server = httptest.NewServer(stand)
	defer stand.Close()
	env = append(env, "REDIS="+redis.URL, "STAND="+stand.URL, "TLS="+deaf.URL)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "tls"), os.DirFS(file(t, "internal/config/testdata/tls"))); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "tls", "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	minted.secret("the private key", string(key))
	config := filepath.Join(dir, "ussoauthz.yaml")
	if err := os.WriteFile(config, []byte(secretsConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	var w *world
	t.Cleanup(func() { // after Envoy has ended, and written what it held back
		if access, err := os.ReadFile(w.Log("envoy.log")); err != nil || !bytes.Contains(access, []byte(`"reason":"token_expired"`)) {
			t.Errorf("Envoy's access log does not tell the answers: %v", err)
		}
	})
	w = start(t, func(w *world, c *stack.Config) {
		stand.keys = w.issuers["acme"].JWKS()
		c.File, c.Env = config, env
	})
	eventually(t, func() bool { return fetched(w.AuthzAdmin, "acme", time.Time{}) })

	claims := map[string]any{"iss": "https://sso.acme.example", "aud": "posts", "sub": "user:alice", "scopes": []string{"read:posts"}, "exp": time.Now().Add(time.Hour).Unix()}
	good := w.mint(t, "acme", claims)
	claims["exp"] = time.Now().Add(-time.Hour).Unix()
	expired := w.mint(t, "acme", claims)
	own := ownToken(t, shared)
	bent := minted.token(good[:len(good)-9] + "AAAAAAAAA")
	apiKey := minted.secret("an API key", fmt.Sprintf("ak-%d", time.Now().UnixNano()))
	basic := minted.secret("basic credentials", base64.StdEncoding.EncodeToString([]byte("alice:s3cret of the browser")))
	for _, broken := range []bool{false, true} {
		if broken {
			redis.Kill()
			stand.breaks("/keys", "/bundle", "/log/logs")
			for _, path := range []string{"/keys", "/bundle"} {
				before := stand.count(path)
				eventually(t, func() bool { return stand.count(path) > before+1 })
			}
			for _, page := range []string{"/configz", "/readyz?verbose", "/metrics"} {
				minted.search(t, page, pageOf(t, w.AuthzAdmin+page))
			}
			stand.breaks("/keys", "/log/logs") // commands would wait for the bundle
		}
		for _, c := range []struct{ host, header, value, want string }{
			{"acme.example", "Authorization", "Bearer " + good, "200"}, {"acme.example", "Cookie", "a=b; access_token=" + good, "200"},
			{"acme.example", "Authorization", "Bearer " + expired, "token_expired"}, {"acme.example", "Authorization", "Bearer " + bent, "token_invalid"},
			{"acme.example", "Authorization", "Bearer " + own, "token_invalid"}, {"own.example", "Authorization", "Bearer " + own, "200"},
			{"own.example", "Authorization", "Bearer " + good, "token_invalid"}, {"tls.example", "Authorization", "Bearer " + good, "keys_unavailable"},
			{"acme.example", "Authorization", "Basic " + basic, "token_not_found"}, {"acme.example", "Authorization", "Bearer Bearer " + good, "token_invalid"},
			{"acme.example", "X-Api-Key", apiKey, "token_not_found"}, {"acme.example", "Cookie", "theme=dark; session=" + apiKey, "token_not_found"},
			{"acme.example", "Sec-WebSocket-Protocol", "bearer, " + apiKey, "token_not_found"},
			{"nobody.example", "Authorization", "Bearer " + good, "invalid_tenant"},
		} {
			status, answer := w.ask(t, c.host, c.header, c.value)
			if !strings.Contains(fmt.Sprint(status, answer), c.want) {
				t.Errorf("broken %v: %s of %s for %s is answered by %d %s", broken, c.want, c.header, c.host, status, answer)
			}
			minted.search(t, "an answer", answer)
		}
		run := func(output string, wantErr bool, args ...string) {
			t.Helper()
			cmd := exec.Command(binaries.ussoauthz, args...)
			cmd.Env = append(os.Environ(), append(slices.Clone(env), "USSOAUTHZ_LISTEN=127.0.0.1:0", "USSOAUTHZ_ADMIN=127.0.0.1:0")...)
			cmd.Dir = dir
			text, err := cmd.CombinedOutput()
			if wantErr != (err != nil) || len(text) == 0 {
				t.Errorf("%s: %v: %s", output, err, text)
			}
			minted.search(t, output, string(text))
		}
		run("validate", false, "validate", "-c", config)
		run("explain", broken, "explain", "-c", config, "--tenant", "acme", "--token", good, "GET", "/posts")
		run("explain of a bent token", true, "explain", "-c", config, "--tenant", "acme", "--token", bent, "GET", "/posts")
		run("explain of an HMAC token", false, "explain", "-c", config, "--tenant", "own", "--token", own, "GET", "/posts")
		run("revoke", broken, "revoke", "-c", config, "--tenant", "acme", "--jti", "x")
		for from, to := range map[string]string{
			"type: HS256": "type: ES256", "key: \"${env:HMAC}\"": "kez: \"${env:HMAC}\"", "redis: {url: \"${env:REDIS}\"": "redis: {url: \"redis://u:${env:REDIS_PASSWORD}@h\"",
			"{bearer: {token: \"${env:BUNDLE_TOKEN}\"}}": "{bearer: [\"${env:BUNDLE_TOKEN}\"]}", "token: \"${env:LOG_TOKEN}\"": "token: [\"${env:LOG_TOKEN}\"]", "keys?access=": "%zz?access=",
		} {
			if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte(strings.Replace(secretsConfig, from, to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			run("validate of "+to, true, "validate", "-c", "bad.yaml")
		}
	}
	for _, path := range []string{"/log/logs", "/bundle", "/keys"} {
		if stand.count(path) == 0 {
			t.Errorf("%s was not asked with its secret", path)
		}
	}
	decisions, err := os.ReadFile(filepath.Join(dir, "decisions.jsonl"))
	if err != nil || !bytes.Contains(decisions, []byte("user:alice")) {
		t.Errorf("the decisions do not tell who it was: %v", err)
	}
	minted.search(t, "decisions.jsonl", string(decisions))
	w.dies(t, good)
}

// dies ends the service in the middle of its work as a deadlock or a fatal fault
// would: with the stacks of all goroutines, which go into its log.
func (w *world) dies(t *testing.T, token string) {
	t.Helper()
	for _, page := range []string{"/configz", "/readyz?verbose", "/metrics"} {
		minted.search(t, page, pageOf(t, w.AuthzAdmin+page))
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	for i := range 32 {
		asking.Go(func() {
			req, err := http.NewRequest(http.MethodGet, w.Edge+"/posts", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Host = []string{"acme.example", "tls.example"}[i%2]
			req.Header.Set("Authorization", "Bearer "+token)
			if res, err := w.client.Do(req); err == nil { // else nobody is there any more
				_ = res.Body.Close() // its status alone was wanted
			}
		})
	}
	if err := w.AuthzProcess().Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	eventually(t, w.AuthzProcess().Ended)
	log, err := os.ReadFile(w.Log("ussoauthz.log"))
	if err != nil || !bytes.Contains(log, []byte("SIGQUIT: quit")) || bytes.Count(log, []byte("\ngoroutine ")) < 10 {
		t.Errorf("no stacks in the log: %v", err)
	}
}

// ask sends one request with one header and returns its answer, headers and all.
func (w *world) ask(t *testing.T, host, header, value string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Edge+"/posts", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set(header, value)
	res, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK { // the application answers with what it got
		return res.StatusCode, fmt.Sprint(res.Header)
	}
	return res.StatusCode, fmt.Sprint(res.Header, " ", string(body))
}

// ownToken signs by a secret of the configuration.
func ownToken(t *testing.T, secret string) string {
	t.Helper()
	header, err := json.Marshal(map[string]any{"alg": "HS256", "typ": "JWT"})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"iss": "https://own.example", "aud": "posts", "sub": "user:own", "scopes": []string{"read:posts"}, "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return minted.token(signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

func secretsBundle(t *testing.T) []byte {
	t.Helper()
	const text = "package secrets\n\nunused := true\n"
	roots := []string{"secrets"}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).Write(bundle.Bundle{
		Manifest: bundle.Manifest{Revision: "1", Roots: &roots}, Data: map[string]any{},
		Modules: []bundle.ModuleFile{{URL: "p.rego", Path: "p.rego", Raw: []byte(text), Parsed: ast.MustParseModule(text)}},
	}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
