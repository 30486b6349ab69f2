// Package stack runs upstream, service and Envoy on loopback, for the demo and the
// end-to-end tests: ussoauthz and Envoy as real processes. Nothing of it is in
// the service.
package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ussoio/ussoauthz/envoy"
)

// Config says what to run.
type Config struct {
	Ussoauthz string   // the service's binary
	Envoy     string   // Envoy's binary
	File      string   // the configuration that the service is started with
	Env       []string // further variables for the service
	Dir       string   // for logs and Envoy's configuration
	Upstream  string   // host:port of the application
	// Authz is the host:port of a service that runs already; "": Ussoauthz is
	// started.
	Authz string
	// Sample is the file of the folder envoy that Envoy runs; "": envoy.yaml.
	Sample string
	// Socket is the path of a unix socket that the service listens on, instead
	// of a port; Stack.Authz is unix:// and this.
	Socket string
	// UsualPorts tries the ports of the README first; a taken one is replaced.
	UsualPorts bool
	// Edit changes Envoy's configuration before it is written. nil: as shipped.
	Edit func([]byte) []byte
}

// Stack is a running Envoy with ussoauthz behind it.
type Stack struct {
	Edge       string // http://host:port of the edge listener
	EnvoyAdmin string // http://host:port
	Authz      string // host:port of the gRPC service, or its unix:// socket
	AuthzAdmin string // http://host:port; "" for Config.Authz

	cfg   Config
	authz *Process
	envoy *Process
	logs  []io.Closer
}

// Start brings the stack up and waits until both programs are ready.
func Start(ctx context.Context, cfg Config) (_ *Stack, err error) {
	s := &Stack{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	ports, err := freePorts(cfg.UsualPorts, 10000, 9901, 9191, 9192)
	if err != nil {
		return nil, err
	}
	s.Edge, s.EnvoyAdmin = "http://"+ports[0], "http://"+ports[1]
	s.Authz, s.AuthzAdmin = ports[2], "http://"+ports[3]
	if cfg.Socket != "" {
		s.Authz = "unix://" + cfg.Socket
	}
	if cfg.Authz != "" {
		s.Authz, s.AuthzAdmin = cfg.Authz, ""
	} else if err := s.StartAuthz(ctx); err != nil {
		return nil, err
	}
	return s, s.StartEnvoy(ctx)
}

// StartService brings the service up alone and waits until it is ready.
func StartService(ctx context.Context, cfg Config) (*Stack, error) {
	ports, err := freePorts(cfg.UsualPorts, 9191, 9192)
	if err != nil {
		return nil, err
	}
	s := &Stack{cfg: cfg, Authz: ports[0], AuthzAdmin: "http://" + ports[1]}
	if err := s.StartAuthz(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// StartEnvoy starts Envoy, again after it was stopped or killed, and waits until
// it is ready.
func (s *Stack) StartEnvoy(ctx context.Context) error {
	text, err := envoy.Sample(cmp.Or(s.cfg.Sample, "envoy.yaml"), envoy.Ports{
		Edge: s.Edge[len("http://"):], Admin: s.EnvoyAdmin[len("http://"):], Authz: s.Authz, Upstream: s.cfg.Upstream,
	})
	if err != nil {
		return err
	}
	if s.cfg.Edit != nil {
		text = s.cfg.Edit(text)
	}
	file := filepath.Join(s.cfg.Dir, "envoy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("writing Envoy's configuration: %w", err)
	}
	log, err := s.log("envoy.log")
	if err != nil {
		return err
	}
	s.envoy, err = StartProcess("envoy", log, nil, s.cfg.Envoy,
		"-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
	if err != nil {
		return err
	}
	return s.waitFor(ctx, s.envoy, s.EnvoyAdmin+"/ready", "envoy.log")
}

// StartAuthz starts the service, again after it was stopped or killed, and
// waits until it is ready.
func (s *Stack) StartAuthz(ctx context.Context) error {
	log, err := s.log("ussoauthz.log")
	if err != nil {
		return err
	}
	env := append([]string{"USSOAUTHZ_LISTEN=" + s.Authz, "USSOAUTHZ_ADMIN=" + s.AuthzAdmin[len("http://"):]}, s.cfg.Env...)
	s.authz, err = StartProcess("ussoauthz", log, env, s.cfg.Ussoauthz, "serve", "-c", s.cfg.File)
	if err != nil {
		return err
	}
	return s.waitFor(ctx, s.authz, s.AuthzAdmin+"/readyz", "ussoauthz.log")
}

// AuthzProcess is the running service.
func (s *Stack) AuthzProcess() *Process { return s.authz }

// EnvoyProcess is the running Envoy.
func (s *Stack) EnvoyProcess() *Process { return s.envoy }

// Stop ends everything, Envoy first so that no request is refused on the way.
func (s *Stack) Stop() error {
	var errs []error
	for _, p := range []*Process{s.envoy, s.authz} {
		if p != nil && !p.Ended() {
			errs = append(errs, p.Stop(30*time.Second))
		}
	}
	for _, log := range s.logs {
		errs = append(errs, log.Close())
	}
	s.logs = nil
	return errors.Join(errs...)
}

// Log returns the path of a program's log.
func (s *Stack) Log(name string) string { return filepath.Join(s.cfg.Dir, name) }

func (s *Stack) log(name string) (io.Writer, error) {
	f, err := os.OpenFile(s.Log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	s.logs = append(s.logs, f)
	return f, nil
}

// waitFor asks a probe until it answers 200, the program ends, or 30 s pass.
func (s *Stack) waitFor(ctx context.Context, p *Process, url, log string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if probe(ctx, url) {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at its start (%w); its log is %s:\n%s", p.name, p.err, s.Log(log), tail(s.Log(log)))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w); its log is %s:\n%s", p.name, ctx.Err(), s.Log(log), tail(s.Log(log)))
		case <-tick.C:
		}
	}
}

func probe(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // nothing is read from it
	return res.StatusCode == http.StatusOK
}

func tail(path string) string {
	const most = 4 << 10
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// freePorts returns one free loopback address for each usual port: that port
// if usual is set and it is free, any other if not. All are held open until
// all are found, so that they differ.
func freePorts(usual bool, ports ...int) ([]string, error) {
	addresses := make([]string, len(ports))
	for i, port := range ports {
		var l net.Listener
		var err error
		if usual {
			l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		}
		if l == nil {
			l, err = net.Listen("tcp", "127.0.0.1:0")
		}
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // only its number was wanted
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}
