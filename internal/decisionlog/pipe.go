package decisionlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// writer takes whole lines, count of them, each with its line break. It tells
// how many were lost. ctx ends when there is no more time to try again.
type writer interface {
	write(ctx context.Context, chunk []byte, count int) (lost int, err error)
	close() error
}

// pipe is the bounded way from the checks to one writer: two buffers, of which
// one is filled by the checks while the other is written. The lock is held for
// one copy of a line.
type pipe struct {
	name   string
	writer writer
	limit  int           // of each buffer; under mu
	delay  time.Duration // gathers lines that long, so that a write is worth it
	mask   func(chunk []byte) (masked []byte, lost int, err error)
	log    *slog.Logger

	mu      sync.Mutex
	filling []byte
	count   int

	wake    chan struct{} // a first line is waiting
	hurry   chan struct{} // half of the buffer is full
	stopped chan struct{}
	once    sync.Once
	done    chan struct{}
	abandon context.CancelFunc // of ctx

	written, full, failed, masking atomic.Int64
	failing                        bool // of run alone: a fault is told once
}

// firstSize is the capacity of a buffer to begin with: to grow it, a check would
// copy it.
func firstSize(limit int) int { return min(limit, 1<<20) }

// push adds a line or drops it.
func (p *pipe) push(line []byte) {
	p.mu.Lock()
	if len(p.filling)+len(line)+1 > p.limit {
		p.mu.Unlock()
		p.full.Add(1)
		return
	}
	before := len(p.filling)
	p.filling = append(append(p.filling, line...), '\n')
	half := before < p.limit/2 && len(p.filling) >= p.limit/2
	p.count++
	p.mu.Unlock()
	if before == 0 {
		signal(p.wake)
	}
	if half {
		signal(p.hurry)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take swaps the buffers. After the last time there is no place any more.
func (p *pipe) take(empty []byte, last bool) (chunk []byte, count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last {
		p.limit = 0
	}
	chunk, count = p.filling, p.count
	p.filling, p.count = empty[:0], 0
	return chunk, count
}

// run writes until stop, and then what is left.
func (p *pipe) run(ctx context.Context) {
	defer close(p.done)
	defer p.abandon()
	spare := make([]byte, 0, firstSize(p.limit))
	for last := false; !last; {
		last = p.gather()
		chunk, count := p.take(spare, last)
		p.flush(ctx, chunk, count)
		spare = chunk
	}
	if err := p.writer.close(); err != nil {
		p.log.Error("closing the decision log failed", slog.String("writer", p.name), slog.String("error", err.Error()))
	}
}

// gather waits for lines, and then for more of them. last says that it is the
// last time.
func (p *pipe) gather() (last bool) {
	select {
	case <-p.wake:
	case <-p.stopped:
		return true
	}
	timer := time.NewTimer(p.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.hurry:
	case <-p.stopped:
		return true
	}
	return false
}

func (p *pipe) flush(ctx context.Context, chunk []byte, count int) {
	if count == 0 {
		return
	}
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

func (p *pipe) stop() { p.once.Do(func() { close(p.stopped) }) }

// wait waits for the last flush; at the end of ctx it abandons it.
func (p *pipe) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	p.abandon()
	select {
	case <-p.done:
	case <-time.After(100 * time.Millisecond): // a write that nothing ends, to a pipe that nobody reads
	}
	return fmt.Errorf("gave up: %w", ctx.Err())
}

func (p *pipe) stats() Stats {
	return Stats{Writer: p.name, Written: p.written.Load(), Dropped: map[string]int64{
		dropFull: p.full.Load(), dropFailed: p.failed.Load(), dropMask: p.masking.Load(),
	}}
}

func countLines(chunk []byte) int { return bytes.Count(chunk, []byte{'\n'}) }
