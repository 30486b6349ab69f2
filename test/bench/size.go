package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/measure"
	"github.com/ussoio/ussoauthz/test/bench/report"
	"github.com/ussoio/ussoauthz/test/bench/world"
)

// measureStart measures how long the service takes from its start until it is
// ready. The keys of its tenants are fetched meanwhile and afterwards: it waits
// for no issuer.
func (l *lab) measureStart(ctx context.Context, o options, r *report.Report, progress io.Writer) error {
	if !o.only.MatchString(report.StartTime) {
		return nil
	}
	setup := world.Setup{Tenants: o.size.tenants, Routes: o.size.routes}
	var took []time.Duration
	for n := range min(o.rounds, 3) {
		fmt.Fprintf(progress, "start: round %d\n", n+1)
		s, err := l.startService(ctx, fmt.Sprint("start-", n), setup)
		if err != nil {
			return err
		}
		took = append(took, s.took)
		if err := s.stop(); err != nil {
			return err
		}
	}
	r.AddStart(setup.Tenants, setup.Routes, took)
	return nil
}

// measureMemory fills the service with tenants, their keys and verified tokens,
// and reads its resident size.
func (l *lab) measureMemory(ctx context.Context, o options, r *report.Report, progress io.Writer) (err error) {
	if !o.only.MatchString(report.ResidentSize) {
		return nil
	}
	setup := world.Setup{Tenants: o.size.memory, Keys: 10, Routes: 10, More: "caches: {tokens: 256MiB}\n"}
	tokens := o.size.tokens
	fmt.Fprintf(progress, "memory: %d tenants, %d tokens\n", setup.Tenants, tokens)
	s, err := l.startService(ctx, "memory", setup)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.quiet(ctx); err != nil {
		return err
	}
	issuers, err := l.issuers(setup)
	if err != nil {
		return err
	}
	m := report.Memory{Tenants: setup.Tenants, Keys: setup.Keys, Tokens: tokens}
	for first := 0; first < tokens; first += setup.Tenants {
		messages, err := encode(setup.Tenants, func(n int) (world.Call, error) {
			token, err := issuers.Mint(n, first, fmt.Sprint("memory-", first), nil)
			return world.Call{Host: world.Host(n), Path: itemPath(n, 10), Token: token}, err
		})
		if err != nil {
			return err
		}
		load := drive.Load{Messages: messages, InFlight: 32, For: time.Minute, Checks: len(messages), Want: drive.Want{Reason: string(answers.Allowed)}}
		cold, err := s.measure(ctx, load)
		if err != nil {
			return err
		}
		hot, err := s.measure(ctx, load)
		if err != nil {
			return err
		}
		m.Add(cold, hot)
	}
	if l.profile != "" {
		if err := s.keep(ctx, "heap", filepath.Join(l.profile, "memory.heap.pprof")); err != nil {
			return err
		}
	}
	m.Size, err = measure.ResidentMemory(s.process.PID())
	r.Memory = &m
	return err
}
