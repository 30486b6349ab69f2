package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/measure"
	"github.com/ussoio/ussoauthz/test/bench/report"
	"github.com/ussoio/ussoauthz/test/bench/world"
)

// lab starts what the scenarios need, once for all of them.
type lab struct {
	binaries struct{ ussoauthz, floor string }
	dir      string
	issuers  *world.Issuers
	services map[world.Setup]*server
	floors   map[string]*server // by network
}

func newLab(ussoauthz, floor string, tenants int) (*lab, error) {
	dir, err := os.MkdirTemp("", "ussoauthz-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, services: map[world.Setup]*server{}, floors: map[string]*server{}}
	l.binaries.ussoauthz, l.binaries.floor = ussoauthz, floor
	l.issuers, err = world.NewIssuers(tenants, 1)
	return l, err
}

func (l *lab) close() error {
	var errs []error
	for _, s := range l.services {
		errs = append(errs, s.stop())
	}
	for _, s := range l.floors {
		errs = append(errs, s.stop())
	}
	l.issuers.Close()
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// floor returns the floor that listens on the network.
func (l *lab) floor(ctx context.Context, network string) (*server, error) {
	if s := l.floors[network]; s != nil {
		return s, nil
	}
	s := server{name: "floor-" + network, network: network}
	dir, err := l.folder(s.name)
	if err != nil {
		return nil, err
	}
	listen, err := l.addresses(&s, dir)
	if err != nil {
		return nil, err
	}
	l.floors[network], err = startServer(ctx, s, dir, nil, l.binaries.floor, "-listen", listen, "-admin", s.admin)
	return l.floors[network], err
}

// service returns the service with a configuration.
func (l *lab) service(ctx context.Context, setup world.Setup) (*server, error) {
	if s := l.services[setup]; s != nil {
		return s, nil
	}
	s := server{name: fmt.Sprintf("ussoauthz-%d", len(l.services)), network: setup.Network()}
	dir, err := l.folder(s.name)
	if err != nil {
		return nil, err
	}
	listen, err := l.addresses(&s, dir)
	if err != nil {
		return nil, err
	}
	file, err := setup.Write(dir, listen, l.issuers)
	if err != nil {
		return nil, err
	}
	env := []string{"USSOAUTHZ_ADMIN=" + s.admin}
	l.services[setup], err = startServer(ctx, s, dir, env, l.binaries.ussoauthz, "serve", "-c", file)
	return l.services[setup], err
}

func (l *lab) folder(name string) (string, error) {
	dir := filepath.Join(l.dir, name)
	return dir, os.Mkdir(dir, 0o700)
}

// addresses chooses where s listens, and returns that as it is configured.
func (l *lab) addresses(s *server, dir string) (listen string, err error) {
	if s.admin, err = freeAddress(); err != nil {
		return "", err
	}
	if s.network == "unix" {
		s.address = filepath.Join(dir, "checks.sock")
		return "unix://" + s.address, nil
	}
	s.address, err = freeAddress()
	return s.address, err
}

// measure drives a load and reads what it cost the server.
func (s *server) measure(load drive.Load) (report.Sample, error) {
	before, err := measure.CPU(s.process.PID())
	if err != nil {
		return report.Sample{}, err
	}
	r, err := s.conn.Run(load)
	if err != nil {
		return report.Sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := measure.CPU(s.process.PID())
	if err != nil {
		return report.Sample{}, err
	}
	if r.Checks == 0 {
		return report.Sample{}, fmt.Errorf("%s: a round without a check", s.name)
	}
	return report.Sample{
		Checks: r.Checks,
		CPU:    (after - before) / time.Duration(r.Checks),
		P50:    measure.Quantile(r.Latencies, 0.50),
		P99:    measure.Quantile(r.Latencies, 0.99),
		Rate:   float64(r.Checks) / r.Took.Seconds(),
	}, nil
}
