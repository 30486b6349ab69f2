package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/drive"
)

// profileAll drives each service once more, unmeasured, and keeps profiles of
// its CPU and its heap: two files for each scenario, for `go tool pprof`.
func (l *lab) profileAll(ctx context.Context, pairs []*pair, progress io.Writer) error {
	if err := os.MkdirAll(l.profile, 0o755); err != nil {
		return err
	}
	for _, p := range pairs {
		fmt.Fprintln(progress, "profile:", p.name)
		if err := p.profile(ctx, l); err != nil {
			return fmt.Errorf("profile of %s: %w", p.name, err)
		}
	}
	return nil
}

const profileSeconds = 3

func (p *pair) profile(ctx context.Context, l *lab) error {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(p.name))
	load := drive.Load{InFlight: p.inFlight, For: (profileSeconds + 1) * time.Second, Want: p.want}
	var taking sync.WaitGroup
	var taken error
	taking.Go(func() {
		what := fmt.Sprintf("profile?seconds=%d", profileSeconds)
		taken = p.service.keep(ctx, what, filepath.Join(l.options.profile, name+".pprof"))
	})
	defer taking.Wait()
	for round, begun := 1000, time.Now(); time.Since(begun) < load.For; round++ {
		if p.once {
			if err := p.renew(l, round); err != nil {
				return err
			}
			load.Checks = len(p.batch.messages)
		}
		load.Messages = p.batch.messages
		if _, err := p.service.run(load); err != nil {
			return err
		}
	}
	taking.Wait()
	return errors.Join(taken, p.service.keep(ctx, "heap?gc=1", filepath.Join(l.options.profile, name+".heap.pprof")))
}

// keep asks net/http/pprof for a profile and writes it to a file.
func (s *server) keep(ctx context.Context, what, file string) error {
	url := "http://" + s.admin + "/debug/pprof/" + what
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // it is read whole
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, res.Body)
	return errors.Join(err, out.Close())
}
