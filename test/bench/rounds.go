package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/report"
)

// pair is a scenario with its two servers.
type pair struct {
	scenario
	floor, service *server
	fixed          [][]byte // of a scenario whose messages stay
	samples        [2][]report.Sample
}

// rounds measures all scenarios, round by round.
func (l *lab) rounds(ctx context.Context, list []scenario, o options, progress io.Writer) (*report.Report, error) {
	pairs := make([]*pair, len(list))
	for i, s := range list {
		var err error
		if pairs[i], err = l.prepare(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for round := range o.rounds {
		fmt.Fprintf(progress, "round %d of %d\n", round+1, o.rounds)
		for _, p := range pairs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := p.round(l, round, o.each); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	r := report.New(o.rounds, o.each)
	for _, p := range pairs {
		r.Add(p.name, p.inFlight, p.samples[0], p.samples[1])
	}
	return r, nil
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
	if p.fixed, err = s.messages(l, 0); err != nil {
		return nil, err
	}
	for _, server := range []*server{p.floor, p.service} {
		_, err := server.conn.Run(drive.Load{
			Messages: p.fixed, InFlight: 32, For: time.Minute, Checks: 2 * len(p.fixed), Want: p.wantOf(server),
		})
		if err != nil {
			return nil, fmt.Errorf("warming %s up: %w", server.name, err)
		}
	}
	return p, nil
}

// wantOf is the answer that a server gives: the floor has one only.
func (p *pair) wantOf(s *server) drive.Want {
	if s == p.floor {
		return drive.Want{}
	}
	return p.want
}

// round drives both servers, each first in every second round.
func (p *pair) round(l *lab, round int, each time.Duration) (err error) {
	load := drive.Load{Messages: p.fixed, InFlight: p.inFlight, For: each}
	if p.once {
		if load.Messages, err = p.messages(l, round); err != nil {
			return err
		}
		load.Checks = len(load.Messages)
	}
	servers := [2]*server{p.floor, p.service}
	for i := range servers {
		n := (i + round) % 2
		load.Want = p.wantOf(servers[n])
		s, err := servers[n].measure(load)
		if err != nil {
			return err
		}
		p.samples[n] = append(p.samples[n], s)
	}
	return nil
}
