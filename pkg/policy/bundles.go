package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/config"
	"github.com/open-policy-agent/opa/v1/hooks"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/plugins"
	bundleplugin "github.com/open-policy-agent/opa/v1/plugins/bundle"
	"github.com/open-policy-agent/opa/v1/plugins/discovery"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// BundlesConfig says where bundles come from, and what is made of them.
type BundlesConfig struct {
	Policy   Config         // what else decides: files under a bundle's roots give way to the bundle
	Sections map[string]any // OPA's own: services, bundles, keys, discovery, labels, persistence_directory
	Dir      string         // where relative file names in Sections begin
	Log      *slog.Logger   // nil: none
}

// Bundles keeps a policy up to date with bundles that OPA's plugins download
// and verify. Each activation builds a whole new Engine from all bundles and
// files; one that fails changes nothing. The first engine of bundles is built
// when all of them have arrived: a policy without the half that denies would
// be worse than none. It is safe for concurrent use.
type Bundles struct {
	cfg      BundlesConfig
	sections map[string]any
	log      *slog.Logger
	manager  *plugins.Manager // of Start

	// mu is held while an engine is built and handed on, so that activations
	// come one after the other. OPA's own locks are taken outside of it.
	mu       sync.Mutex
	files    *loader.Result
	expected map[string]bool
	active   map[string]*held // that the engine was built from; nil: none yet
	waiting  map[string]*held // newer than active, or the first: not in force yet
	taken    map[string]*held // that the downloaders take for the newest: what a delta changes
	engine   *Engine
	changed  func(*Engine)

	tellMu sync.Mutex
	states map[string]*BundleState
}

// BundleState tells how a bundle is doing.
type BundleState struct {
	Name      string    `json:"name"`
	Revision  string    `json:"revision,omitempty"`  // of the one in force
	Activated time.Time `json:"activated,omitzero"`  // when that came into force
	Downloads int       `json:"downloads,omitempty"` // that were new and could be read
	Failures  int       `json:"failures,omitempty"`  // tries that changed nothing, for whatever is wrong
	Checked   time.Time `json:"checked,omitzero"`    // the last answer of its service that was no error
	Error     string    `json:"error,omitempty"`     // of the last try; what was in force stayed in force
}

// NewBundles reads the files and checks the sections; Start begins to download.
// Until bundles are active the engine is that of the files, where they give the
// entrypoint, and otherwise one that denies everything.
func NewBundles(ctx context.Context, cfg BundlesConfig) (*Bundles, error) {
	if faults := CheckBundles(cfg.Sections, cfg.Dir); len(faults) > 0 {
		return nil, fmt.Errorf("bundles: %s: %s", faults[0].Field, faults[0].Problem)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bundles{
		cfg: cfg, log: cfg.Log, sections: resolveFiles(cfg.Sections, cfg.Dir),
		waiting: map[string]*held{}, taken: map[string]*held{}, states: map[string]*BundleState{},
	}
	var err error
	if b.files, err = readFiles(cfg.Policy.Paths); err != nil {
		return nil, err
	}
	b.engine, err = fallback(ctx, cfg.Policy, b.files)
	if err != nil {
		b.log.Warn("policy.paths alone are no policy: everything is denied until the bundles are there", slog.String("error", err.Error()))
	}
	return b, nil
}

// fallback is the engine before the first activation. Its error says why files
// that hold the entrypoint can't be used without the bundles.
func fallback(ctx context.Context, cfg Config, files *loader.Result) (*Engine, error) {
	if !gives(files, cfg.Entrypoint) {
		return notLoaded(), nil // the embedded policy must not stand in for one that may deny more
	}
	var engine *Engine
	sources, err := assemble(files, nil)
	if err == nil {
		engine, err = build(ctx, cfg, sources)
	}
	if err != nil {
		return notLoaded(), err
	}
	return engine, nil
}

// gives reports whether the files themselves hold rules of the entrypoint.
func gives(files *loader.Result, entrypoint string) bool {
	if entrypoint == "" {
		entrypoint = DefaultEntrypoint
	}
	want := ast.Ref{ast.DefaultRootDocument}
	for part := range strings.SplitSeq(entrypoint, "/") {
		want = append(want, ast.StringTerm(part))
	}
	for _, file := range files.Modules {
		for _, rule := range file.Parsed.Rules {
			if rule.Ref().HasPrefix(want) {
				return true
			}
		}
	}
	return false
}

// Start loads the bundles that are kept on disk and begins to download. It
// calls changed with each new engine, one call at a time and never again once
// Close has returned; the first calls may come before Start returns. Call Close
// afterwards, even where it fails.
func (b *Bundles) Start(ctx context.Context, changed func(*Engine)) error {
	b.changed = changed
	if err := b.start(ctx); err != nil {
		return fmt.Errorf("bundles: %w", err)
	}
	return nil
}

func (b *Bundles) start(ctx context.Context) error {
	raw, err := json.Marshal(b.managed())
	if err != nil {
		return err
	}
	if err := b.makeFolders(); err != nil {
		return err
	}
	log := newOPALog(b.log)
	b.manager, err = plugins.New(raw, "ussoauthz", inmem.New(), plugins.Logger(log), plugins.ConsoleLogger(log), plugins.WithHooks(hooks.New(discovered{})))
	if err != nil {
		return err
	}
	d, err := discovery.New(b.manager, discovery.Factories(map[string]plugins.Factory{bundlesPlugin: factory{b}}), discovery.Hooks(hooks.New(discovered{})))
	if err == nil {
		d.RegisterListener(b, func(s bundleplugin.Status) { b.tellDiscovery(&s) })
		b.manager.Register(discovery.Name, d)
		err = b.manager.Start(ctx)
	}
	return err
}

// Close ends the downloads and waits for them.
func (b *Bundles) Close() {
	if b.manager != nil {
		b.manager.Stop(context.Background())
	}
}

// Engine returns the engine in force.
func (b *Bundles) Engine() *Engine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.engine
}

// Active reports whether the engine in force is made of bundles.
func (b *Bundles) Active() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active != nil
}

// Rebase builds an engine from the bundles at hand and a changed configuration
// of the rest. Where it gives no error, done must be called: with true to keep
// the engine, with false to forget it. Until then no bundle is activated.
func (b *Bundles) Rebase(ctx context.Context, cfg Config) (engine *Engine, done func(keep bool), err error) {
	files, err := readFiles(cfg.Paths)
	if err != nil {
		return nil, nil, err
	}
	b.mu.Lock()
	if b.active == nil {
		engine, err = fallback(ctx, cfg, files)
	} else {
		engine, err = b.rebuild(ctx, cfg, files, b.active, nil)
	}
	if err != nil {
		b.mu.Unlock()
		return nil, nil, err
	}
	return engine, func(keep bool) {
		defer b.mu.Unlock()
		if keep {
			b.cfg.Policy, b.files, b.engine = cfg, files, engine
		}
	}, nil
}

// rebuild makes an engine of files and bundles. It returns inForce where that is
// made of the same, as a server without ETags sends again and again.
func (b *Bundles) rebuild(ctx context.Context, cfg Config, files *loader.Result, bundles map[string]*held, inForce *Engine) (engine *Engine, err error) {
	// A bundle that makes a compiler panic must not end a service that answers.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("building the policy panicked: %v", r)
		}
	}()
	sources, err := assemble(files, bundles)
	if err != nil {
		return nil, err
	}
	if inForce != nil && inForce.revision == sources.revision {
		return inForce, nil
	}
	if engine, err = build(ctx, cfg, sources); err == nil && len(sources.replaced) > 0 {
		b.log.Info("packages of policy.paths give way to the bundles that own their place", slog.Any("packages", sources.replaced))
	}
	return engine, err
}

// take makes a bundle that was downloaded and verified part of the policy, if
// it can.
func (b *Bundles) take(ctx context.Context, name string, got *bundle.Bundle, raw []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.expected[name] {
		return nil // its configuration went while it was on its way
	}
	if got.Type() == bundle.DeltaBundleType {
		snapshot, err := applyDelta(ctx, b.taken[name], got)
		if err != nil {
			return err
		}
		got, raw = snapshot, nil
	}
	h, err := hold(name, got, raw)
	if err != nil {
		return err
	}
	b.waiting[name] = h
	candidates := b.candidates(name)
	if len(candidates) == 0 {
		b.taken[name] = h
		b.tell(name, func(s *BundleState) { s.Error = "" })
		b.log.Info("a bundle has arrived and waits for the others", slog.String("bundle", name), slog.Any("missing", b.missing()))
		return nil
	}
	for _, candidate := range candidates {
		if err = b.activate(ctx, candidate); err == nil {
			b.taken[name] = h
			return b.keep(name)
		}
	}
	return err
}

// candidates are the sets of bundles to try now that a new one came, best
// first: the newest of all, since publishers change bundles together; then the
// new one with what is in force.
func (b *Bundles) candidates(name string) (list []map[string]*held) {
	if all := b.newestOfAll(); all != nil {
		list = append(list, all)
	}
	if b.active[name] != nil && (len(list) == 0 || len(b.waiting) > 1) { // or that is the same set
		alone := maps.Clone(b.active)
		alone[name] = b.waiting[name]
		list = append(list, alone)
	}
	return list
}

// newestOfAll is nil while one is missing.
func (b *Bundles) newestOfAll() map[string]*held {
	all := map[string]*held{}
	for name := range b.expected {
		switch {
		case b.waiting[name] != nil:
			all[name] = b.waiting[name]
		case b.active[name] != nil:
			all[name] = b.active[name]
		default:
			return nil
		}
	}
	return all
}

func (b *Bundles) missing() (names []string) {
	for name := range b.expected {
		if b.waiting[name] == nil && b.active[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// activate builds an engine from a set of bundles and puts it in force.
func (b *Bundles) activate(ctx context.Context, candidate map[string]*held) error {
	start := time.Now()
	var inForce *Engine
	if b.active != nil {
		inForce = b.engine
	}
	engine, err := b.rebuild(ctx, b.cfg.Policy, b.files, candidate, inForce)
	if err != nil {
		return err
	}
	same := engine == inForce
	for name, h := range candidate {
		if b.active[name] != h {
			b.tell(name, func(s *BundleState) {
				s.Error, s.Revision = "", h.Manifest.Revision
				if !same || s.Activated.IsZero() {
					s.Activated = start
				}
			})
		}
		if b.waiting[name] == h {
			delete(b.waiting, name)
		}
	}
	b.active, b.engine = candidate, engine
	if same {
		return nil
	}
	b.changed(engine)
	b.log.Info("bundles activated", slog.String("policy_revision", engine.Revision()), slog.Duration("took", time.Since(start)))
	return nil
}

// expect makes names the bundles that the policy consists of.
func (b *Bundles) expect(ctx context.Context, names map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = names
	b.forget(names)
	gone := func(name string, _ *held) bool { return !names[name] }
	maps.DeleteFunc(b.waiting, gone)
	maps.DeleteFunc(b.taken, gone)
	all := b.newestOfAll()
	if len(all) == 0 {
		return
	}
	if err := b.activate(ctx, all); err != nil {
		b.log.Error("the policy without the bundles that went is no policy: what was in force stays", slog.String("error", err.Error()))
	}
}

// forget drops the state of bundles that are configured no more.
func (b *Bundles) forget(names map[string]bool) {
	b.tellMu.Lock()
	defer b.tellMu.Unlock()
	maps.DeleteFunc(b.states, func(name string, _ *BundleState) bool { return name != discovery.Name && !names[name] })
	for name := range names {
		if b.states[name] == nil {
			b.states[name] = &BundleState{Name: name}
		}
	}
}

// States tells how each bundle is doing, by name.
func (b *Bundles) States() []BundleState {
	b.tellMu.Lock()
	defer b.tellMu.Unlock()
	list := make([]BundleState, 0, len(b.states))
	for _, name := range slices.Sorted(maps.Keys(b.states)) {
		list = append(list, *b.states[name])
	}
	return list
}

func (b *Bundles) tell(name string, change func(*BundleState)) {
	b.tellMu.Lock()
	defer b.tellMu.Unlock()
	if s := b.states[name]; s != nil {
		change(s)
	}
}

// failed notes and logs an error, once where it comes again and again.
func (b *Bundles) failed(name string, err error) {
	text, news := safeText(err), false
	b.tell(name, func(s *BundleState) {
		news = s.Error != text
		s.Error, s.Failures = text, s.Failures+1
	})
	if news {
		b.log.Error("a bundle failed: what was in force stays", slog.String("bundle", name), slog.String("error", text))
	}
}

func (b *Bundles) tellDiscovery(s *bundleplugin.Status) {
	b.tellMu.Lock()
	defer b.tellMu.Unlock()
	text := s.Message
	if len(s.Errors) > 0 {
		text = errors.Join(s.Errors...).Error()
	}
	if s.Code == "" { // no error: the message is a remark
		text = ""
	}
	b.states[discovery.Name] = &BundleState{
		Name: discovery.Name, Revision: s.ActiveRevision, Activated: s.LastSuccessfulActivation, Checked: s.LastSuccessfulRequest, Error: withoutQuery(text),
	}
}

// safeText is an error's text without what may be secret in it: the query of a
// URL can be its credential, as a shared access signature is.
func safeText(err error) string {
	return withoutQuery(err.Error())
}

func withoutQuery(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		address := strings.Trim(word, `":,()`)
		if u, err := url.Parse(address); err == nil && u.Host != "" && (u.RawQuery != "" || u.User != nil) {
			words[i] = strings.Replace(word, address, u.Scheme+"://"+u.Host+u.Path, 1)
		}
	}
	return strings.Join(words, " ")
}

// discovered moves the bundles of a discovered configuration to our plugin, and
// refuses what is not supported.
type discovered struct{}

// OnConfigDiscovery implements hooks.ConfigDiscoveryHook.
func (discovered) OnConfigDiscovery(_ context.Context, c *config.Config) (*config.Config, error) {
	if len(c.Warnings) > 0 {
		return nil, fmt.Errorf("the discovered configuration: %s", strings.Join(c.Warnings, "; "))
	}
	if c.DecisionLogs != nil || c.Status != nil || len(c.Plugins) > 0 || c.Bundle != nil || c.Server != nil || c.Storage != nil {
		return nil, errors.New("the discovered configuration may hold services, bundles, keys and labels, and nothing else")
	}
	if c.Bundles != nil {
		c.Plugins = map[string]json.RawMessage{bundlesPlugin: c.Bundles}
		c.Bundles = nil
	}
	return c, nil
}

// managed is the configuration for OPA's manager: the bundles go to our plugin,
// which gives them to an Engine rather than to a store.
func (b *Bundles) managed() map[string]any {
	m := maps.Clone(b.sections)
	if bundles, ok := m["bundles"]; ok {
		delete(m, "bundles")
		m["plugins"] = map[string]any{bundlesPlugin: bundles}
	}
	return m
}
