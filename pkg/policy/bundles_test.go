package policy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// signer is a key that signs bundles.
type signer struct{ private, public string }

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{
		private: string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})),
		public:  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	}
}

// archive is a bundle to be.
type archive struct {
	revision string
	roots    []string          // nil: everything
	rego     map[string]string // by file name
	data     map[string]any
	patch    []bundle.PatchOperation
	wasm     bool
}

// allows is an archive whose policy app.allow is the value.
func allows(revision string, value bool) archive {
	return archive{revision: revision, roots: []string{"app"}, rego: map[string]string{"app.rego": fmt.Sprintf("package app\n\nallow := %v\n", value)}}
}

// pack makes the archive, signed by s unless that is nil.
func (a archive) pack(t *testing.T, s *signer) []byte {
	t.Helper()
	b := bundle.Bundle{Manifest: bundle.Manifest{Revision: a.revision}, Data: a.data}
	if a.roots != nil {
		b.Manifest.Roots = &a.roots
	}
	if a.data == nil && a.patch == nil {
		b.Data = map[string]any{}
	}
	for name, text := range a.rego {
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: name, Path: name, RelativePath: name, Raw: []byte(text), Parsed: ast.MustParseModule(text)})
	}
	if a.wasm {
		b.WasmModules = []bundle.WasmModuleFile{{URL: "policy.wasm", Path: "policy.wasm", Raw: []byte("\x00asm")}}
		b.Manifest.WasmResolvers = []bundle.WasmResolver{{Entrypoint: "app/allow", Module: "policy.wasm"}}
	}
	b.Patch.Data = a.patch
	b.Manifest.Init()
	if s != nil {
		if err := b.GenerateSignature(bundle.NewSigningConfig(s.private, "ES256", ""), "ci", false); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).Write(b); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// shelf is a real server of bundles: long polls, ETags, and every fault that
// the tests ask for.
type shelf struct {
	*httptest.Server
	mu      sync.Mutex
	books   map[string]book
	changed chan struct{} // closed at the next change
	served  map[string]int
	headers http.Header // of the last request
}

type book struct {
	raw    []byte
	etag   string
	status int           // 0: 200
	hold   chan struct{} // not nil: the answer waits for its end
	serve  func(http.ResponseWriter) (served bool)
}

func newShelf(t *testing.T, start func(*httptest.Server)) *shelf {
	t.Helper()
	s := &shelf{books: map[string]book{}, changed: make(chan struct{}), served: map[string]int{}}
	s.Server = httptest.NewUnstartedServer(s)
	start(s.Server)
	t.Cleanup(s.Server.Close)
	return s
}

func plainShelf(t *testing.T) *shelf { return newShelf(t, (*httptest.Server).Start) }

func (s *shelf) put(name string, b book) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books[name] = b
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *shelf) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served[what]
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	s.mu.Lock()
	b, there := s.books[name]
	changed := s.changed
	s.headers = r.Header.Clone()
	s.mu.Unlock()
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-r.Context().Done():
			return
		}
	}
	note := func(what string) {
		s.mu.Lock()
		s.served[what]++
		s.mu.Unlock()
	}
	// A long poll: the answer comes with the next change, or after its time.
	for there && b.etag != "" && r.Header.Get("If-None-Match") == b.etag {
		timer := time.NewTimer(time.Second)
		select {
		case <-r.Context().Done():
			timer.Stop()
			return
		case <-timer.C:
			note("304")
			w.Header().Set("ETag", b.etag)
			w.WriteHeader(http.StatusNotModified)
			return
		case <-changed:
			timer.Stop()
		}
		s.mu.Lock()
		b, changed = s.books[name], s.changed
		s.mu.Unlock()
	}
	switch {
	case !there:
		note("404")
		w.WriteHeader(http.StatusNotFound)
	case b.status != 0:
		note(fmt.Sprint(b.status))
		w.WriteHeader(b.status)
	case b.serve != nil && b.serve(w):
	default:
		note("200")
		w.Header().Set("Content-Type", "application/vnd.openpolicyagent.bundles")
		w.Header().Set("ETag", b.etag)
		_, _ = w.Write(b.raw)
	}
}

type section = map[string]any

// sections are OPA's for one service and bundles of the shelf.
func (s *shelf) sections(names ...string) section {
	bundles := section{}
	for _, name := range names {
		bundles[name] = section{
			"service": "shelf", "resource": name,
			"polling": section{"min_delay_seconds": 0, "max_delay_seconds": 1, "long_polling_timeout_seconds": 1},
		}
	}
	return section{"services": section{"shelf": section{"url": s.URL}}, "bundles": bundles}
}

// discovery are OPA's for bundles that the shelf itself names, in the bundle config.
func (s *shelf) discovery() section {
	sections := s.sections()
	delete(sections, "bundles")
	sections["discovery"] = section{"resource": "config", "service": "shelf", "polling": section{"min_delay_seconds": 0, "max_delay_seconds": 1, "long_polling_timeout_seconds": 1}}
	return sections
}

// with writes keys into a section of the sections, given by its place.
func with(sections section, place string, values section) section {
	at := sections
	for name := range strings.SplitSeq(place, "/") {
		if name == "" {
			continue
		}
		if at[name] == nil {
			at[name] = section{}
		}
		at = at[name].(section)
	}
	for key, value := range values {
		at[key] = value
	}
	return sections
}

// reader is a service that uses bundles.
type reader struct {
	*policy.Bundles
	t   *testing.T
	log *lines

	mu      sync.Mutex
	engines []*policy.Engine
}

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func read(t *testing.T, sections section, change ...func(*policy.Config)) *reader {
	t.Helper()
	cfg := policy.Config{Entrypoint: "app/allow", Timeout: 5 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	r := &reader{t: t, log: &lines{}}
	b, err := policy.NewBundles(t.Context(), policy.BundlesConfig{
		Policy: cfg, Sections: sections, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Bundles = b
	t.Cleanup(b.Close)
	if err := b.Start(context.WithoutCancel(t.Context()), func(e *policy.Engine) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.engines = append(r.engines, e)
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

// taken is how many engines were handed over.
func (r *reader) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.engines)
}

func (r *reader) state(name string) policy.BundleState {
	for _, s := range r.States() {
		if s.Name == name {
			return s
		}
	}
	return policy.BundleState{}
}

// until waits for a fact, for as long as a busy machine may need.
func (r *reader) until(what string, fact func() bool) {
	r.t.Helper()
	limit := time.After(20 * time.Second)
	for !fact() {
		select {
		case <-limit:
			r.t.Fatalf("never %s: %+v\n%s", what, r.States(), r.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (r *reader) untilRevision(name, revision string) {
	r.t.Helper()
	r.until("revision "+revision, func() bool { return r.state(name).Revision == revision && r.state(name).Error == "" })
}

func (r *reader) untilError(name, words string) {
	r.t.Helper()
	r.until("the error "+words, func() bool { return strings.Contains(r.state(name).Error, words) })
}

// answer decides about a request with the engine in force.
func (r *reader) answer() policy.Decision {
	return r.Engine().Decide(r.t.Context(), getPosts())
}

func (r *reader) wants(reason answers.Reason) {
	r.t.Helper()
	if d := r.answer(); d.Reason != reason {
		r.t.Errorf("the answer is %q (%v), want %q", d.Reason, d.Err, reason)
	}
}

func TestBundleActivation(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	key := newSigner(t)
	shelf := plainShelf(t)
	defer shelf.Close()
	sections := with(with(shelf.sections("main"), "keys", section{"ci": section{"key": key.public, "algorithm": "ES256"}}),
		"bundles/main", section{"signing": section{"keyid": "ci"}})
	r := read(t, sections)
	defer r.Close()
	d := r.answer()
	if d.Allowed || d.Reason != answers.PolicyError || d.Status != http.StatusServiceUnavailable || r.Engine().Loaded() {
		t.Errorf("before the bundle: %+v", d)
	}
	shelf.put("main", book{raw: allows("v1", true).pack(t, &key), etag: "1"})
	r.untilRevision("main", "v1")
	r.wants(answers.Allowed)
	if revision := r.Engine().Revision(); !strings.HasPrefix(revision, "main@v1,") || len(revision) != len("main@v1,")+16 {
		t.Errorf("the revision is %q", revision)
	}
	shelf.put("main", book{raw: allows("v2", false).pack(t, &key), etag: "2"})
	r.untilRevision("main", "v2")
	r.wants(answers.PolicyDenied)
	if r.taken() != 2 {
		t.Errorf("%d engines, want 2", r.taken())
	}
	r.until("a 304", func() bool { return shelf.count("304") > 0 })
	if n := shelf.count("200"); n != 2 {
		t.Errorf("%d downloads, want 2", n)
	}
}

// TestBundleFaults: whatever a server sends after a good bundle, that stays in
// force, the state tells why, and the next good one is taken.
func TestBundleFaults(t *testing.T) {
	key, stranger := newSigner(t), newSigner(t)
	good := allows("bad", false).pack(t, &key)
	big := allows("bad", false)
	big.data = section{"app": section{"big": strings.Repeat("x", 40_000)}}
	wasm := allows("bad", false)
	wasm.wasm = true
	rego := func(text string) []byte {
		return archive{revision: "bad", roots: []string{"app"}, rego: map[string]string{"app.rego": text}}.pack(t, &key)
	}
	for name, test := range map[string]struct {
		book  book
		words string
	}{
		"signed by another":     {book{raw: allows("bad", false).pack(t, &stranger)}, "failed to verify JWT signature"},
		"not signed":            {book{raw: allows("bad", false).pack(t, nil)}, "missing .signatures.json"},
		"changed after signing": {book{raw: tamper(t, good)}, "digest mismatch"},
		"truncated":             {book{raw: good[:len(good)/2]}, "unexpected EOF"},
		"no archive":            {book{raw: []byte("<html>sign in</html>")}, "gzip: invalid header"},
		"empty":                 {book{raw: nil}, "EOF"},
		"too large":             {book{raw: big.pack(t, &key)}, "exceeds configured size_limit_bytes"},
		"wasm":                  {book{raw: wasm.pack(t, &key)}, "wasm"},
		"a type error":          {book{raw: rego("package app\n\nallow := 1 + \"a\"\n")}, "main/app.rego:3: rego_type_error"},
		"a misspelt input":      {book{raw: rego("package app\n\nallow := input.requst.method == \"GET\"\n")}, "undefined ref"},
		"the network":           {book{raw: rego("package app\n\nallow := http.send({\"method\": \"GET\", \"url\": \"http://x\"}).status_code == 200\n")}, "policy.allow_net"},
		"no entrypoint":         {book{raw: rego("package app\n\nother := true\n")}, `entrypoint "app/allow": no such rule`},
		"a server error":        {book{status: 500}, "Internal Server Error"},
		"forbidden":             {book{status: 403}, "Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shelf := plainShelf(t)
			shelf.put("main", book{raw: allows("v1", true).pack(t, &key), etag: "1"})
			r := read(t, with(with(shelf.sections("main"), "keys", section{"ci": section{"key": key.public, "algorithm": "ES256"}}),
				"bundles/main", section{"signing": section{"keyid": "ci"}, "size_limit_bytes": 20_000}))
			r.untilRevision("main", "v1")
			test.book.etag = "2"
			shelf.put("main", test.book)
			r.untilError("main", test.words)
			r.wants(answers.Allowed)
			if s := r.state("main"); s.Revision != "v1" || r.taken() != 1 {
				t.Errorf("the state is %+v, with %d engines", s, r.taken())
			}
			shelf.put("main", book{raw: allows("v3", false).pack(t, &key), etag: "3"})
			r.untilRevision("main", "v3")
			r.wants(answers.PolicyDenied)
		})
	}
}

// tamper changes the policy in an archive and leaves its signature.
func tamper(t *testing.T, raw []byte) []byte {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var text, out bytes.Buffer
	if _, err := text.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(text.Bytes(), []byte("allow := false"), []byte("allow := true\n"), 1)
	if bytes.Equal(changed, text.Bytes()) {
		t.Fatal("the policy is not in the archive")
	}
	w := gzip.NewWriter(&out)
	if _, err := w.Write(changed); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestBundleOfTheServerThatWentAway: the last good one serves on.
func TestBundleServerVanishes(t *testing.T) {
	shelf := plainShelf(t)
	shelf.put("main", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	r := read(t, shelf.sections("main"))
	r.untilRevision("main", "v1")
	shelf.Listener.Close()
	shelf.CloseClientConnections()
	r.untilError("main", "request failed")
	r.wants(answers.Allowed)
	if r.state("main").Revision != "v1" {
		t.Errorf("the state is %+v", r.state("main"))
	}
}

// TestBundleDelayed: nothing waits for a slow server but its own bundle.
func TestBundleDelayed(t *testing.T) {
	shelf := plainShelf(t)
	hold := make(chan struct{})
	shelf.put("main", book{raw: allows("v1", true).pack(t, nil), etag: "1", hold: hold})
	r := read(t, shelf.sections("main")) // does not wait
	r.wants(answers.PolicyError)
	close(hold)
	r.untilRevision("main", "v1")
	r.wants(answers.Allowed)
}

// TestBundlePlainPolling: a server that knows neither ETags nor long polls
// sends the same again and again, and nothing happens to the engine.
func TestBundlePlainPolling(t *testing.T) {
	shelf := plainShelf(t)
	shelf.put("main", book{serve: func(w http.ResponseWriter) bool {
		_, _ = w.Write(allows("v1", true).pack(t, nil))
		return true
	}})
	r := read(t, with(shelf.sections("main"), "bundles/main/polling", section{"min_delay_seconds": 0, "max_delay_seconds": 1, "long_polling_timeout_seconds": nil}))
	r.until("three downloads", func() bool { return r.state("main").Downloads >= 3 })
	if r.taken() != 1 {
		t.Errorf("%d engines of one bundle", r.taken())
	}
	r.wants(answers.Allowed)
}

func TestBundlePersistence(t *testing.T) {
	key := newSigner(t)
	folder := filepath.Join(t.TempDir(), "kept")
	shelf := plainShelf(t)
	keep := func(public string) section {
		s := with(shelf.sections("main"), "keys", section{"ci": section{"key": public, "algorithm": "ES256"}})
		s["persistence_directory"] = folder
		return with(s, "bundles/main", section{"signing": section{"keyid": "ci"}, "persist": true})
	}
	shelf.put("main", book{raw: allows("v1", true).pack(t, &key), etag: "1"})
	first := read(t, keep(key.public))
	first.untilRevision("main", "v1")
	// A bundle that is not good is not kept.
	broken := archive{revision: "bad", roots: []string{"app"}, rego: map[string]string{"app.rego": "package app\n\nother := true\n"}}
	shelf.put("main", book{raw: broken.pack(t, &key), etag: "2"})
	first.untilError("main", "no such rule")
	first.Close()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); entry.IsDir() && mode != 0o700 || !entry.IsDir() && mode != 0o600 {
			t.Errorf("%s has the mode %v", path, mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	shelf.Close() // no network from here on
	second := read(t, keep(key.public))
	if !second.Active() {
		t.Error("the kept bundle was not in force when Start returned")
	}
	second.wants(answers.Allowed)
	second.untilError("main", "request failed")
	second.wants(answers.Allowed)
	second.Close()

	other := read(t, keep(newSigner(t).public))
	if other.Active() {
		t.Error("a kept bundle was taken whose signature does not hold")
	}
	if !strings.Contains(other.log.String(), "the bundle on disk") {
		t.Errorf("the log says nothing of it:\n%s", other.log)
	}
	other.Close()

	file := filepath.Join(folder, "bundles", "main", "bundle.tar.gz")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw[:len(raw)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	if damaged := read(t, keep(key.public)); damaged.Active() {
		t.Error("a damaged bundle was taken from disk")
	}
}

// TestBundleFallback: files that hold the entrypoint serve until the bundle is
// there; the bundle then owns its roots.
func TestBundleFallback(t *testing.T) {
	files := []string{
		write(t, "app.rego", "package app\n\nallow := data.tools.no\n"),
		write(t, "tools.rego", "package tools\n\nno := false\n"),
	}
	shelf := plainShelf(t)
	r := read(t, shelf.sections("main"), func(c *policy.Config) { c.Paths = files })
	r.wants(answers.PolicyDenied)
	if !r.Engine().Loaded() {
		t.Error("the files are no policy")
	}
	next := archive{revision: "v1", roots: []string{"app"}, rego: map[string]string{"app.rego": "package app\n\nallow if not data.tools.no\n"}}
	shelf.put("main", book{raw: next.pack(t, nil), etag: "1"})
	r.untilRevision("main", "v1")
	r.wants(answers.Allowed) // its own app.allow, with the tools of the files
	r.until("the log says which package gave way", func() bool { return strings.Contains(r.log.String(), "data.app") })
	// Without roots a bundle owns everything: the tools are gone too.
	next.roots = nil
	next.rego = map[string]string{"app.rego": "package app\n\nallow if data.tools\n\nallow := false if not data.tools\n"}
	shelf.put("main", book{raw: next.pack(t, nil), etag: "2"})
	r.until("the second", func() bool { return r.taken() == 2 })
	r.wants(answers.PolicyDenied)
}

// TestBundleBesideTheEmbedded: the embedded policy does not serve before the
// bundle is there, the library is there for the bundle, and the bundle's own
// usso.authz replaces the embedded one.
func TestBundleBesideTheEmbedded(t *testing.T) {
	shelf := plainShelf(t)
	r := read(t, shelf.sections("main"), func(c *policy.Config) { c.Entrypoint = "" })
	r.wants(answers.PolicyError)
	own := archive{revision: "v1", rego: map[string]string{"authz.rego": "package usso.authz\n\nimport data.usso\n\ndefault decision := false\n\ndecision if usso.has_scope(\"read:posts\")\n"}}
	shelf.put("main", book{raw: own.pack(t, nil), etag: "1"})
	r.untilRevision("main", "v1")
	r.wants(answers.Allowed)
	own.rego["authz.rego"] = "package usso.authz\n\nimport data.usso\n\ndefault decision := false\n\ndecision if usso.has_scope(\"write:posts\")\n"
	own.revision = "v2"
	shelf.put("main", book{raw: own.pack(t, nil), etag: "2"})
	r.untilRevision("main", "v2")
	r.wants(answers.PolicyDenied)
}

// TestBundlesTogether: the first policy is there when all bundles are; two that
// own one place are refused; two that need each other come together.
func TestBundlesTogether(t *testing.T) {
	shelf := plainShelf(t)
	app := archive{revision: "a1", roots: []string{"app"}, rego: map[string]string{"app.rego": "package app\n\nallow if data.facts.open\n\nallow := false if not data.facts.open\n"}}
	facts := archive{revision: "f1", roots: []string{"facts"}, data: section{"facts": section{"open": true}}}
	shelf.put("app", book{raw: app.pack(t, nil), etag: "a1"})
	r := read(t, shelf.sections("app", "facts"))
	r.until("the first download", func() bool {
		return r.state("app").Downloads == 1 && strings.Contains(r.log.String(), "waits for the others")
	})
	r.wants(answers.PolicyError) // half a policy is none
	shelf.put("facts", book{raw: facts.pack(t, nil), etag: "f1"})
	r.untilRevision("facts", "f1")
	r.untilRevision("app", "a1")
	r.wants(answers.Allowed)
	if r.taken() != 1 || !strings.HasPrefix(r.Engine().Revision(), "app@a1,facts@f1,") {
		t.Errorf("%d engines, revision %q", r.taken(), r.Engine().Revision())
	}

	overlapping := facts
	overlapping.revision, overlapping.roots = "f2", []string{"facts", "app/more"}
	shelf.put("facts", book{raw: overlapping.pack(t, nil), etag: "f2"})
	r.untilError("facts", `the root "app/more" of bundle facts overlaps the root "app" of bundle app`)
	r.wants(answers.Allowed)

	// Neither of these compiles beside what is in force.
	app.revision, app.rego["app.rego"] = "a3", "package app\n\nallow := data.facts.closed(\"x\")\n"
	facts.revision, facts.data, facts.rego = "f3", section{}, map[string]string{"facts.rego": "package facts\n\nclosed(x) := x == \"y\"\n"}
	shelf.put("app", book{raw: app.pack(t, nil), etag: "a3"})
	r.untilError("app", "undefined function data.facts.closed")
	r.wants(answers.Allowed)
	shelf.put("facts", book{raw: facts.pack(t, nil), etag: "f3"})
	r.untilRevision("facts", "f3")
	r.untilRevision("app", "a3")
	r.wants(answers.PolicyDenied)
}

// TestBundleDelta: changes to the data of a bundle, within its roots.
func TestBundleDelta(t *testing.T) {
	shelf := plainShelf(t)
	base := archive{
		revision: "v1", roots: []string{"app"}, data: section{"app": section{"open": []any{"no"}, "old": 1}},
		rego: map[string]string{"app.rego": "package app\n\nallow if \"yes\" in data.app.open\n\nallow := false if not \"yes\" in data.app.open\n"},
	}
	shelf.put("main", book{raw: base.pack(t, nil), etag: "1"})
	r := read(t, shelf.sections("main"))
	r.untilRevision("main", "v1")
	r.wants(answers.PolicyDenied)
	delta := func(revision, op, path string, value any) []byte {
		return archive{revision: revision, roots: []string{"app"}, patch: []bundle.PatchOperation{{Op: op, Path: path, Value: value}}}.pack(t, nil)
	}
	shelf.put("main", book{raw: delta("bad", "upsert", "/usso/authz", true), etag: "2"})
	r.untilError("main", "do not permit data patch")
	shelf.put("main", book{raw: delta("bad", "replace", "/app/nothing", true), etag: "3"})
	r.untilError("main", "app/nothing")
	r.wants(answers.PolicyDenied)
	shelf.put("main", book{raw: delta("v2", "upsert", "/app/open/-", "yes"), etag: "4"})
	r.untilRevision("main", "v2")
	r.wants(answers.Allowed)
	shelf.put("main", book{raw: delta("v3", "remove", "/app/open/1", nil), etag: "5"})
	r.untilRevision("main", "v3")
	r.wants(answers.PolicyDenied)
}

// TestBundleDiscovery: another bundle says which bundles there are.
func TestBundleDiscovery(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	shelf := plainShelf(t)
	defer shelf.Close()
	sections := shelf.discovery()
	found := func(values section) []byte { return archive{data: values}.pack(t, nil) }
	shelf.put("one", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	shelf.put("two", book{raw: allows("v2", false).pack(t, nil), etag: "1"})
	shelf.put("config", book{raw: found(shelf.sections("one")), etag: "1"})
	r := read(t, sections)
	defer r.Close()
	r.untilRevision("one", "v1")
	r.wants(answers.Allowed)
	for name, bad := range map[string]section{
		"nothing else": with(shelf.sections("one"), "decision_logs", section{"console": true}),
		"unknown":      with(shelf.sections("one"), "bundles/one", section{"resorce": "x"}),
		"not found":    with(shelf.sections("one"), "bundles/one", section{"service": "nobody"}),
	} {
		shelf.put("config", book{raw: found(bad), etag: name})
		r.untilError("discovery", name)
		r.wants(answers.Allowed)
	}
	shelf.put("config", book{raw: found(shelf.sections("two")), etag: "3"})
	r.untilRevision("two", "v2")
	r.wants(answers.PolicyDenied)
	if r.state("one").Name != "" {
		t.Errorf("the state of a bundle that went: %+v", r.state("one"))
	}
}

// TestBundleCredentials: a bearer token and a client certificate reach the
// server, and the token no log.
func TestBundleCredentials(t *testing.T) {
	const token = "s3cret-t0ken-of-the-shelf"
	shelf := plainShelf(t)
	r := read(t, with(shelf.sections("main"), "services/shelf/credentials", section{"bearer": section{"token": token}}))
	r.untilError("main", "Not Found")
	shelf.put("main", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	r.untilRevision("main", "v1")
	shelf.mu.Lock()
	sent := shelf.headers.Get("Authorization")
	shelf.mu.Unlock()
	if sent != "Bearer "+token {
		t.Errorf("Authorization was %q", sent)
	}
	if strings.Contains(r.log.String(), token) {
		t.Errorf("the log holds the token:\n%s", r.log)
	}
}

// TestBundleSecretsInURLs: a signature in a resource's query is a credential.
func TestBundleSecretsInURLs(t *testing.T) {
	shelf := plainShelf(t)
	r := read(t, with(shelf.sections("main"), "bundles/main", section{"resource": "main?sig=s3cret"}))
	shelf.Listener.Close()
	shelf.CloseClientConnections()
	r.untilError("main", "request failed")
	for _, text := range []string{r.log.String(), fmt.Sprint(r.States())} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("it tells the secret: %s", text)
		}
	}
}

// TestBundleRebase: the rest of the configuration changes under the bundles.
func TestBundleRebase(t *testing.T) {
	shelf := plainShelf(t)
	two := archive{revision: "v1", roots: []string{"app"}, rego: map[string]string{"app.rego": "package app\n\nallow := true\n\ndeny := false\n"}}
	shelf.put("main", book{raw: two.pack(t, nil), etag: "1"})
	r := read(t, shelf.sections("main"))
	r.untilRevision("main", "v1")
	if _, _, err := r.Rebase(t.Context(), policy.Config{Entrypoint: "app/nothing"}); err == nil || !strings.Contains(err.Error(), "no such rule") {
		t.Errorf("error is %v", err)
	}
	for _, keep := range []bool{false, true} {
		engine, done, err := r.Rebase(t.Context(), policy.Config{Entrypoint: "app/deny"})
		if err != nil {
			t.Fatal(err)
		}
		if d := engine.Decide(t.Context(), getPosts()); d.Reason != answers.PolicyDenied {
			t.Errorf("the new engine says %q", d.Reason)
		}
		done(keep)
		r.wants(map[bool]answers.Reason{false: answers.Allowed, true: answers.PolicyDenied}[keep])
	}
	shelf.put("main", book{raw: allows("v2", true).pack(t, nil), etag: "2"})
	r.untilError("main", `entrypoint "app/deny": no such rule`)
}

// TestBundlesUnderLoad: half of the bundles that come are broken, and every
// answer is that of a whole one.
func TestBundlesUnderLoad(t *testing.T) {
	shelf := plainShelf(t)
	// The rule and the data of one revision agree; those of two do not.
	pair := func(n int) []byte {
		return archive{
			revision: fmt.Sprint(n), roots: []string{"app"}, data: section{"app": section{"n": n}},
			rego: map[string]string{"app.rego": fmt.Sprintf("package app\n\ndefault allow := false\n\nallow if data.app.n == %d\n", n)},
		}.pack(t, nil)
	}
	shelf.put("main", book{raw: pair(0), etag: "0"})
	r := read(t, shelf.sections("main"))
	r.untilRevision("main", "0")
	stop := make(chan struct{})
	var checks sync.WaitGroup
	for range 2 {
		checks.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if d := r.answer(); d.Reason != answers.Allowed {
					t.Errorf("the answer is %q (%v)", d.Reason, d.Err)
					return
				}
			}
		})
	}
	for n := 1; n <= 20; n++ {
		raw := pair(n)
		if n%2 == 1 {
			raw = raw[:len(raw)-len(raw)/3]
		}
		shelf.put("main", book{raw: raw, etag: fmt.Sprint(n)})
		if n%2 == 1 {
			r.untilError("main", "EOF")
		} else {
			r.untilRevision("main", fmt.Sprint(n))
		}
	}
	close(stop)
	checks.Wait()
	if r.taken() != 11 {
		t.Errorf("%d engines, want 11", r.taken())
	}
}

func TestBundlesConfig(t *testing.T) {
	key := newSigner(t)
	base := func() section {
		return section{
			"services": section{"cdn": section{"url": "https://cdn.example/bundles"}},
			"bundles":  section{"main": section{"service": "cdn", "resource": "main.tar.gz"}},
			"keys":     section{"ci": section{"key": key.public, "algorithm": "ES256"}},
		}
	}
	if faults := policy.CheckBundles(base(), "."); len(faults) > 0 {
		t.Fatalf("%v", faults)
	}
	for name, test := range map[string]struct {
		sections section
		field    string
		words    string
	}{
		"nothing":              {section{}, "", `has neither "bundles" nor "discovery"`},
		"unknown section":      {with(base(), "", section{"bundels": section{}}), "bundels", "unknown key"},
		"unknown key":          {with(base(), "bundles/main", section{"resorce": "x"}), "bundles.main.resorce", "unknown key"},
		"deep":                 {with(base(), "services/cdn/credentials", section{"bearer": section{"tokn": "x"}}), "services.cdn.credentials.bearer.tokn", "unknown key"},
		"unknown service":      {with(base(), "bundles/main", section{"service": "cnd"}), "bundles.main.service", `names the service "cnd", which does not exist: write one of cdn`},
		"unknown key id":       {with(base(), "bundles/main", section{"signing": section{"keyid": "old"}}), "bundles.main.signing.keyid", `names the key "old", which is not in keys`},
		"a number":             {with(base(), "bundles/main", section{"polling": section{"min_delay_seconds": "x"}}), "bundles.main.polling.min_delay_seconds", "is no whole number"},
		"delays":               {with(base(), "bundles/main", section{"polling": section{"min_delay_seconds": 9, "max_delay_seconds": 3}}), "bundles.main", "max polling delay must be >= min polling delay"},
		"trigger":              {with(base(), "bundles/main", section{"trigger": "manual"}), "bundles.main", "trigger is not periodic"},
		"file":                 {with(base(), "bundles/main", section{"resource": "file:///x"}), "bundles.main", "policy.paths"},
		"persist":              {with(base(), "bundles/main", section{"persist": true}), "bundles.main.persist", "needs persistence_directory"},
		"no key":               {with(base(), "keys/ci", section{"key": "s3cret"}), "keys.ci.key", "is no public key in PEM"},
		"a private key":        {with(base(), "keys/ci", section{"key": key.private}), "keys.ci.key", "write the public key"},
		"another algorithm":    {with(base(), "keys/ci", section{"algorithm": "RS256"}), "keys.ci.key", "does not sign with RS256"},
		"no algorithm":         {with(base(), "keys/ci", section{"algorithm": "none"}), "keys.ci", "unsupported algorithm"},
		"a short secret":       {with(base(), "keys/ci", section{"algorithm": "HS256", "key": "s3cret"}), "keys.ci.key", "shorter than 32 bytes"},
		"URL":                  {with(base(), "services/cdn", section{"url": "cdn.example"}), "services.cdn.url", "is no URL"},
		"password":             {with(base(), "services/cdn", section{"url": "https://me:s3cret@cdn.example"}), "services.cdn.url", "holds a password"},
		"two credentials":      {with(base(), "services/cdn/credentials", section{"bearer": section{"token": "s3cret"}, "gcp_metadata": section{"scopes": []any{"x"}}}), "services.cdn.credentials", "maximum one credential"},
		"certificate":          {with(base(), "services/cdn/credentials", section{"client_tls": section{"cert": "no.pem", "private_key": os.Args[0]}}), "services.cdn.credentials.client_tls.cert", "no.pem: no such file"},
		"plugin":               {with(base(), "services/cdn/credentials", section{"plugin": "x"}), "services.cdn.credentials.plugin", "no plugins"},
		"type":                 {with(base(), "services/cdn", section{"type": "ftp"}), "services.cdn.type", "write oci"},
		"decision logs":        {with(base(), "decision_logs", section{"console": true}), "decision_logs", "write decision_log"},
		"status":               {with(base(), "status", section{"console": true}), "status", "/readyz?verbose"},
		"discovery":            {with(base(), "discovery", section{"service": "cdn"}), "discovery.resource", "is missing"},
		"another scope":        {with(with(base(), "keys/ci", section{"scope": "write"}), "bundles/main", section{"signing": section{"keyid": "ci", "scope": "read"}}), "bundles.main.signing.scope", `is "read", but the key "ci" is for the scope "write"`},
		"a key that signs":     {with(with(base(), "keys/ours", section{"private_key": "x", "algorithm": "ES256"}), "bundles/main", section{"signing": section{"keyid": "ours"}}), "bundles.main.signing.keyid", "private_key alone"},
		"a list":               {with(base(), "", section{"bundles": []any{"x"}}), "bundles", "is no section of keys"},
		"signing without keys": {with(with(base(), "", section{"keys": section{}}), "bundles/main", section{"signing": section{"scope": "x"}}), "bundles.main.signing", "there are no keys"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := policy.CheckBundles(test.sections, t.TempDir())
			if len(faults) != 1 || faults[0].Field != test.field || !strings.Contains(faults[0].Problem, test.words) {
				t.Errorf("faults are %q, want %s: %s", faults, test.field, test.words)
			}
			if text := fmt.Sprint(faults); strings.Contains(text, "s3cret") || strings.Contains(text, "PRIVATE KEY-") {
				t.Errorf("a fault holds a secret: %s", text)
			}
		})
	}
	all := with(with(with(base(), "services/cdn", section{"urll": "x"}), "bundles/main", section{"signing": section{"keyid": "old"}}), "keys/ci", section{"key": "x"})
	var fields []string
	for _, f := range policy.CheckBundles(all, t.TempDir()) {
		fields = append(fields, f.Field)
	}
	if want := []string{"bundles.main.signing.keyid", "keys.ci.key", "services.cdn.urll"}; !slices.Equal(fields, want) {
		t.Errorf("faults of %v, want %v: all in one run", fields, want)
	}
	warnings := policy.WarnBundles(with(base(), "services/cdn", section{"url": "http://cdn.example"}))
	if len(warnings) != 2 || !slices.ContainsFunc(warnings, func(f policy.Fault) bool { return strings.Contains(f.Problem, "without TLS") }) {
		t.Errorf("warnings are %q", warnings)
	}
	if warnings := policy.WarnBundles(with(base(), "bundles/main", section{"signing": section{"keyid": "ci"}})); len(warnings) > 0 {
		t.Errorf("warnings are %q", warnings)
	}
	unsigned := base()
	delete(unsigned, "keys")
	if warnings := policy.WarnBundles(unsigned); len(warnings) != 1 || warnings[0].Field != "bundles.main" || !strings.Contains(warnings[0].Problem, `no "signing"`) {
		t.Errorf("warnings are %q", warnings)
	}
	excluded := with(base(), "bundles/main", section{"signing": section{"keyid": "ci", "exclude_files": []any{"*"}}})
	if warnings := policy.WarnBundles(excluded); len(warnings) != 1 || warnings[0].Field != "bundles.main.signing.exclude_files" {
		t.Errorf("warnings are %q", warnings)
	}
}
