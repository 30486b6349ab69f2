package policy_test

import (
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/download"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func TestBundlesConfigMisread(t *testing.T) {
	key := newSigner(t)
	base := func() section {
		return section{
			"services": section{"cdn": section{"url": "https://cdn.example/bundles"}},
			"bundles":  section{"main": section{"service": "cdn", "resource": "main.tar.gz"}},
			"keys":     section{"ci": section{"key": key.public, "algorithm": "ES256"}},
		}
	}
	named := func(name string) section {
		return with(base(), "bundles", section{name: section{"service": "cdn"}})
	}
	garbage := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}))
	for name, test := range map[string]struct {
		sections section
		field    string
		words    string
	}{
		"a bundle without a name":      {named(""), "bundles.", "is no name for a bundle"},
		"a bundle named .":             {named("."), "bundles..", "is no name for a bundle"},
		"a bundle named ..":            {named(".."), "bundles...", "is no name for a bundle"},
		"a bundle named as the finder": {named("discovery"), "bundles.discovery", "is no name for a bundle"},
		"a long name":                  {named(strings.Repeat("b", 129)), "bundles." + strings.Repeat("b", 129), "is no name for a bundle"},
		"PEM of something else":        {with(base(), "keys/ci", section{"key": garbage}), "keys.ci.key", "is PEM, but holds no public key"},
		// One thing that is wrong is one fault: what would follow from it is not told.
		"an unknown key of discovery": {with(base(), "discovery", section{"service": "cdn", "resourze": "x"}), "discovery.resourze", "unknown key"},
		"a number for discovery":      {with(base(), "discovery", section{"service": "cdn", "resource": 5}), "discovery.resource", "is no string"},
		"a number for a service":      {with(with(base(), "services/other", section{"url": "https://other.example"}), "discovery", section{"service": 5, "resource": "x"}), "discovery.service", "is no string"},
		"a service that is no JSON":   {with(base(), "services/cdn/headers", section{"x": make(chan int)}), "services.cdn", "can't be read"},
		"a number for a URL":          {with(base(), "services/cdn", section{"url": 5}), "services.cdn.url", "is no string"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := policy.CheckBundles(test.sections, t.TempDir())
			if len(faults) != 1 || faults[0].Field != test.field || !strings.Contains(faults[0].Problem, test.words) {
				t.Errorf("faults are %q, want %s: %s", faults, test.field, test.words)
			}
		})
	}
	if faults := policy.CheckBundles(named(strings.Repeat("b", 128)), "."); len(faults) > 0 {
		t.Errorf("a name of 128 bytes: %v", faults)
	}
}

func TestNewBundlesRefuses(t *testing.T) {
	shelf := plainShelf(t)
	for name, test := range map[string]struct {
		cfg  policy.BundlesConfig
		want string
	}{
		"sections": {policy.BundlesConfig{Sections: section{"bundels": section{}}}, "bundles: bundels: unknown key"},
		"files":    {policy.BundlesConfig{Sections: shelf.sections("main"), Policy: policy.Config{Paths: []string{"absent.rego"}}}, "loading policies: "},
	} {
		if b, err := policy.NewBundles(t.Context(), test.cfg); b != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want %s", name, b, err, test.want)
		}
	}
}

func TestBundlesThatCanNotStart(t *testing.T) {
	shelf := plainShelf(t)
	file := write(t, "file", "")
	for name, test := range map[string]struct {
		sections section
		want     string
	}{
		"a label that is no JSON": {with(shelf.sections("main"), "", section{"labels": section{"x": make(chan int)}}), "unsupported type"},
		"a label that is no text": {with(shelf.sections("main"), "", section{"labels": section{"x": 5}}), "cannot unmarshal number"},
		"no folder":               {with(shelf.sections("main"), "", section{"persistence_directory": file}), "mkdir " + file},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := policy.NewBundles(t.Context(), policy.BundlesConfig{Sections: test.sections})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := b.Start(t.Context(), func(*policy.Engine) {}); err == nil || !strings.Contains(err.Error(), "bundles: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %s", err, test.want)
			}
		})
	}
}

// Files that hold the entrypoint and need the bundle do not serve without it.
func TestBundleFallbackThatIsNoPolicy(t *testing.T) {
	for name, files := range map[string][]string{
		"a function of the bundle": {write(t, "app.rego", "package app\n\nallow if data.tools.yes(1)\n")},
		"data of two places": {
			write(t, "app.rego", "package app\n\nallow := true\n"),
			write(t, "a.json", `{"app": {"allow": {"x": 1}}}`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := read(t, plainShelf(t).sections("main"), func(c *policy.Config) { c.Paths = files })
			if r.Engine() == nil || r.Engine().Loaded() || !strings.Contains(r.log.String(), "policy.paths alone are no policy") {
				t.Errorf("loaded: %v\n%s", r.Engine(), r.log)
			}
			r.wants(answers.PolicyError)
		})
	}
}

func TestRebaseOnMissingFiles(t *testing.T) {
	shelf := plainShelf(t)
	shelf.put("main", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	r := read(t, shelf.sections("main"))
	r.untilRevision("main", "v1")
	engine, done, err := r.Rebase(t.Context(), policy.Config{Entrypoint: "app/allow", Paths: []string{"absent.rego"}})
	if engine != nil || done != nil || err == nil || !strings.Contains(err.Error(), "loading policies: ") {
		t.Errorf("got %v, %v", engine, err)
	}
	r.wants(answers.Allowed)
}

// What is on disk counts for bundles that are kept there, and for no others.
func TestBundlesOnDisk(t *testing.T) {
	kept := func(t *testing.T, raw []byte) (dir string) {
		t.Helper()
		dir = t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "bundles", "main"), 0o700); err != nil {
			t.Fatal(err)
		}
		if raw != nil {
			if err := os.WriteFile(filepath.Join(dir, "bundles", "main", "bundle.tar.gz"), raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	start := func(t *testing.T, dir string, persist bool) *reader {
		t.Helper()
		shelf := plainShelf(t)
		shelf.put("main", book{hold: make(chan struct{})}) // no answer comes
		return read(t, with(with(shelf.sections("main"), "bundles/main", section{"persist": persist}), "", section{"persistence_directory": dir}))
	}
	good := allows("v1", true).pack(t, nil)
	t.Run("kept", func(t *testing.T) {
		r := start(t, kept(t, good), true)
		r.untilRevision("main", "v1")
		r.wants(answers.Allowed)
	})
	t.Run("not to be kept", func(t *testing.T) {
		r := start(t, kept(t, good), false)
		if s := r.state("main"); s.Revision != "" || s.Error != "" || r.Engine().Loaded() {
			t.Errorf("%+v", s)
		}
	})
	t.Run("not there", func(t *testing.T) {
		r := start(t, kept(t, nil), true)
		if s := r.state("main"); s.Error != "" || s.Failures != 0 || r.Engine().Loaded() {
			t.Errorf("%+v", s)
		}
	})
	t.Run("broken", func(t *testing.T) {
		r := start(t, kept(t, []byte("x")), true)
		if s := r.state("main"); s.Error != "the bundle on disk: bundle read failed: archive read failed: unexpected EOF" || s.Failures != 1 || r.Engine().Loaded() {
			t.Errorf("%+v", s)
		}
	})
	t.Run("no folder at all", func(t *testing.T) {
		t.Chdir(t.TempDir())
		read(t, plainShelf(t).sections("main"))
		if _, err := os.Stat("bundles"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a folder is where nobody asked for one: %v", err)
		}
	})
	t.Run("can't be written", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "bundles"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "bundles", "main"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		shelf := plainShelf(t)
		shelf.put("main", book{raw: good, etag: "1"})
		r := read(t, with(with(shelf.sections("main"), "bundles/main", section{"persist": true}), "", section{"persistence_directory": dir}))
		r.untilError("main", "the bundle is in force, but could not be kept on disk: mkdir ")
		r.wants(answers.Allowed)
	})
}

// A bundle that holds something else than Rego and data is refused, also where
// OPA's reader would let it through.
func TestBundlesThatAreNotRego(t *testing.T) {
	module := func(text string) bundle.Bundle {
		return bundle.Bundle{Modules: []bundle.ModuleFile{{Path: "/app.rego", RelativePath: "/app.rego", Raw: []byte(text)}}}
	}
	odd := module("package app\n\nallow := true\n")
	odd.Manifest.FileRegoVersions = map[string]int{"[": 1}
	for name, test := range map[string]struct {
		bundle bundle.Bundle
		want   string
	}{
		"a resolver of wasm":        {bundle.Bundle{Manifest: bundle.Manifest{WasmResolvers: []bundle.WasmResolver{{}}}}, "holds wasm or a plan"},
		"wasm":                      {bundle.Bundle{WasmModules: []bundle.WasmModuleFile{{}}}, "holds wasm or a plan"},
		"a plan":                    {bundle.Bundle{PlanModules: []bundle.PlanModuleFile{{}}}, "holds wasm or a plan"},
		"Rego that can't be parsed": {module("package app\n\nallow :=\n"), "main/app.rego:4: rego_parse_error"},
		"versions of no file":       {odd, "["},
	} {
		t.Run(name, func(t *testing.T) {
			if h, err := policy.Hold("main", &test.bundle); h != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want %s", h, err, test.want)
			}
		})
	}
	// What can't be held is no part of the policy either.
	shelf := plainShelf(t)
	shelf.put("main", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	r := read(t, shelf.sections("main"))
	r.untilRevision("main", "v1")
	bad := module("package app\n\nallow :=\n")
	if err := r.Take("main", &bad); err == nil || !strings.Contains(err.Error(), "rego_parse_error") {
		t.Errorf("got %v", err)
	}
	r.wants(answers.Allowed)
	// A bundle that is configured no more is let go.
	gone := module("package app\n\nallow := false\n")
	if err := r.Take("other", &gone); err != nil || r.state("other").Name != "" || r.taken() != 1 {
		t.Errorf("got %v, %+v, %d engines", err, r.state("other"), r.taken())
	}
	changes := bundle.Bundle{Patch: bundle.Patch{Data: []bundle.PatchOperation{{Op: "remove", Path: "/app"}}}}
	if err := r.Take("other", &changes); err != nil {
		t.Errorf("changes to a bundle that went: %v", err)
	}
}

// What a downloader brings: an error, nothing new, or a bundle with its bytes.
func TestBundleUpdates(t *testing.T) {
	down, cut := errors.New("the server is down"), errors.New("the connection was cut")
	text := "package app\n\nallow := true\n"
	whole := func() *bundle.Bundle {
		return &bundle.Bundle{
			Manifest: bundle.Manifest{Revision: "v1"},
			Modules:  []bundle.ModuleFile{{Path: "/app.rego", RelativePath: "/app.rego", Raw: []byte(text)}},
		}
	}
	for name, test := range map[string]struct {
		update    download.Update
		want      error
		revision  string
		downloads int
		checked   bool
	}{
		"an error":             {update: download.Update{Error: down, Bundle: whole()}, want: down},
		"not modified":         {update: download.Update{}, checked: true},
		"a bundle":             {update: download.Update{Bundle: whole(), Raw: strings.NewReader("x")}, revision: "v1", downloads: 1, checked: true},
		"bytes that end early": {update: download.Update{Bundle: whole(), Raw: iotest.ErrReader(cut)}, want: cut, downloads: 1, checked: true},
	} {
		t.Run(name, func(t *testing.T) {
			shelf := plainShelf(t)
			shelf.put("main", book{hold: make(chan struct{})}) // no other answer comes
			r := read(t, with(shelf.sections("main"), "", section{"persistence_directory": t.TempDir()}))
			r.Fail("main", "an error before")
			err := r.Apply("main", test.update)
			s := r.state("main")
			if !errors.Is(err, test.want) || s.Revision != test.revision || s.Downloads != test.downloads || s.Checked.IsZero() == test.checked {
				t.Errorf("got %v, %+v", err, s)
			}
			if well := test.want == nil; (s.Error == "") != well {
				t.Errorf("the state tells the error %q", s.Error)
			}
		})
	}
}

func TestDeltasThatDoNotFit(t *testing.T) {
	at := func(roots ...string) bundle.Manifest { return bundle.Manifest{Roots: &roots} }
	base, err := policy.Hold("main", &bundle.Bundle{Manifest: at("app"), Data: section{"app": section{"open": []any{"no"}}}})
	if err != nil {
		t.Fatal(err)
	}
	everything, err := policy.Hold("main", &bundle.Bundle{Data: section{"app": section{}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := everything.Roots(); len(got) != 1 || got[0] != "" {
		t.Errorf("a bundle without roots has %q", got)
	}
	for name, test := range map[string]struct {
		base  *policy.Held
		roots []string // nil: the delta names none
		patch bundle.PatchOperation
		want  string // "": it fits
	}{
		"the base's own roots":     {base, []string{"app"}, bundle.PatchOperation{Op: "upsert", Path: "/app/more", Value: 1}, ""},
		"no roots":                 {base, nil, bundle.PatchOperation{Op: "upsert", Path: "/app/a/b", Value: 1}, ""},
		"nothing to change":        {nil, nil, bundle.PatchOperation{Op: "upsert", Path: "/app", Value: 1}, "a bundle that was never there"},
		"other roots":              {base, []string{"app", "more"}, bundle.PatchOperation{Op: "upsert", Path: "/app/more", Value: 1}, `the changes are for the roots ["app" "more"], the bundle has ["app"]`},
		"roots of a base of all":   {everything, []string{"app"}, bundle.PatchOperation{Op: "upsert", Path: "/app/more", Value: 1}, `the bundle has [""]`},
		"no path":                  {base, nil, bundle.PatchOperation{Op: "upsert", Path: "/", Value: section{}}, "upsert /: is no path"},
		"a path with a bad escape": {base, nil, bundle.PatchOperation{Op: "upsert", Path: "/app/%zz", Value: 1}, "upsert /app/%zz: is no path"},
		"below what is no object":  {base, nil, bundle.PatchOperation{Op: "upsert", Path: "/app/open/x/y", Value: 1}, "upsert /app/open/x/y: storage_write_conflict_error: /app/open"},
		"an unknown operation":     {base, nil, bundle.PatchOperation{Op: "move", Path: "/app/open", Value: 1}, "move /app/open: is no operation"},
	} {
		t.Run(name, func(t *testing.T) {
			delta := &bundle.Bundle{Patch: bundle.Patch{Data: []bundle.PatchOperation{test.patch}}}
			if test.roots != nil {
				delta.Manifest = at(test.roots...)
			}
			got, err := policy.ApplyDelta(test.base, delta)
			if test.want == "" {
				if err != nil || got == nil {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if got != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want %s", got, err, test.want)
			}
		})
	}
}

// What discovery finds may say where bundles come from, and nothing about the
// process that downloads them.
func TestDiscoveredConfiguration(t *testing.T) {
	shelf := plainShelf(t)
	sections := shelf.discovery()
	shelf.put("one", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	shelf.put("config", book{raw: archive{data: shelf.sections("one")}.pack(t, nil), etag: "1"})
	r := read(t, sections)
	r.untilRevision("one", "v1")
	for name, test := range map[string]struct {
		found section
		words string
	}{
		"decision logs": {with(shelf.sections("one"), "decision_logs", section{"console": true}), "and nothing else"},
		"status":        {with(shelf.sections("one"), "status", section{"console": true}), "and nothing else"},
		"plugins":       {with(shelf.sections("one"), "plugins", section{"x": section{}}), "and nothing else"},
		"bundle":        {with(shelf.sections("one"), "bundle", section{"name": "x", "service": "shelf"}), "and nothing else"},
		"server":        {with(shelf.sections("one"), "server", section{"encoding": section{}}), "and nothing else"},
		"storage":       {with(shelf.sections("one"), "storage", section{"disk": section{"directory": "/nowhere"}}), "and nothing else"},
		"a file":        {with(shelf.sections("one"), "bundles/one", section{"resource": "file:///etc"}), "bundles.one: resource is a file"},
		"a name":        {with(shelf.sections("one"), "bundles", section{"..": section{"service": "shelf"}}), "bundles...: is no name for a bundle"},
	} {
		shelf.put("config", book{raw: archive{data: section{}}.pack(t, nil), etag: name + " before"})
		shelf.put("config", book{raw: archive{data: test.found}.pack(t, nil), etag: name})
		r.untilError("discovery", test.words)
		shelf.put("config", book{raw: archive{data: shelf.sections("one")}.pack(t, nil), etag: name + " after"})
		r.until("discovery is well", func() bool { return r.state("discovery").Error == "" })
	}
	r.wants(answers.Allowed)
}

// A bundle that waits for another comes into force when the other is configured
// no more.
func TestBundleThatWaitsForOneThatGoes(t *testing.T) {
	shelf := plainShelf(t)
	sections := shelf.discovery()
	shelf.put("one", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	shelf.put("config", book{raw: archive{data: shelf.sections("one", "two")}.pack(t, nil), etag: "1"})
	r := read(t, sections)
	r.until("the first waits", func() bool { return strings.Contains(r.log.String(), "waits for the others") })
	r.wants(answers.PolicyError)
	shelf.put("config", book{raw: archive{data: shelf.sections("one")}.pack(t, nil), etag: "2"})
	r.untilRevision("one", "v1")
	r.wants(answers.Allowed)
}

// A service whose discovered configuration has no bundles keeps what is in force.
func TestDiscoveryOfNoBundles(t *testing.T) {
	shelf := plainShelf(t)
	sections := shelf.discovery()
	shelf.put("one", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	shelf.put("config", book{raw: archive{data: shelf.sections("one")}.pack(t, nil), etag: "1"})
	r := read(t, sections, func(c *policy.Config) {
		c.Paths = []string{write(t, "app.rego", "package app\n\nallow := false\n")}
	})
	r.untilRevision("one", "v1")
	shelf.put("config", book{raw: archive{data: section{"services": section{}, "bundles": section{}}}.pack(t, nil), etag: "2"})
	r.until("the bundle is forgotten", func() bool { return r.state("one").Name == "" })
	r.wants(answers.Allowed)
}

func TestRevisionOfOddBundles(t *testing.T) {
	shelf := plainShelf(t)
	shelf.put("main", book{raw: allows("a b,c\té~!\x7f", true).pack(t, nil), etag: "1"})
	r := read(t, shelf.sections("main"))
	r.until("it is in force", func() bool { return r.Engine().Loaded() })
	if got := r.Engine().Revision(); !strings.HasPrefix(got, "main@a_b_c__~!_,") {
		t.Errorf("the revision is %q", got)
	}
}
