package decisionlog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/ussoio/ussoauthz/internal/observe/linebuffer"
)

// writer takes whole lines, count of them, each with its line break. It tells
// how many were lost. ctx ends when there is no more time to try again.
type writer interface {
	write(ctx context.Context, chunk []byte, count int) (lost int, err error)
	close() error
}

// pipe is the way from the checks to one writer, which they do not wait for.
type pipe struct {
	name   string
	writer writer
	lines  *linebuffer.Buffer
	mask   func(chunk []byte) (masked []byte, lost int, err error)
	log    *slog.Logger

	written, full, failed, masking atomic.Int64
	failing                        bool // of flush alone: a fault is told once
}

// push adds a line or drops it.
func (p *pipe) push(line []byte) {
	if !p.lines.Add(line) {
		p.full.Add(1)
	}
}

// flush writes lines, of which there is one at least.
func (p *pipe) flush(ctx context.Context, chunk []byte, count int) {
	masked, lost, fault := p.mask(chunk)
	p.masking.Add(int64(lost))
	if count -= lost; count > 0 {
		var err error
		lost, err = p.writer.write(ctx, masked, count)
		p.failed.Add(int64(lost))
		p.written.Add(int64(count - lost))
		fault = errors.Join(fault, err)
	}
	p.report(fault)
}

// report tells of the first fault of many, and of their end.
func (p *pipe) report(err error) {
	switch {
	case err != nil && !p.failing:
		p.log.Error("the decision log loses records", slog.String("writer", p.name), slog.String("error", err.Error()))
	case err == nil && p.failing:
		s := p.stats()
		p.log.Info("the decision log is written again", slog.String("writer", p.name), slog.Int64("lost", s.Dropped[dropFull]+s.Dropped[dropFailed]+s.Dropped[dropMask]))
	}
	p.failing = err != nil
}

// wait waits for the last flush; at the end of ctx it abandons it.
func (p *pipe) wait(ctx context.Context) error {
	err := p.lines.Wait(ctx)
	if !p.lines.Ended() {
		return err // the writer is still at it
	}
	if fault := p.writer.close(); fault != nil {
		p.log.Error("closing the decision log failed", slog.String("writer", p.name), slog.String("error", fault.Error()))
	}
	return err
}

func (p *pipe) stats() Stats {
	return Stats{Writer: p.name, Written: p.written.Load(), Dropped: map[string]int64{
		dropFull: p.full.Load(), dropFailed: p.failed.Load(), dropMask: p.masking.Load(),
	}}
}

func countLines(chunk []byte) int { return bytes.Count(chunk, []byte{'\n'}) }
