package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/report"
	"github.com/ussoio/ussoauthz/test/bench/world"
)

// pair is a scenario with its two servers.
type pair struct {
	scenario
	floor, service *server
	batch          batch // of a scenario whose messages stay
	samples        [2][]report.Sample
}

// prepare starts the servers and lets them see what is hot.
func (l *lab) prepare(ctx context.Context, s scenario) (p *pair, err error) {
	p = &pair{scenario: s}
	if p.floor, err = l.floor(ctx, s.setup.Network()); err != nil {
		return nil, err
	}
	if p.service, err = l.service(ctx, s.setup); err != nil {
		return nil, err
	}
	if s.once {
		return p, nil
	}
	issuers, err := l.issuers(s.setup)
	if err != nil {
		return nil, err
	}
	if p.batch, err = s.messages(issuers, 0); err != nil {
		return nil, err
	}
	if err := p.service.quiet(ctx); err != nil { // the keys of all tenants are being fetched
		return nil, err
	}
	return p, errors.Join(p.warm(), p.warm())
}

func (p *pair) warm() error {
	for _, s := range []*server{p.floor, p.service} {
		want := drive.Want{}
		if s == p.service {
			want = p.want
		}
		if len(p.batch.warm) == 0 {
			continue
		}
		_, err := s.run(drive.Load{Messages: p.batch.warm, InFlight: 32, For: time.Minute, Checks: len(p.batch.warm), Want: want})
		if err != nil {
			return fmt.Errorf("warming %s up: %w", s.name, err)
		}
	}
	return nil
}

// renew makes the messages of a round that nobody has seen.
func (p *pair) renew(l *lab, round int) error {
	issuers, err := l.issuers(p.setup)
	if err != nil {
		return err
	}
	if p.batch, err = p.messages(issuers, round); err != nil {
		return err
	}
	return p.warm()
}

// round drives both servers, each first in every second round.
func (p *pair) round(ctx context.Context, l *lab, round int, each time.Duration) (err error) {
	load := drive.Load{InFlight: p.inFlight, For: each}
	if p.once {
		if err := p.renew(l, round); err != nil {
			return err
		}
		load.Checks, load.For = len(p.batch.messages), time.Minute
	}
	load.Messages = p.batch.messages
	servers := [2]*server{p.floor, p.service}
	for i := range servers {
		n := (i + round) % 2
		load.Want = drive.Want{}
		if n == 1 {
			load.Want = p.want
		}
		sample, err := p.measure(ctx, servers[n], load)
		if err != nil {
			return err
		}
		p.samples[n] = append(p.samples[n], sample)
	}
	return nil
}

func (p *pair) measure(ctx context.Context, s *server, load drive.Load) (report.Sample, error) {
	if !p.half {
		return s.measure(ctx, load)
	}
	free := load
	free.For /= 2
	full, err := s.measure(ctx, free)
	if err != nil {
		return report.Sample{}, err
	}
	load.Rate, load.InFlight = full.Rate/2, 1000
	return s.measure(ctx, load)
}

// measureChecks measures all scenarios, round by round.
func (l *lab) measureChecks(ctx context.Context, o options, r *report.Report, progress io.Writer) error {
	var list []scenario
	for _, s := range l.size.scenarios() {
		if o.only.MatchString(s.name) {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil
	}
	pairs := make([]*pair, len(list))
	for i, s := range list {
		var err error
		if pairs[i], err = l.prepare(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	var verify []time.Duration
	for round := range o.rounds {
		fmt.Fprintf(progress, "checks: round %d of %d\n", round+1, o.rounds)
		cost, err := verifyCost(o.each / 10)
		if err != nil {
			return err
		}
		verify = append(verify, cost)
		for _, p := range pairs {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.round(ctx, l, round, o.each); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	if o.profile != "" {
		if err := l.profileAll(ctx, pairs, progress); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		if p.name == report.HotLogged {
			r.LogDropped, _ = p.service.metric(ctx, "ussoauthz_decision_log_dropped_total")
			r.LogWritten, _ = p.service.metric(ctx, "ussoauthz_decision_log_records_total")
		}
		r.Add(p.name, p.inFlight, p.samples[0], p.samples[1])
	}
	r.AddVerify(verify)
	issuers, err := l.issuers(world.Setup{Tenants: 1})
	if err != nil {
		return err
	}
	r.GeneratedAllocs, err = generatedAllocs(issuers)
	return err
}
