package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ussoio/ussoauthz/test/bench/world"
)

// lab starts what the scenarios need, once for all of them.
type lab struct {
	options
	dir      string
	worlds   map[[2]int]*world.Issuers // by tenants and keys
	services map[world.Setup]*server
	floors   map[string]*server // by network
}

func newLab(o options) (*lab, error) {
	dir, err := os.MkdirTemp("", "ussoauthz-bench-")
	if err != nil {
		return nil, err
	}
	return &lab{
		options: o, dir: dir,
		worlds: map[[2]int]*world.Issuers{}, services: map[world.Setup]*server{}, floors: map[string]*server{},
	}, nil
}

func (l *lab) close() error {
	var errs []error
	for _, s := range l.services {
		errs = append(errs, s.stop())
	}
	for _, s := range l.floors {
		errs = append(errs, s.stop())
	}
	for _, w := range l.worlds {
		w.Close()
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// issuers returns those that a configuration's tenants trust.
func (l *lab) issuers(setup world.Setup) (*world.Issuers, error) {
	size := [2]int{setup.Tenants, setup.Keys}
	if w := l.worlds[size]; w != nil {
		return w, nil
	}
	w, err := world.NewIssuers(setup.Tenants, max(setup.Keys, 1))
	if err == nil {
		l.worlds[size] = w
	}
	return w, err
}

// floor returns the floor that listens on the network.
func (l *lab) floor(ctx context.Context, network string) (*server, error) {
	if s := l.floors[network]; s != nil {
		return s, nil
	}
	s := server{name: "floor-" + network, network: network}
	dir, listen, err := l.place(&s)
	if err != nil {
		return nil, err
	}
	started, err := startServer(ctx, s, dir, nil, l.options.floor, "-listen", listen, "-admin", s.admin)
	if err == nil {
		l.floors[network] = started
	}
	return started, err
}

// service returns the service with a configuration.
func (l *lab) service(ctx context.Context, setup world.Setup) (*server, error) {
	if s := l.services[setup]; s != nil {
		return s, nil
	}
	s, err := l.startService(ctx, fmt.Sprintf("ussoauthz-%d", len(l.services)), setup)
	if err == nil {
		l.services[setup] = s
	}
	return s, err
}

// startService starts one that the caller stops.
func (l *lab) startService(ctx context.Context, name string, setup world.Setup) (*server, error) {
	s := server{name: name, network: setup.Network()}
	dir, listen, err := l.place(&s)
	if err != nil {
		return nil, err
	}
	file, err := l.write(setup, dir, listen)
	if err != nil {
		return nil, err
	}
	env := []string{"USSOAUTHZ_ADMIN=" + s.admin}
	return startServer(ctx, s, dir, env, l.options.ussoauthz, "serve", "-c", file)
}

func (l *lab) write(setup world.Setup, dir, listen string) (string, error) {
	issuers, err := l.issuers(setup)
	if err != nil {
		return "", err
	}
	setup.Profile = l.profile != ""
	return setup.Write(dir, listen, issuers)
}

// place chooses where s listens and makes its folder. It returns the address as
// it is configured.
func (l *lab) place(s *server) (dir, listen string, err error) {
	dir = filepath.Join(l.dir, s.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", "", err
	}
	if s.admin, err = freeAddress(); err != nil {
		return "", "", err
	}
	if s.network == "unix" {
		s.address = filepath.Join(dir, "checks.sock")
		return dir, "unix://" + s.address, nil
	}
	s.address, err = freeAddress()
	return dir, s.address, err
}
