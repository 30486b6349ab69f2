package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/measure"
	"github.com/ussoio/ussoauthz/test/bench/report"
)

// server is a running process that answers checks.
type server struct {
	name    string
	network string // tcp or unix
	address string
	admin   string // host:port of its HTTP
	process *stack.Process
	took    time.Duration // from its start until it was ready
	asking  float64       // allocations of one reading of them; 0: unknown
	log     *os.File
}

// startServer runs a program and waits for its /readyz.
func startServer(ctx context.Context, s server, dir string, env []string, path string, args ...string) (_ *server, err error) {
	s.log, err = os.Create(filepath.Join(dir, s.name+".log"))
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if s.process, err = stack.StartProcess(s.name, s.log, env, path, args...); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	if err = ready(ctx, s.process, "http://"+s.admin+"/readyz"); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w; its log is %s", s.name, err, s.log.Name()), s.stop())
	}
	s.took = time.Since(begun)
	s.asking = s.ownMallocs(ctx)
	return &s, nil
}

// ready asks a probe until it answers 200.
func ready(ctx context.Context, p *stack.Process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if get(ctx, url) == nil {
			return nil
		}
		if p.Ended() {
			return errors.New("it ended")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// quiet waits until the server has nothing left to do, such as fetching the keys
// of ten thousand tenants.
func (s *server) quiet(ctx context.Context) error {
	const pause, idle, enough = 50 * time.Millisecond, time.Millisecond / 2, 5
	before, err := measure.CPU(s.process.PID())
	calm := 0
	for range 1200 {
		if err != nil || calm == enough {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		var now time.Duration
		now, err = measure.CPU(s.process.PID())
		calm++
		if now-before >= idle {
			calm = 0
		}
		before = now
	}
	return fmt.Errorf("%s does not come to rest", s.name)
}

// measure drives a load and reads what it cost the server.
func (s *server) measure(ctx context.Context, load drive.Load) (report.Sample, error) {
	allocated, _ := s.mallocs(ctx)
	before, err := measure.CPU(s.process.PID())
	if err != nil {
		return report.Sample{}, err
	}
	r, err := s.run(load)
	if err != nil {
		return report.Sample{}, err
	}
	after, err := measure.CPU(s.process.PID())
	if err != nil {
		return report.Sample{}, err
	}
	sample := sampleOf(r, after-before)
	if now, ok := s.mallocs(ctx); ok && s.asking > 0 {
		sample.Allocs = max(0, now-allocated-s.asking) / float64(r.Checks)
	}
	return sample, nil
}

// sampleOf makes a sample of a run that sent one request at least, which every
// run does.
func sampleOf(r drive.Result, cpu time.Duration) report.Sample {
	return report.Sample{
		Checks: r.Checks,
		CPU:    cpu / time.Duration(r.Checks),
		P50:    measure.Quantile(r.Latencies, 0.50),
		P99:    measure.Quantile(r.Latencies, 0.99),
		Rate:   float64(r.Checks) / r.Took.Seconds(),
	}
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close() // nothing is read from it
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

func (s *server) stop() error {
	return errors.Join(s.process.Stop(10*time.Second), s.log.Close())
}

// run drives a load over a connection of its own: between two runs the driver
// answers no ping, and a server closes a connection that is dead.
func (s *server) run(load drive.Load) (r drive.Result, err error) {
	conn, err := drive.Dial(s.network, s.address)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if r, err = conn.Run(load); err != nil {
		err = fmt.Errorf("%s: %w", s.name, err)
	}
	return r, err
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
