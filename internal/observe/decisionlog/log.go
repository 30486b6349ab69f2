// Package decisionlog writes a line of JSON for each decision: to the console,
// to a file that it rotates, or to a service that speaks OPA's decision log
// protocol. A check never waits for it. Lines go through bounded memory, and
// what finds no place there is dropped and counted.
package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/linebuffer"
	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Log is a decision log with its writers. It is safe for concurrent use.
type Log struct {
	sample float64
	input  bool
	masks  []policy.Mask
	labels map[string]any
	policy atomic.Pointer[policy.Engine]
	pipes  []*pipe
}

// Options are what a Log needs beside its configuration.
type Options struct {
	Console io.Writer    // where decision_log.console writes
	Log     *slog.Logger // of the service: what goes wrong with the decision log
	// Labels describe this process in the events of OPA's protocol.
	Labels map[string]any
}

// New opens what a configuration names, and begins to write. nil is a
// configuration that names nothing; the methods of a nil Log do nothing. An
// error says what can't be written. Close it after use.
func New(cfg config.DecisionLog, o Options) (*Log, error) {
	if !cfg.Enabled() {
		return nil, nil
	}
	l := &Log{sample: cfg.SampleAllows, input: cfg.Input, labels: o.Labels}
	for _, m := range cfg.Masks {
		l.masks = append(l.masks, policy.Mask{Op: m.Op, Path: m.Path, Value: m.Value})
	}
	if cfg.Console {
		l.add("console", &console{o.Console}, o.Log)
	}
	if cfg.File.Path != "" {
		f, err := openFile(cfg.File)
		if err != nil {
			return nil, fmt.Errorf("decision_log.file: %w", err)
		}
		l.add("file", f, o.Log)
	}
	if cfg.Service.URL != "" {
		s, err := newService(cfg.Service, o.Labels)
		if err != nil {
			return nil, fmt.Errorf("decision_log.service: %w", err)
		}
		s.report = l.add("service", s, o.Log).report
	}
	for _, p := range l.pipes { // now that all of them are open
		delay := fileDelay
		if p.name == "service" {
			delay = cfg.Service.Delay
		}
		p.lines = linebuffer.New(int(cfg.Buffer), delay, p.flush)
	}
	return l, nil
}

// Use makes the mask rules of e those of all records that are written from now
// on.
func (l *Log) Use(e *policy.Engine) {
	if l != nil {
		l.policy.Store(e)
	}
}

var lines = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// maxPending bounds the buffers that the pool keeps: one large input must not stay.
const maxPending = 64 << 10

// Record writes a decision, unless it is an allow that is not in the sample. It
// keeps nothing of r, and waits for nothing.
func (l *Log) Record(r *extauthz.Record, trace tracecontext.Context) {
	if l == nil || r.Answer.Allowed && l.sample < 1 && rand.Float64() >= l.sample { // #nosec G404 -- a sample, no secret
		return
	}
	buffer := lines.Get().(*[]byte)
	line := append(appendLine((*buffer)[:0], r, trace, l.input), '\n')
	for _, p := range l.pipes {
		p.push(line)
	}
	if cap(line) <= maxPending {
		*buffer = line
	}
	lines.Put(buffer)
}

// Close writes what is waiting and ends the writers, within the time of ctx.
// What could not be written by then is dropped and counted.
func (l *Log) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	var faults []error
	for _, p := range l.pipes {
		p.lines.Stop()
	}
	for _, p := range l.pipes {
		if err := p.wait(ctx); err != nil {
			faults = append(faults, fmt.Errorf("flushing the decision log to %s: %w", p.name, err))
		}
	}
	return errors.Join(faults...)
}

// Stats is what became of the records that one writer was given.
type Stats struct {
	Writer  string // console, file or service
	Written int64
	Dropped map[string]int64 // by what stood in the way, see Drops
}

// Drops are the reasons of Stats.Dropped: no place in memory; the writer
// failed; the mask failed, and nobody knew what to hide.
func Drops() []string { return []string{dropFull, dropFailed, dropMask} }

const (
	dropFull   = "full"
	dropFailed = "failed"
	dropMask   = "mask"
)

// Stats returns the counts of each writer.
func (l *Log) Stats() []Stats {
	if l == nil {
		return nil
	}
	list := make([]Stats, len(l.pipes))
	for i, p := range l.pipes {
		list[i] = p.stats()
	}
	return list
}

// console writes lines as they are.
type console struct{ w io.Writer }

func (c *console) write(_ context.Context, chunk []byte, _ int) (lost int, err error) {
	n, err := c.w.Write(chunk)
	return countLines(chunk[n:]), err
}

func (c *console) close() error { return nil }

func (l *Log) add(name string, w writer, log *slog.Logger) *pipe {
	p := &pipe{name: name, writer: w, mask: l.mask, log: log}
	l.pipes = append(l.pipes, p)
	return p
}

// fileDelay is how long lines are gathered before they are written.
const fileDelay = 200 * time.Millisecond
