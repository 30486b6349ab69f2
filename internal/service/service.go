// Package service runs ussoauthz: it builds tenants and policy from a
// configuration, listens, answers checks and probes, and drains.
package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/watch"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// Service is ussoauthz with one configuration. Make one with New, run it once
// with Run.
type Service struct {
	cfg        *config.Config // the one at the start; see warnOfRestart
	log        *slog.Logger
	fetcher    *jwks.Fetcher
	snapshot   atomic.Pointer[Snapshot]
	bundles    bundleSources
	reloads    reloads
	level      *slog.LevelVar             // nil: the log's level stays
	logDropped func() int64               // lost lines of the log; nil: there are none
	tls        atomic.Pointer[tls.Config] // nil: plaintext
	checks     *extauthz.Server
	observe    *observer
	grpc       *grpc.Server
	health     *health.Server
	admin      *http.Server

	callers       callers
	grpcListener  *connections
	adminListener net.Listener // nil: switched off
	ready         atomic.Bool
}

// New builds everything that a configuration names and opens the listeners, so
// that a failed bind ends the process before it reports ready. It does not wait for
// issuers: until its keys arrive a tenant's requests are answered 503. Call Run or
// Close afterwards. The log may be used concurrently until then.
func New(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Service, error) {
	return newService(ctx, cfg, log, watch.Config{Log: log})
}

func newService(ctx context.Context, cfg *config.Config, log *slog.Logger, watching watch.Config) (_ *Service, err error) {
	s := &Service{cfg: cfg, log: log, callers: callers{log: log}, health: health.NewServer()}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	s.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if s.fetcher, err = newFetcher(cfg, log); err != nil {
		return nil, err
	}
	s.reloads.start(cfg, watching)
	snapshot, err := s.initialSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	cfg = s.cfg
	if snapshot, err = snapshot.withRevocations(openRevocations(ctx, cfg, s.log)); err != nil {
		return nil, err
	}
	s.snapshot.Store(snapshot)
	if s.observe, err = newObserver(ctx, cfg, log, gauges{s}); err != nil {
		return nil, err
	}
	s.observe.useSnapshot(snapshot)
	s.checks = extauthz.NewServer(extauthz.ServerConfig{
		MaxInFlight: cfg.Limits.MaxInFlight, MaxInFlightBytes: int64(cfg.Limits.MaxInFlightBytes), Log: log, Observer: s.observe,
	})
	s.checks.Use(snapshot.Authorizer)
	if err = s.startBundles(ctx); err != nil {
		return nil, err
	}
	if err = s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// initialSnapshot opens the first snapshot. If files change while it reads them, it
// loads the configuration again, three times at most; then it uses what New was given.
func (s *Service) initialSnapshot(ctx context.Context) (*Snapshot, error) {
	open := func() (*Snapshot, error) {
		engine, err := s.initialPolicy(ctx)
		if err != nil {
			return nil, err
		}
		return openSnapshot(s.cfg, s.fetcher, engine, nil)
	}
	snapshot, err := openIfUnchanged(s.cfg, open)
	for again := 0; again < 3 && errors.Is(err, errFilesChanged); again++ {
		fresh, failed := config.Load(s.cfg.Path)
		if failed != nil {
			break
		}
		s.cfg = fresh
		s.reloads.watch(fresh)
		snapshot, err = openIfUnchanged(fresh, open)
	}
	if errors.Is(err, errFilesChanged) {
		return open()
	}
	return snapshot, err
}

// open creates the gRPC and admin servers and their listeners.
func (s *Service) open() (err error) {
	options, err := s.serverOptions()
	if err != nil {
		return err
	}
	s.grpc = grpc.NewServer(options...)
	counted := s.observe.metrics.Registrar(s.grpc)
	s.checks.Register(counted)
	grpc_health_v1.RegisterHealthServer(counted, s.health)
	s.admin = &http.Server{
		Handler:           s.adminHandler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	l, err := listen(s.cfg.Listen)
	if err != nil {
		return err
	}
	watched := &s.callers
	if s.tls.Load() != nil {
		watched = nil // with TLS, reportingCredentials reports callers
	}
	s.grpcListener = newConnections(l, maxConnections, s.log, watched)
	if s.cfg.Admin.Listen != "" {
		s.adminListener, err = listen(s.cfg.Admin.Listen)
	}
	return err
}

// serverOptions bound the memory and connections that a caller can make the server
// use. Envoy's keepalive pings must be allowed: grpc-go's default answers them with
// GOAWAY. MinTime is well below the shortest interval in use, 5 s, because a ping that
// the network delayed arrives close to the next one.
func (s *Service) serverOptions() ([]grpc.ServerOption, error) {
	options := append(extauthz.ServerOptions(),
		grpc.MaxRecvMsgSize(int(s.cfg.Limits.MaxRequestBytes)),
		grpc.MaxConcurrentStreams(1024),
		// A tracing Envoy forwards its client's tracestate, up to 60 KiB. A
		// header list beyond our bound ends the connection with all checks on it,
		// so the bound is larger.
		grpc.MaxHeaderListSize(96<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.UnknownServiceHandler(s.observe.metrics.UnknownMethod),
		// A new goroutine starts with a small stack that each check has to grow.
		// Workers that stay save 5 to 10% of the processor time. They are no
		// limit: beyond them gRPC starts a goroutine for each check. Larger or
		// shared buffers and fixed windows made no measurable difference.
		grpc.NumStreamWorkers(uint32(32*runtime.GOMAXPROCS(0))), // #nosec G115 -- processors are few
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     15 * time.Minute,
			MaxConnectionAge:      30 * time.Minute, // lets Envoys find new replicas
			MaxConnectionAgeGrace: 30 * time.Second,
			Time:                  time.Minute,
			Timeout:               10 * time.Second,
		}),
	)
	certificates, err := tlsFiles(s.cfg).load()
	if err != nil || certificates == nil {
		return options, err
	}
	s.tls.Store(certificates)
	current := credentials.NewTLS(&tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true, // see listenerTLS.load
		// Certificates are renewed: each new connection uses the current ones.
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.tls.Load(), nil },
	})
	return append(options, grpc.Creds(reportingCredentials{current, &s.callers})), nil
}

// Address returns the address of the gRPC listener, with the port that the system
// chose if the configuration has port 0.
func (s *Service) Address() net.Addr { return s.grpcListener.Addr() }

// AdminAddress returns the address of the admin listener, nil if it is switched off.
func (s *Service) AdminAddress() net.Addr {
	if s.adminListener == nil {
		return nil
	}
	return s.adminListener.Addr()
}

// Run answers checks until ctx ends, then drains: it reports NOT_SERVING and 503 on
// /readyz while Envoy moves to other replicas, then refuses new calls, and ends those
// that are open after the grace period. It returns nil after a drain, and an error if
// a listener failed. Call it once.
func (s *Service) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	defer s.Close()
	failed := make(chan error, 2)
	serving.Go(func() { failed <- s.grpc.Serve(s.grpcListener) })
	admin := ""
	if s.adminListener != nil {
		admin = s.adminListener.Addr().String()
		serving.Go(func() { failed <- s.admin.Serve(s.adminListener) })
	}
	watching := s.watch(ctx)
	defer watching()
	s.ready.Store(true)
	s.updateHealth()
	s.log.Info("serving",
		slog.String("listen", s.Address().String()),
		slog.String("admin", admin),
		slog.Int("tenants", len(s.snapshot.Load().Tenants.Tenants())),
		slog.String("policy_revision", s.snapshot.Load().Policy.Revision()))
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		s.drain(failed)
		return nil
	}
}

// drain takes at most shutdown.drain and shutdown.grace, even if a call or a
// connection hangs.
func (s *Service) drain(failed <-chan error) {
	s.log.Info("draining", slog.Duration("drain", s.cfg.Shutdown.Drain), slog.Duration("grace", s.cfg.Shutdown.Grace))
	s.ready.Store(false)
	s.health.Shutdown() // NOT_SERVING for every name; later changes are ignored
	select {
	case <-time.After(s.cfg.Shutdown.Drain):
	case <-failed: // the listeners are gone: nothing to wait for
	}
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(s.cfg.Shutdown.Grace):
		s.log.Warn("calls are still open after the grace: ending them")
		s.stop() // GracefulStop returns then
		<-stopped
	}
	s.log.Info("stopped")
}

// stop ends all calls and connections at once.
func (s *Service) stop() {
	if s.grpcListener != nil {
		s.grpcListener.end()
	}
	if s.grpc != nil {
		s.grpc.Stop()
	}
}

// Close releases what New opened. Run calls it.
func (s *Service) Close() {
	s.stop()
	if s.admin != nil {
		_ = s.admin.Close() // its listener closes below in any case
	}
	if s.grpcListener != nil {
		_ = s.grpcListener.Close() // closed twice after Serve
	}
	if s.adminListener != nil {
		_ = s.adminListener.Close()
	}
	s.closeBundles()
	if s.observe != nil {
		s.observe.close(s.log) // after the last check
	}
	if snapshot := s.snapshot.Load(); snapshot != nil {
		snapshot.Close()
		snapshot.revocations.Close()
	}
	if s.fetcher != nil {
		s.fetcher.Close()
	}
}

func (s *Service) setHealth(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(extauthz.ServiceName, status)
}
