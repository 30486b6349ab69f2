// Package linebuffer keeps a log from holding up those who write to it: a pipe
// that nobody reads, or a slow disk, must not stall a check.
package linebuffer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// gathering is how long lines wait for more of them: many denials cost one
// write. It is also what a process that is killed may lose of its log.
const gathering = 10 * time.Millisecond

// Writer passes lines on from bounded memory. What finds no place there is
// dropped and counted. It is safe for concurrent use.
type Writer struct {
	to    io.Writer
	limit int

	mu      sync.Mutex
	waiting []byte
	closed  bool // from here on Write passes lines on by itself

	dropped atomic.Int64
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

// New returns a Writer that holds at most limit bytes for to, and as many again
// while it writes them. Close it after use.
func New(to io.Writer, limit int) *Writer {
	w := &Writer{to: to, limit: limit, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes whole lines. It never fails, and waits for nothing until Close was
// called.
func (w *Writer) Write(lines []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		w.pass(lines)
	case len(w.waiting)+len(lines) > w.limit:
		w.drop(lines)
	default:
		if w.waiting = append(w.waiting, lines...); len(w.waiting) == len(lines) {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
	return len(lines), nil
}

// Dropped is the number of lines that were lost.
func (w *Writer) Dropped() int64 { return w.dropped.Load() }

// Close passes on what is waiting, within the time of ctx. What is written
// afterwards is passed on at once, or dropped where the time was over.
func (w *Writer) Close(ctx context.Context) error {
	close(w.stop)
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("writing the log: %w", ctx.Err())
	}
}

func (w *Writer) run() {
	defer close(w.done)
	var chunk []byte
	for last := false; ; {
		last = last || w.gather()
		if chunk = w.take(chunk, last); last && len(chunk) == 0 {
			return
		}
		w.pass(chunk)
	}
}

// take swaps the buffers. The last time there is nothing left to take.
func (w *Writer) take(empty []byte, last bool) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	chunk := w.waiting
	w.waiting, w.closed = empty[:0], last && len(chunk) == 0
	return chunk
}

// gather waits for a line, and then for more of them.
func (w *Writer) gather() (last bool) {
	select {
	case <-w.wake:
	case <-w.stop:
		return true
	}
	select {
	case <-time.After(gathering):
		return false
	case <-w.stop:
		return true
	}
}

func (w *Writer) pass(lines []byte) {
	if len(lines) == 0 {
		return
	}
	if n, err := w.to.Write(lines); err != nil {
		w.drop(lines[n:])
	}
}

func (w *Writer) drop(lines []byte) { w.dropped.Add(int64(bytes.Count(lines, []byte{'\n'}))) }
