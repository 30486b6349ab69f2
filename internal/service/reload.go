package service

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/watch"
)

// reloads keeps what is to be told of the reloads so far.
type reloads struct {
	watcher *watch.Watcher // nil: the configuration is no file

	mu         sync.Mutex
	generation int
	last       time.Time
	err        error
}

// reloadState is what /readyz?verbose tells.
type reloadState struct {
	Generation int        `json:"generation"` // how many configurations were taken; the first is 1
	Last       *time.Time `json:"last,omitempty"`
	Error      string     `json:"error,omitempty"` // of the last reload: what was in force stayed in force
}

func (r *reloads) begin(cfg *config.Config, log *slog.Logger) {
	r.generation = 1
	if cfg.Path != "" {
		r.watcher = watch.New(watch.Config{Log: log}, watchedFiles(cfg))
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

func (r *reloads) done(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.err = time.Now(), err
	if err == nil {
		r.generation++
	}
}

// watchedFiles are all files that a configuration is made of.
func watchedFiles(cfg *config.Config) []string {
	files := append([]string{cfg.Path}, cfg.Policy.Paths...)
	for _, name := range []string{cfg.TLS.CertFile, cfg.TLS.KeyFile, cfg.TLS.ClientCAFile} {
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
		if err := s.reloads.watcher.Run(ctx, s.reload); err != nil {
			s.log.Error("files are no longer watched", slog.String("error", err.Error()))
		}
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
	s.reloads.watcher.Trigger()
}

// reload builds a whole new road beside the one in use, and takes it if
// nothing is wrong with it. A fault changes nothing.
func (s *Service) reload(ctx context.Context) {
	start := time.Now()
	cfg, err := s.take(ctx)
	s.reloads.done(err)
	if err != nil {
		s.reportFaults(err)
		return
	}
	s.reloads.watcher.Watch(watchedFiles(cfg))
	s.log.Info("reloaded",
		slog.Int("tenants", len(cfg.Tenants)),
		slog.String("policy_revision", s.road.Load().Policy.Revision()),
		slog.Duration("took", time.Since(start)))
}

func (s *Service) take(ctx context.Context) (*config.Config, error) {
	cfg, err := config.Load(s.cfg.Path)
	if err != nil {
		return nil, err
	}
	certificates, err := tlsFiles(cfg).load()
	if err != nil {
		return nil, err
	}
	road, err := openRoad(ctx, cfg, s.fetcher)
	if err != nil {
		return nil, err
	}
	old := s.road.Swap(road)
	s.checks.Use(road.Authorizer)
	if certificates != nil && s.tls.Load() != nil {
		s.tls.Store(certificates)
	}
	// After the swap: a source of keys that both have stays open all the time.
	old.Close()
	s.warnOfFixed(cfg)
	return cfg, nil
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

// warnOfFixed tells of changes that only a restart can make true.
func (s *Service) warnOfFixed(cfg *config.Config) {
	for _, fixed := range []struct {
		key      string
		was, now any
	}{
		{"listen", s.cfg.Listen, cfg.Listen},
		{"admin", s.cfg.Admin, cfg.Admin},
		{"log", s.cfg.Log, cfg.Log},
		{"limits", s.cfg.Limits, cfg.Limits},
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
