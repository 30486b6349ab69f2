package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/internal/watch"
)

// reloads keeps what is to be told of the reloads so far.
type reloads struct {
	watcher *watch.Watcher // nil: the configuration is no file
	asked   atomic.Bool    // by Reload: whoever asks is answered

	mu         sync.Mutex
	generation int
	last       time.Time
	taken      time.Time // when the configuration in force was
	failed     int64
	err        error
}

// reloadState is what /readyz?verbose tells.
type reloadState struct {
	Generation int        `json:"generation"` // how many configurations were taken; the first is 1
	Last       *time.Time `json:"last,omitempty"`
	Error      string     `json:"error,omitempty"` // of the last reload: what was in force stayed in force
}

// begin watches from now on, so it comes before the files are read.
func (r *reloads) begin(cfg *config.Config, patience watch.Config) {
	r.generation, r.taken = 1, time.Now()
	if cfg.Path == "" {
		return
	}
	r.watcher = watch.New(patience, watchedFiles(cfg))
	r.follow(cfg)
}

// follow makes the files of cfg the watched ones. The configuration file was
// read already: a change since then has to be seen too.
func (r *reloads) follow(cfg *config.Config) {
	r.watcher.Watch(watchedFiles(cfg))
	if cfg.Stale() {
		r.watcher.Trigger()
	}
}

func (r *reloads) state() reloadState {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := reloadState{Generation: r.generation, Last: known(r.last)}
	if r.err != nil {
		state.Error = r.err.Error()
	}
	return state
}

// done reports whether the outcome is worth a line: the same fault again,
// found by looking again, is none.
func (r *reloads) done(err error) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = r.asked.Swap(false) || err == nil || r.err == nil || err.Error() != r.err.Error()
	r.last, r.err = time.Now(), err
	if err == nil {
		r.generation++
		r.taken = r.last
	} else {
		r.failed++
	}
	return news
}

// watchedFiles are all files that a configuration is made of.
func watchedFiles(cfg *config.Config) []string {
	files := append([]string{cfg.Path}, cfg.Policy.Paths...)
	for _, name := range []string{cfg.TLS.CertFile, cfg.TLS.KeyFile, cfg.TLS.ClientCAFile, cfg.Policy.ProtoDescriptor} {
		if name != "" {
			files = append(files, name)
		}
	}
	for i := range cfg.Tenants {
		name := cfg.Tenants[i].JWKSFile
		if name == "" {
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(cfg.Dir, name)
		}
		files = append(files, name)
	}
	return files
}

// watch reloads after each change, until ctx ends. The function that it
// returns waits for the end of a reload under way.
func (s *Service) watch(ctx context.Context) (wait func()) {
	if s.reloads.watcher == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.reloads.watcher.Run(ctx, s.reload)
	}()
	return func() {
		stop()
		<-done
	}
}

// Reload makes the service read its files again, whether or not they changed:
// what SIGHUP asks for. It returns at once. Without a configuration file there
// is nothing to read.
func (s *Service) Reload() {
	if s.reloads.watcher == nil {
		s.log.Warn("nothing to reload: the configuration comes from the environment")
		return
	}
	s.reloads.asked.Store(true)
	s.reloads.watcher.Trigger()
}

// FollowLog makes level the one that log.level says, now and after each reload,
// and dropped the number of the log's lost lines that the metrics tell; nil: none
// are lost. Call it before Run. Without it, a change of log.level is told to need
// a restart.
func (s *Service) FollowLog(level *slog.LevelVar, dropped func() int64) {
	s.level, s.logDropped = level, dropped
	s.setLevel(s.cfg)
}

func (s *Service) setLevel(cfg *config.Config) {
	var level slog.Level
	if s.level != nil && level.UnmarshalText([]byte(cfg.Log.Level)) == nil { // it was checked
		s.level.Set(level)
	}
}

// reload builds a whole new road beside the one in use, and takes it if
// nothing is wrong with it. A fault changes nothing, and is tried again.
func (s *Service) reload(ctx context.Context) (ok bool) {
	start := time.Now()
	cfg, err := s.take(ctx)
	for again := 0; again < 3 && errors.Is(err, errMoving); again++ {
		cfg, err = s.take(ctx)
	}
	news := s.reloads.done(err)
	if err != nil {
		if news {
			s.reportFaults(err)
		}
		return false
	}
	s.warnOfFixed(cfg)
	s.log.Info("reloaded",
		slog.Int("tenants", len(cfg.Tenants)),
		slog.String("policy_revision", s.road.Load().Policy.Revision()),
		slog.Duration("took", time.Since(start)))
	return true
}

func (s *Service) take(ctx context.Context) (cfg *config.Config, err error) {
	// A file that makes a parser or a compiler panic must not end a service
	// that answers.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading the files panicked: %v", r)
		}
	}()
	if cfg, err = config.Load(s.cfg.Path); err != nil {
		return nil, err
	}
	s.reloads.follow(cfg) // even where it fails below: its files are those to mend
	var certificates *tls.Config
	var change *policyChange
	road, err := settled(cfg, func() (*Road, error) {
		if certificates, err = tlsFiles(cfg).load(); err != nil {
			return nil, err
		}
		// The policy before the keys: it may have faults, and opens nothing.
		if change, err = s.changePolicy(ctx, cfg); err != nil {
			return nil, err
		}
		return openRoad(cfg, s.fetcher, change.engine, s.road.Load().Tenants)
	})
	if err != nil {
		change.forget()
		return nil, err
	}
	revocations := s.road.Load().revocations
	if cfg.Revocation != s.road.Load().cfg.Revocation {
		revocations = openRevocations(ctx, cfg, s.log)
	}
	old, err := s.takeRevoking(ctx, road, revocations, change)
	if err != nil {
		return nil, err
	}
	// From here on nothing fails.
	if certificates != nil && s.tls.Load() != nil {
		s.tls.Store(certificates)
	}
	s.setLevel(cfg)
	// After the swap: a source of keys that both have stays open all the time.
	old.Close()
	if old.revocations != revocations {
		old.revocations.Close()
	}
	return cfg, nil
}

// takeRevoking is takeRoad with a list of revocations. On an error it closes
// what it was given.
func (s *Service) takeRevoking(ctx context.Context, road *Road, list *revocation.List, change *policyChange) (old *Road, err error) {
	next, err := road.revoking(list)
	if err == nil {
		old, err = s.takeRoad(ctx, next, change)
	} else {
		change.forget()
	}
	if err != nil {
		road.Close()
		if list != s.road.Load().revocations {
			list.Close()
		}
	}
	return old, err
}

// errMoving: what was read may be half of a change.
var errMoving = errors.New("the files changed while they were read")

// settled opens the road of a configuration, or fails with errMoving where a
// file of it changed since it was read: a mount that is swapped meanwhile must
// not give the configuration of one state and the policy of the next.
func settled(cfg *config.Config, open func() (*Road, error)) (*Road, error) {
	files := watchedFiles(cfg)
	before := watch.Take(files)
	road, err := open()
	if moved := cfg.Stale() || watch.Take(files) != before; !moved || cfg.Path == "" {
		return road, err
	}
	if road != nil {
		road.Close()
	}
	return nil, errors.Join(errMoving, err)
}

func (s *Service) reportFaults(err error) {
	var faults config.Faults
	if !errors.As(err, &faults) {
		s.log.Error("the reload failed: what was in force stays", slog.String("error", err.Error()))
		return
	}
	for _, f := range faults {
		s.log.Error("the reload failed: what was in force stays",
			slog.String("file", f.File), slog.Int("line", f.Line), slog.String("field", f.Field), slog.String("error", f.Problem))
	}
}

// fixedLimits are those of the server; the others are the policy's, and change
// with it.
func fixedLimits(l config.Limits) config.Limits {
	l.MaxQueryNames, l.MaxObjectNames = 0, 0
	return l
}

// warnOfFixed tells of changes that only a restart can make true.
func (s *Service) warnOfFixed(cfg *config.Config) {
	level := cfg.Log.Level
	if s.level != nil {
		level = s.cfg.Log.Level // it was followed
	}
	for _, fixed := range []struct {
		key      string
		was, now any
	}{
		{"listen", s.cfg.Listen, cfg.Listen},
		{"admin", s.cfg.Admin, cfg.Admin},
		{"log.level", s.cfg.Log.Level, level},
		{"log.format", s.cfg.Log.Format, cfg.Log.Format},
		{"decision_log", s.cfg.DecisionLog, cfg.DecisionLog},
		{"limits", fixedLimits(s.cfg.Limits), fixedLimits(cfg.Limits)},
		{"jwks_dir", s.cfg.JWKSDir, cfg.JWKSDir},
		{"jwks_deny_private", s.cfg.JWKSDenyPrivate, cfg.JWKSDenyPrivate},
		{"shutdown", s.cfg.Shutdown, cfg.Shutdown},
		{"tls (on or off)", s.cfg.TLS.Enabled(), cfg.TLS.Enabled()},
	} {
		if !reflect.DeepEqual(fixed.was, fixed.now) {
			s.log.Warn("a change needs a restart", slog.String("key", fixed.key))
		}
	}
	for _, w := range cfg.Warnings {
		s.log.Warn(w.Error())
	}
}
