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

// feed is where the policy comes from, beside the files.
type feed struct {
	// mu is held for each swap of the road. The lock of a policy.Bundles is
	// taken before it, never after.
	mu      sync.Mutex
	current source // of the policy in force; the zero value: files alone
	next    source // of a changed configuration: in force with its first activation
}

type source struct {
	bundles *policy.Bundles
	section config.Sections
}

// show adds what is known of the bundles.
func (f *feed) show(shown map[string]any) {
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

// Bundles are those of the policy in force, or, before it has any, of the next.
func (g gauges) Bundles() (list []metrics.Bundle) {
	g.feed.mu.Lock()
	b := cmp.Or(g.feed.current.bundles, g.feed.next.bundles)
	g.feed.mu.Unlock()
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

// newBundles reads what the configuration says of bundles, and downloads
// nothing yet.
func newBundles(ctx context.Context, cfg *config.Config, log *slog.Logger) (*policy.Bundles, error) {
	b, err := policy.NewBundles(ctx, policy.BundlesConfig{
		Policy: policyConfig(cfg), Sections: cfg.Policy.Bundles, Dir: cfg.Dir, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return b, nil
}

// bundlePatience is how long a tool waits for bundles. The service does not
// wait: it is not ready.
const bundlePatience = 20 * time.Second

// OpenPolicy builds the policy of a configuration for a tool. What comes from
// bundles is waited for.
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
	timer := time.NewTimer(bundlePatience)
	defer timer.Stop()
	select {
	case engine := <-arrived:
		return engine, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, fmt.Errorf("policy: no bundles after %v:%s", bundlePatience, troubles(b))
	}
}

func troubles(b *policy.Bundles) string {
	var text strings.Builder
	for _, s := range b.States() {
		if s.Error != "" {
			fmt.Fprintf(&text, " %s: %s;", s.Name, s.Error)
		}
	}
	return strings.TrimSuffix(text.String(), ";")
}

// firstPolicy is the policy to start with, before any download.
func (s *Service) firstPolicy(ctx context.Context) (*policy.Engine, error) {
	if len(s.cfg.Policy.Bundles) == 0 {
		return OpenPolicy(ctx, s.cfg)
	}
	b, err := newBundles(ctx, s.cfg, s.log)
	if err != nil {
		return nil, err
	}
	s.feed.current = source{b, s.cfg.Policy.Bundles}
	return b.Engine(), nil
}

// startBundles takes what is kept on disk and begins to download.
func (s *Service) startBundles(ctx context.Context) error {
	b := s.feed.current.bundles
	if b == nil {
		return nil
	}
	if err := s.start(ctx, b); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return nil
}

func (s *Service) start(ctx context.Context, b *policy.Bundles) error {
	return b.Start(context.WithoutCancel(ctx), func(engine *policy.Engine) { s.activated(b, engine) })
}

// closeBundles ends all downloads.
func (s *Service) closeBundles() {
	s.feed.mu.Lock()
	current, next := s.feed.current, s.feed.next
	s.feed.current, s.feed.next = source{}, source{}
	s.feed.mu.Unlock()
	closeAll(current, next)
}

func closeAll(list ...source) {
	for _, from := range list {
		if from.bundles != nil {
			from.bundles.Close()
		}
	}
}

// activated puts a policy in force that was built from bundles.
func (s *Service) activated(b *policy.Bundles, engine *policy.Engine) {
	var old source
	s.feed.mu.Lock()
	switch b {
	case s.feed.current.bundles:
	case s.feed.next.bundles:
		old = s.feed.current
		s.feed.current, s.feed.next = s.feed.next, source{}
	default: // a reload put another in its place
		s.feed.mu.Unlock()
		return
	}
	road, err := s.road.Load().with(engine)
	if err == nil {
		s.swap(road)
	}
	s.feed.mu.Unlock()
	if err != nil { // a fault of ours: what was in force stays
		s.log.Error("a policy could not be put in force", slog.String("error", err.Error()))
		return
	}
	s.announce()
	closeAll(old)
}

// swap puts a road in force. feed.mu is held.
func (s *Service) swap(road *Road) (old *Road) {
	old = s.road.Swap(road)
	s.checks.Use(road.Authorizer)
	s.observe.use(road)
	return old
}

// serving reports whether checks are answered by a policy.
func (s *Service) serving() bool { return s.ready.Load() && s.road.Load().Policy.Loaded() }

// announce tells gRPC's health service. After its Shutdown that changes nothing.
func (s *Service) announce() {
	switch {
	case s.serving():
		s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)
	case s.ready.Load():
		s.log.Warn("not ready: no bundles yet, everything is denied")
	}
}

// policyChange is what a reload does to the policy.
type policyChange struct {
	engine *policy.Engine // for the new road
	stays  bool           // engine is the one in force: take what is in force by then
	from   source         // of the policy from now on
	fresh  bool           // from was not started yet
	done   func(keep bool)
}

// forget undoes what was prepared. A nil change had nothing prepared.
func (c *policyChange) forget() {
	if c != nil && c.done != nil {
		c.done(false)
	}
}

// changePolicy prepares the policy of a changed configuration. Bundles that are
// configured as before go on with what they have. Others begin beside the
// policy in force, and that stays until they have something better.
func (s *Service) changePolicy(ctx context.Context, cfg *config.Config) (*policyChange, error) {
	section := cfg.Policy.Bundles
	if len(section) == 0 {
		engine, err := OpenPolicy(ctx, cfg)
		return &policyChange{engine: engine}, err
	}
	s.feed.mu.Lock()
	from, abandoned := s.feed.next, source{}
	if s.feed.current.bundles != nil && reflect.DeepEqual(s.feed.current.section, section) {
		// Before anything can come of it: it is the configuration of the past.
		from, abandoned = s.feed.current, s.feed.next
		s.feed.next = source{}
	}
	s.feed.mu.Unlock()
	closeAll(abandoned)
	if from.bundles == nil || !reflect.DeepEqual(from.section, section) {
		b, err := newBundles(ctx, cfg, s.log)
		if err != nil {
			return nil, err
		}
		return &policyChange{engine: s.road.Load().Policy, stays: true, from: source{b, section}, fresh: true}, nil
	}
	engine, done, err := from.bundles.Rebase(ctx, policyConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	// Until done nothing of these bundles comes into force.
	s.feed.mu.Lock()
	stays := s.feed.next.bundles == from.bundles
	s.feed.mu.Unlock()
	if stays {
		engine = s.road.Load().Policy
	}
	return &policyChange{engine: engine, stays: stays, from: from, done: done}, nil
}

// takeRoad swaps the road and where its policy comes from, and returns the old
// road. What can fail fails before anything is changed.
func (s *Service) takeRoad(ctx context.Context, road *Road, c *policyChange) (old *Road, err error) {
	var dropped []source
	s.feed.mu.Lock()
	if inForce := s.road.Load().Policy; c.stays && inForce != road.Policy {
		if road, err = road.with(inForce); err != nil {
			s.feed.mu.Unlock()
			c.forget()
			return nil, err
		}
	}
	switch {
	case c.from.bundles == nil:
		dropped = []source{s.feed.current, s.feed.next}
		s.feed.current, s.feed.next = source{}, source{}
	case c.fresh:
		dropped = []source{s.feed.next}
		s.feed.next = c.from
	}
	old = s.swap(road)
	s.feed.mu.Unlock()
	if c.done != nil {
		c.done(true)
	}
	s.announce()
	closeAll(dropped...)
	if c.fresh {
		if err := s.start(ctx, c.from.bundles); err != nil {
			s.log.Error("the changed bundles can't be had: what was in force stays", slog.String("error", err.Error()))
		}
	}
	return old, nil
}
