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
	cfg        *config.Config // that it was started with
	log        *slog.Logger
	fetcher    *jwks.Fetcher
	road       atomic.Pointer[Road]
	feed       feed
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
// that a failed bind fails the process before it reports ready. It waits for
// no issuer. Call Run or Close afterwards.
func New(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Service, error) {
	return newService(ctx, cfg, log, watch.Config{Log: log})
}

func newService(ctx context.Context, cfg *config.Config, log *slog.Logger, patience watch.Config) (_ *Service, err error) {
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
	s.reloads.begin(cfg, patience)
	road, err := s.firstRoad(ctx)
	if err != nil {
		return nil, err
	}
	cfg = s.cfg
	if road, err = road.revoking(openRevocations(ctx, cfg, s.log)); err != nil {
		return nil, err
	}
	s.road.Store(road)
	if s.observe, err = newObserver(ctx, cfg, log, gauges{s}); err != nil {
		return nil, err
	}
	s.observe.use(road)
	s.checks = extauthz.NewServer(extauthz.ServerConfig{
		MaxInFlight: cfg.Limits.MaxInFlight, MaxInFlightBytes: int64(cfg.Limits.MaxInFlightBytes), Log: log, Observer: s.observe,
	})
	s.checks.Use(road.Authorizer)
	if err = s.startBundles(ctx); err != nil {
		return nil, err
	}
	if err = s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// firstRoad reads the configuration again where its files change meanwhile. What
// New was given counts where they go on changing, or never were a file.
func (s *Service) firstRoad(ctx context.Context) (*Road, error) {
	open := func() (*Road, error) {
		engine, err := s.firstPolicy(ctx)
		if err != nil {
			return nil, err
		}
		return openRoad(s.cfg, s.fetcher, engine, nil)
	}
	road, err := settled(s.cfg, open)
	for again := 0; again < 3 && errors.Is(err, errMoving); again++ {
		fresh, failed := config.Load(s.cfg.Path)
		if failed != nil {
			break
		}
		s.cfg = fresh
		s.reloads.follow(fresh)
		road, err = settled(fresh, open)
	}
	if errors.Is(err, errMoving) {
		return open()
	}
	return road, err
}

// open makes the servers and their listeners.
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
		watched = nil // its credentials report
	}
	s.grpcListener = newConnections(l, maxConnections, s.log, watched)
	if s.cfg.Admin.Listen != "" {
		s.adminListener, err = listen(s.cfg.Admin.Listen)
	}
	return err
}

// serverOptions bound what a caller can make the server hold. Envoy's pings
// must be allowed: grpc-go's default answers them with GOAWAY. MinTime is well
// below the shortest interval in use, 5 s, since a ping that the network held
// up comes closer to the next one.
func (s *Service) serverOptions() ([]grpc.ServerOption, error) {
	options := append(extauthz.ServerOptions(),
		grpc.MaxRecvMsgSize(int(s.cfg.Limits.MaxRequestBytes)),
		grpc.MaxConcurrentStreams(1024),
		// An Envoy that traces hands on its client's tracestate, within 60 KiB
		// as it comes, and one header beyond our bound ends the connection with
		// all checks on it.
		grpc.MaxHeaderListSize(96<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.UnknownServiceHandler(s.observe.metrics.UnknownMethod),
		// A goroutine for each check starts with a small stack, which grows anew
		// each time: those that wait for the next check save 5 to 10 % of the
		// processor's time. They are no bound: beyond them checks have their own.
		// Larger buffers, shared ones and fixed windows save nothing measurable.
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
		// Each connection takes what is current: certificates are renewed.
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.tls.Load(), nil },
	})
	return append(options, grpc.Creds(reportingCredentials{current, &s.callers})), nil
}

// Address is where checks are answered; of use where the configuration said
// port 0.
func (s *Service) Address() net.Addr { return s.grpcListener.Addr() }

// AdminAddress is where probes are answered, nil where they are switched off.
func (s *Service) AdminAddress() net.Addr {
	if s.adminListener == nil {
		return nil
	}
	return s.adminListener.Addr()
}

// Run answers checks until ctx ends, then drains: NOT_SERVING and 503 on
// /readyz while Envoy looks elsewhere, then no new calls, then none at all.
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
	s.announce()
	s.log.Info("serving",
		slog.String("listen", s.Address().String()),
		slog.String("admin", admin),
		slog.Int("tenants", len(s.road.Load().Tenants.Tenants())),
		slog.String("policy_revision", s.road.Load().Policy.Revision()))
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		s.drain(failed)
		return nil
	}
}

// drain ends in at most the configured drain and grace, even where a call or
// a connection hangs.
func (s *Service) drain(failed <-chan error) {
	s.log.Info("draining", slog.Duration("drain", s.cfg.Shutdown.Drain), slog.Duration("grace", s.cfg.Shutdown.Grace))
	s.ready.Store(false)
	s.health.Shutdown() // NOT_SERVING for every name, and for good
	select {
	case <-time.After(s.cfg.Shutdown.Drain):
	case <-failed: // nobody is served any more
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
	if road := s.road.Load(); road != nil {
		road.Close()
		road.revocations.Close()
	}
	if s.fetcher != nil {
		s.fetcher.Close()
	}
}

func (s *Service) setHealth(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(extauthz.ServiceName, status)
}
