package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/measure"
	"github.com/ussoio/ussoauthz/test/bench/report"
	"github.com/ussoio/ussoauthz/test/bench/world"
)

// edge is a way through the real Envoy.
type edge struct {
	name     string
	inFlight int
	tenants  int
	native   *world.NativeJWT
	authz    string // floor, service or neither
	identity bool   // the application is told of the user, and calls without a token are refused

	server   *server // behind Envoy, or nil
	address  string
	requests [][]byte
	samples  []report.Sample
}

func (z size) edges() []*edge {
	return []*edge{
		{name: report.EnvoyAlone},
		{name: report.EnvoyJWT, native: &world.NativeJWT{Tenants: 1}, identity: true},
		{name: report.EnvoyJWTCache, native: &world.NativeJWT{Tenants: 1, Cache: 2 * z.users}, identity: true},
		{name: report.EnvoyFloor, authz: "floor"},
		{name: report.EnvoyOurs, authz: "service", identity: true},
		{name: report.EnvoyJWT100, tenants: min(100, z.edge), native: &world.NativeJWT{Tenants: min(100, z.edge)}, identity: true},
		{name: report.EnvoyJWT1000, tenants: z.edge, native: &world.NativeJWT{Tenants: z.edge}, identity: true},
		{name: report.EnvoyOurs1000, tenants: z.edge, authz: "service", identity: true},
		{name: report.EnvoyAlone1, inFlight: 1},
		{name: report.EnvoyJWT1, inFlight: 1, native: &world.NativeJWT{Tenants: 1}, identity: true},
		{name: report.EnvoyFloor1, inFlight: 1, authz: "floor"},
		{name: report.EnvoyOurs1, inFlight: 1, authz: "service", identity: true},
	}
}

// measureEdges measures requests through one Envoy that has all edges, round by
// round: what Envoy and the service behind it cost together.
func (l *lab) measureEdges(ctx context.Context, o options, r *report.Report, progress io.Writer) (err error) {
	var list []*edge
	for _, e := range l.size.edges() {
		if o.only.MatchString(e.name) {
			list = append(list, e)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if l.envoy, err = o.findEnvoy(ctx, progress); err != nil {
		return err
	}
	upstream, err := world.NewUpstream()
	if err != nil {
		return err
	}
	proxy, err := l.startEnvoy(ctx, upstream.Address(), list)
	if err != nil {
		return errors.Join(err, upstream.Close())
	}
	defer func() { err = errors.Join(err, proxy.Stop(10*time.Second), upstream.Close()) }()
	for _, e := range list {
		if err := e.check(); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	for round := range o.rounds {
		fmt.Fprintf(progress, "through Envoy: round %d of %d\n", round+1, o.rounds)
		for i := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			e := list[(i+round)%len(list)]
			if err := e.round(proxy, o.each); err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
		}
	}
	for _, e := range list {
		r.AddEdge(e.name, e.inFlight, e.samples)
	}
	return nil
}

// startEnvoy starts what the edges ask, and Envoy with a listener for each.
func (l *lab) startEnvoy(ctx context.Context, upstream string, list []*edge) (*stack.Process, error) {
	issuers, err := l.issuers(world.Setup{Tenants: l.size.edge})
	if err != nil {
		return nil, err
	}
	listeners := make([]world.Edge, len(list))
	for i, e := range list {
		if err := l.prepareEdge(ctx, e); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		listeners[i] = world.Edge{Name: fmt.Sprintf("edge-%d", i), Address: e.address, Native: e.native, Healthy: e.authz == "service"}
		if e.server != nil {
			listeners[i].Authz = e.server.address
		}
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	text, err := world.EnvoyConfig(admin, upstream, issuers, listeners)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(l.dir, "envoy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(l.dir, "envoy.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // Envoy has it open
	// One worker: a number of cores would only divide the same work.
	proxy, err := stack.StartProcess("envoy", log, nil, l.envoy,
		"-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
	if err != nil {
		return nil, err
	}
	if err := ready(ctx, proxy, "http://"+admin+"/ready"); err != nil {
		said, _ := os.ReadFile(log.Name()) // what can be had of it
		return nil, errors.Join(fmt.Errorf("starting Envoy: %w: %s", err, said[:min(len(said), 4<<10)]), proxy.Stop(time.Second))
	}
	return proxy, nil
}

func (l *lab) prepareEdge(ctx context.Context, e *edge) (err error) {
	e.tenants = max(e.tenants, 1)
	if e.inFlight == 0 {
		e.inFlight = 32
	}
	// The same issuers for all, so that all requests are the same.
	issuers, err := l.issuers(world.Setup{Tenants: l.size.edge})
	if err != nil {
		return err
	}
	e.requests = make([][]byte, l.size.users)
	for n := range e.requests {
		tenant := n % e.tenants
		token, err := issuers.Mint(tenant, n, fmt.Sprint("edge-", n), nil)
		if err != nil {
			return err
		}
		e.requests[n] = world.Call{Host: world.Host(tenant), Path: itemPath(n, 10), Token: token}.HTTP(tenant)
	}
	switch e.authz {
	case "floor":
		e.server, err = l.floor(ctx, "tcp")
	case "service":
		e.server, err = l.service(ctx, world.Setup{Tenants: l.size.edge, Routes: 10})
	}
	if err != nil {
		return err
	}
	if e.server != nil { // the keys of all tenants are being fetched
		if err := e.server.quiet(ctx); err != nil {
			return err
		}
	}
	e.address, err = freeAddress()
	return err
}

// check asks without a token, which only those that look refuse, and lets the
// edge see every token.
func (e *edge) check() error {
	anonymous := world.Call{Host: world.Host(0), Path: itemPath(0, 10), Token: ""}.HTTP(0)
	want := drive.HTTPWant{Status: 200, Body: world.SawNobody}
	if e.identity {
		want = drive.HTTPWant{Status: 401}
	}
	_, err := drive.HTTP{Address: e.address, Requests: [][]byte{anonymous}, InFlight: 1, For: time.Minute, Checks: 1, Want: want}.Run()
	if err != nil {
		return fmt.Errorf("without a token: %w", err)
	}
	_, err = drive.HTTP{Address: e.address, Requests: e.requests, InFlight: 8, For: time.Minute, Checks: 2 * len(e.requests), Want: e.want()}.Run()
	return err
}

func (e *edge) want() drive.HTTPWant {
	if e.identity {
		return drive.HTTPWant{Status: 200, Body: world.SawUser}
	}
	return drive.HTTPWant{Status: 200, Body: world.SawNobody}
}

func (e *edge) round(proxy *stack.Process, each time.Duration) error {
	proxyBefore, authzBefore, err := e.cpu(proxy)
	if err != nil {
		return err
	}
	result, err := drive.HTTP{Address: e.address, Requests: e.requests, InFlight: e.inFlight, For: each, Want: e.want()}.Run()
	if err != nil {
		return err
	}
	proxyAfter, authzAfter, err := e.cpu(proxy)
	if err != nil {
		return err
	}
	authz := authzAfter - authzBefore
	sample := sampleOf(result, proxyAfter-proxyBefore+authz)
	sample.Authz = authz / time.Duration(result.Checks)
	e.samples = append(e.samples, sample)
	return nil
}

// cpu is what Envoy has used, and the service behind it.
func (e *edge) cpu(proxy *stack.Process) (used, authz time.Duration, err error) {
	if used, err = measure.CPU(proxy.PID()); err != nil || e.server == nil {
		return used, 0, err
	}
	authz, err = measure.CPU(e.server.process.PID())
	return used, authz, err
}
