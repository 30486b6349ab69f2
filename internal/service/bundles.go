package service

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/metrics"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// bundleSources are the bundles that the policy comes from, beside its files. A
// reload that changes their configuration starts new downloads in next; the policy of
// current stays in force until next has a complete policy.
type bundleSources struct {
	// mu is held for each swap of the snapshot. Lock order: that of a
	// policy.Bundles comes first.
	mu      sync.Mutex
	current bundleSource // of the policy in force; zero: files alone
	next    bundleSource // of a changed configuration, until its first activation
}

type bundleSource struct {
	bundles *policy.Bundles
	section config.Sections
}

// addStatus adds the state of the bundles to /readyz?verbose.
func (f *bundleSources) addStatus(shown map[string]any) {
	f.mu.Lock()
	current, next := f.current.bundles, f.next.bundles
	f.mu.Unlock()
	if current != nil {
		shown["bundles"] = current.States()
	}
	if next != nil {
		shown["next_bundles"] = next.States()
	}
}

// Bundles returns the bundles of the policy in force, or of the next if it has none.
func (g gauges) Bundles() (list []metrics.Bundle) {
	g.bundles.mu.Lock()
	b := cmp.Or(g.bundles.current.bundles, g.bundles.next.bundles)
	g.bundles.mu.Unlock()
	if b == nil {
		return nil
	}
	for _, s := range b.States() {
		list = append(list, metrics.Bundle{
			Name: s.Name, Activated: s.Activated, Checked: s.Checked, Downloads: s.Downloads, Failures: s.Failures, OK: s.Error == "",
		})
	}
	return list
}

// newBundles prepares the bundles of a configuration. Start downloads them.
func newBundles(ctx context.Context, cfg *config.Config, log *slog.Logger) (*policy.Bundles, error) {
	b, err := policy.NewBundles(ctx, policy.BundlesConfig{
		Policy: policyConfig(cfg), Sections: cfg.Policy.Bundles, Dir: cfg.Dir, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return b, nil
}

// bundleTimeout is how long a tool waits for bundles. The service does not wait: it
// reports that it is not ready.
const bundleTimeout = 20 * time.Second

// OpenPolicy builds the policy of a configuration for a tool. It waits for bundles,
// 20 s at most.
func OpenPolicy(ctx context.Context, cfg *config.Config) (*policy.Engine, error) {
	if len(cfg.Policy.Bundles) == 0 {
		engine, err := policy.New(ctx, policyConfig(cfg))
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		return engine, nil
	}
	b, err := newBundles(ctx, cfg, nil)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	arrived := make(chan *policy.Engine, 1)
	if err := b.Start(ctx, func(e *policy.Engine) {
		select {
		case arrived <- e:
		default: // the first is enough
		}
	}); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	timer := time.NewTimer(bundleTimeout)
	defer timer.Stop()
	select {
	case engine := <-arrived:
		return engine, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, fmt.Errorf("policy: no bundles after %v:%s", bundleTimeout, bundleErrors(b))
	}
}

func bundleErrors(b *policy.Bundles) string {
	var text strings.Builder
	for _, s := range b.States() {
		if s.Error != "" {
			fmt.Fprintf(&text, " %s: %s;", s.Name, s.Error)
		}
	}
	return strings.TrimSuffix(text.String(), ";")
}

// initialPolicy returns the policy to start with, before any download: with bundles
// it denies everything.
func (s *Service) initialPolicy(ctx context.Context) (*policy.Engine, error) {
	if len(s.cfg.Policy.Bundles) == 0 {
		return OpenPolicy(ctx, s.cfg)
	}
	b, err := newBundles(ctx, s.cfg, s.log)
	if err != nil {
		return nil, err
	}
	s.bundles.current = bundleSource{b, s.cfg.Policy.Bundles}
	return b.Engine(), nil
}

// startBundles loads the persisted bundles and begins to download.
func (s *Service) startBundles(ctx context.Context) error {
	b := s.bundles.current.bundles
	if b == nil {
		return nil
	}
	if err := s.startDownloads(ctx, b); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return nil
}

func (s *Service) startDownloads(ctx context.Context, b *policy.Bundles) error {
	return b.Start(context.WithoutCancel(ctx), func(engine *policy.Engine) { s.activate(b, engine) })
}

// closeBundles stops all downloads.
func (s *Service) closeBundles() {
	s.bundles.mu.Lock()
	current, next := s.bundles.current, s.bundles.next
	s.bundles.current, s.bundles.next = bundleSource{}, bundleSource{}
	s.bundles.mu.Unlock()
	closeAll(current, next)
}

func closeAll(list ...bundleSource) {
	for _, from := range list {
		if from.bundles != nil {
			from.bundles.Close()
		}
	}
}

// activate puts a policy in force that was built from b.
func (s *Service) activate(b *policy.Bundles, engine *policy.Engine) {
	var old bundleSource
	s.bundles.mu.Lock()
	switch b {
	case s.bundles.current.bundles:
	case s.bundles.next.bundles:
		old = s.bundles.current
		s.bundles.current, s.bundles.next = s.bundles.next, bundleSource{}
	default: // a reload replaced b meanwhile
		s.bundles.mu.Unlock()
		return
	}
	snapshot, err := s.snapshot.Load().withPolicy(engine)
	if err == nil {
		s.swapSnapshot(snapshot)
	}
	s.bundles.mu.Unlock()
	if err != nil { // a bug: the policy in force stays
		s.log.Error("a policy could not be put in force", slog.String("error", err.Error()))
		return
	}
	s.updateHealth()
	closeAll(old)
}

// swapSnapshot puts a snapshot in force. The caller holds bundles.mu.
func (s *Service) swapSnapshot(snapshot *Snapshot) (old *Snapshot) {
	old = s.snapshot.Swap(snapshot)
	s.checks.Use(snapshot.Authorizer)
	s.observe.useSnapshot(snapshot)
	return old
}

// serving reports whether a policy answers the checks.
func (s *Service) serving() bool { return s.ready.Load() && s.snapshot.Load().Policy.Loaded() }

// updateHealth sets the status of gRPC's health service. After its Shutdown that has
// no effect.
func (s *Service) updateHealth() {
	switch {
	case s.serving():
		s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
	case s.ready.Load():
		s.log.Warn("not ready: no bundles yet, everything is denied")
	}
}

// policyChange is a reload's change of the policy, prepared and not yet applied.
type policyChange struct {
	engine    *policy.Engine // for the new snapshot
	unchanged bool           // engine is the one in force; if bundles replace it meanwhile, use theirs
	source    bundleSource   // of the policy after the change
	unstarted bool           // source was not started yet
	done      func(keep bool)
}

// discard drops a change that is not applied. It accepts nil.
func (c *policyChange) discard() {
	if c != nil && c.done != nil {
		c.done(false)
	}
}

// changePolicy prepares the policy of a changed configuration. Bundles whose section
// is the same stay. Others are started beside the policy in force, which stays until
// they have a complete policy.
func (s *Service) changePolicy(ctx context.Context, cfg *config.Config) (*policyChange, error) {
	section := cfg.Policy.Bundles
	if len(section) == 0 {
		engine, err := OpenPolicy(ctx, cfg)
		return &policyChange{engine: engine}, err
	}
	s.bundles.mu.Lock()
	from, abandoned := s.bundles.next, bundleSource{}
	if s.bundles.current.bundles != nil && reflect.DeepEqual(s.bundles.current.section, section) {
		// The next ones belong to a configuration that is no longer wanted: they
		// must not come into force.
		from, abandoned = s.bundles.current, s.bundles.next
		s.bundles.next = bundleSource{}
	}
	s.bundles.mu.Unlock()
	closeAll(abandoned)
	if from.bundles == nil || !reflect.DeepEqual(from.section, section) {
		b, err := newBundles(ctx, cfg, s.log)
		if err != nil {
			return nil, err
		}
		return &policyChange{engine: s.snapshot.Load().Policy, unchanged: true, source: bundleSource{b, section}, unstarted: true}, nil
	}
	engine, done, err := from.bundles.Rebase(ctx, policyConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	// Until done is called these bundles activate nothing.
	s.bundles.mu.Lock()
	stays := s.bundles.next.bundles == from.bundles
	s.bundles.mu.Unlock()
	if stays {
		engine = s.snapshot.Load().Policy
	}
	return &policyChange{engine: engine, unchanged: stays, source: from, done: done}, nil
}

// applySnapshot swaps the snapshot and the bundles of its policy, and returns the old
// snapshot. An error leaves both as they were.
func (s *Service) applySnapshot(ctx context.Context, snapshot *Snapshot, c *policyChange) (old *Snapshot, err error) {
	var dropped []bundleSource
	s.bundles.mu.Lock()
	if inForce := s.snapshot.Load().Policy; c.unchanged && inForce != snapshot.Policy {
		if snapshot, err = snapshot.withPolicy(inForce); err != nil {
			s.bundles.mu.Unlock()
			c.discard()
			return nil, err
		}
	}
	switch {
	case c.source.bundles == nil:
		dropped = []bundleSource{s.bundles.current, s.bundles.next}
		s.bundles.current, s.bundles.next = bundleSource{}, bundleSource{}
	case c.unstarted:
		dropped = []bundleSource{s.bundles.next}
		s.bundles.next = c.source
	}
	old = s.swapSnapshot(snapshot)
	s.bundles.mu.Unlock()
	if c.done != nil {
		c.done(true)
	}
	s.updateHealth()
	closeAll(dropped...)
	if c.unstarted {
		if err := s.startDownloads(ctx, c.source.bundles); err != nil {
			s.log.Error("the changed bundles can't be started: what was in force stays", slog.String("error", err.Error()))
		}
	}
	return old, nil
}
