package linebuffer

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// gathering is how long lines of a Writer wait for more of them: many denials
// cost one write. It is also what a process that is killed may lose of its log.
const gathering = 10 * time.Millisecond

// Writer is an io.Writer for a log. What finds no place in its memory is dropped
// and counted. It is safe for concurrent use.
type Writer struct {
	lines   *Buffer
	mu      sync.Mutex // of to
	to      io.Writer
	dropped atomic.Int64
}

// NewWriter returns a Writer that passes lines on to to, from limit bytes of
// memory. Close it after use.
func NewWriter(to io.Writer, limit int) *Writer {
	w := &Writer{to: to}
	w.lines = New(limit, gathering, func(_ context.Context, chunk []byte, _ int) { w.pass(chunk) })
	return w
}

// Write takes one line. It never fails, and waits for nothing until Close was
// called.
func (w *Writer) Write(line []byte) (int, error) {
	switch {
	case w.lines.Add(line):
	case w.lines.Ended():
		w.pass(line)
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

// Dropped is the number of lines that were lost.
func (w *Writer) Dropped() int64 { return w.dropped.Load() }

// Close passes on what is waiting, within the time of ctx. What is written
// afterwards is passed on at once, or dropped where the time was over.
func (w *Writer) Close(ctx context.Context) error {
	w.lines.Stop()
	return w.lines.Wait(ctx)
}

func (w *Writer) pass(lines []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, err := w.to.Write(lines); err != nil {
		w.dropped.Add(int64(bytes.Count(lines[n:], []byte{'\n'})))
	}
}
