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

// reloads watches the files of the configuration and records the outcome of reloads.
type reloads struct {
	watcher   *watch.Watcher // nil: the configuration comes from the environment
	requested atomic.Bool    // by Reload: its outcome is logged even if nothing changed

	mu         sync.Mutex
	generation int
	last       time.Time
	applied    time.Time // when the configuration in force was applied
	failed     int64
	err        error
}

// reloadState is the part of /readyz?verbose about reloads.
type reloadState struct {
	Generation int        `json:"generation"` // how many configurations were applied; the first is 1
	Last       *time.Time `json:"last,omitempty"`
	Error      string     `json:"error,omitempty"` // of the last reload, which then changed nothing
}

// start begins to watch. It comes before the files are read, so that no change is missed.
func (r *reloads) start(cfg *config.Config, patience watch.Config) {
	r.generation, r.applied = 1, time.Now()
	if cfg.Path == "" {
		return
	}
	r.watcher = watch.New(patience, watchedFiles(cfg))
	r.watch(cfg)
}

// watch makes the files of cfg the watched ones. If the configuration file changed
// since it was read, it triggers a reload.
func (r *reloads) watch(cfg *config.Config) {
	r.watcher.Watch(watchedFiles(cfg))
	if cfg.Stale() {
		r.watcher.Trigger()
	}
}

func (r *reloads) state() reloadState {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := reloadState{Generation: r.generation, Last: timeOrNil(r.last)}
	if r.err != nil {
		state.Error = r.err.Error()
	}
	return state
}

// finish records the outcome of a reload. It returns whether to log it: the same
// error as last time is logged only if somebody requested the reload.
func (r *reloads) finish(err error) (report bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	report = r.requested.Swap(false) || err == nil || r.err == nil || err.Error() != r.err.Error()
	r.last, r.err = time.Now(), err
	if err == nil {
		r.generation++
		r.applied = r.last
	} else {
		r.failed++
	}
	return report
}

// watchedFiles returns all files that a configuration is read from.
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

// watch reloads after each change of a file until ctx ends. The function that it
// returns stops that, and waits for a reload that is under way.
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

// Reload makes the service read its files again, whether or not they changed, as
// SIGHUP does. It returns at once; the outcome is logged. Without a configuration
// file it only logs a warning.
func (s *Service) Reload() {
	if s.reloads.watcher == nil {
		s.log.Warn("nothing to reload: the configuration comes from the environment")
		return
	}
	s.reloads.requested.Store(true)
	s.reloads.watcher.Trigger()
}

// FollowLog sets level to the configuration's log.level, now and after each reload.
// dropped returns how many lines the log has lost, for the metrics; nil: none. Call
// it before Run. Without it, a change of log.level needs a restart, and the log says so.
func (s *Service) FollowLog(level *slog.LevelVar, dropped func() int64) {
	s.level, s.logDropped = level, dropped
	s.setLevel(s.cfg)
}

func (s *Service) setLevel(cfg *config.Config) {
	var level slog.Level
	if s.level != nil && level.UnmarshalText([]byte(cfg.Log.Level)) == nil { // config.Load checked it
		s.level.Set(level)
	}
}

// reload reads the configuration and puts it in force. After an error everything
// stays as it was, and the watcher tries again later.
func (s *Service) reload(ctx context.Context) (ok bool) {
	start := time.Now()
	cfg, err := s.loadAndApply(ctx)
	for again := 0; again < 3 && errors.Is(err, errFilesChanged); again++ {
		cfg, err = s.loadAndApply(ctx)
	}
	changed := s.reloads.finish(err)
	if err != nil {
		if changed {
			s.logErrors(err)
		}
		return false
	}
	s.warnOfRestart(cfg)
	s.log.Info("reloaded",
		slog.Int("tenants", len(cfg.Tenants)),
		slog.String("policy_revision", s.snapshot.Load().Policy.Revision()),
		slog.Duration("took", time.Since(start)))
	return true
}

func (s *Service) loadAndApply(ctx context.Context) (cfg *config.Config, err error) {
	// A file that makes a parser or a compiler panic must not end a running service.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading the files panicked: %v", r)
		}
	}()
	if cfg, err = config.Load(s.cfg.Path); err != nil {
		return nil, err
	}
	s.reloads.watch(cfg) // even if it fails below: the fix comes in these files
	var certificates *tls.Config
	var change *policyChange
	snapshot, err := openIfUnchanged(cfg, func() (*Snapshot, error) {
		if certificates, err = tlsFiles(cfg).load(); err != nil {
			return nil, err
		}
		// The policy comes before the keys: it may be wrong, and opens nothing.
		if change, err = s.changePolicy(ctx, cfg); err != nil {
			return nil, err
		}
		return openSnapshot(cfg, s.fetcher, change.engine, s.snapshot.Load().Tenants)
	})
	if err != nil {
		change.discard()
		return nil, err
	}
	revocations := s.snapshot.Load().revocations
	if cfg.Revocation != s.snapshot.Load().cfg.Revocation {
		revocations = openRevocations(ctx, cfg, s.log)
	}
	old, err := s.applyWithRevocations(ctx, snapshot, revocations, change)
	if err != nil {
		return nil, err
	}
	// Nothing fails from here on.
	if certificates != nil && s.tls.Load() != nil {
		s.tls.Store(certificates)
	}
	s.setLevel(cfg)
	// After the swap, so that key sets which both snapshots use stay open.
	old.Close()
	if old.revocations != revocations {
		old.revocations.Close()
	}
	return cfg, nil
}

// applyWithRevocations adds the list of revocations and applies the snapshot. On an
// error it closes both.
func (s *Service) applyWithRevocations(ctx context.Context, snapshot *Snapshot, list *revocation.List, change *policyChange) (old *Snapshot, err error) {
	next, err := snapshot.withRevocations(list)
	if err == nil {
		old, err = s.applySnapshot(ctx, next, change)
	} else {
		change.discard()
	}
	if err != nil {
		snapshot.Close()
		if list != s.snapshot.Load().revocations {
			list.Close()
		}
	}
	return old, err
}

// errFilesChanged: the files may have been read in the middle of a change.
var errFilesChanged = errors.New("the files changed while they were read")

// openIfUnchanged calls open, and fails with errFilesChanged if a file of the
// configuration changed since it was read. A mount that is swapped in between must not
// combine the configuration of one state with the policy of the next.
func openIfUnchanged(cfg *config.Config, open func() (*Snapshot, error)) (*Snapshot, error) {
	files := watchedFiles(cfg)
	before := watch.Take(files)
	snapshot, err := open()
	if moved := cfg.Stale() || watch.Take(files) != before; !moved || cfg.Path == "" {
		return snapshot, err
	}
	if snapshot != nil {
		snapshot.Close()
	}
	return nil, errors.Join(errFilesChanged, err)
}

func (s *Service) logErrors(err error) {
	var faults config.Errors
	if !errors.As(err, &faults) {
		s.log.Error("the reload failed: what was in force stays", slog.String("error", err.Error()))
		return
	}
	for _, f := range faults {
		s.log.Error("the reload failed: what was in force stays",
			slog.String("file", f.File), slog.Int("line", f.Line), slog.String("field", f.Field), slog.String("error", f.Problem))
	}
}

// serverLimits returns the limits that hold for the process: the policy's change with
// a reload.
func serverLimits(l config.Limits) config.Limits {
	l.MaxQueryNames, l.MaxObjectNames = 0, 0
	return l
}

// warnOfRestart logs the changed keys that only a restart applies.
func (s *Service) warnOfRestart(cfg *config.Config) {
	level := cfg.Log.Level
	if s.level != nil {
		level = s.cfg.Log.Level // FollowLog: it is applied already
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
		{"limits", serverLimits(s.cfg.Limits), serverLimits(cfg.Limits)},
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
