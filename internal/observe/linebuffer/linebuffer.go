// Package linebuffer keeps those who write lines from waiting for whoever takes
// them: a pipe that nobody reads, a slow disk or a service that is down must not
// stall a check.
package linebuffer

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Buffer is the bounded way of lines to where they are written: two pieces of
// memory, of which one is filled while the other is written. Its lock is held for
// one copy of a line. It is safe for concurrent use.
type Buffer struct {
	limit int
	delay time.Duration
	write func(ctx context.Context, chunk []byte, lines int)

	mu      sync.Mutex
	filling []byte
	count   int
	ended   bool // nobody takes lines any more

	wake     chan struct{} // a first line is waiting
	flushNow chan struct{} // half of the memory is full
	stopped  chan struct{}
	once     sync.Once
	done     chan struct{}
	abandon  context.CancelFunc // of write's ctx
}

// New returns a Buffer that gathers lines for delay, so that a write is worth it,
// and hands them to write, chunk after chunk and so many lines in each. A chunk is
// write's until it returns; its ctx ends when there is no more time. At most limit
// bytes wait, and as many are being written. Stop it after use, and Wait for it.
func New(limit int, delay time.Duration, write func(ctx context.Context, chunk []byte, lines int)) *Buffer {
	ctx, abandon := context.WithCancel(context.Background())
	b := &Buffer{
		limit: limit, delay: delay, write: write, filling: make([]byte, 0, firstSize(limit)),
		wake: make(chan struct{}, 1), flushNow: make(chan struct{}, 1),
		stopped: make(chan struct{}), done: make(chan struct{}), abandon: abandon,
	}
	go b.run(ctx)
	return b
}

// firstSize is the capacity of the memory to begin with: to grow it, whoever adds
// a line would copy it.
func firstSize(limit int) int { return min(limit, 1<<20) }

// Add takes a line with its line break. It is false where there is no place for
// it, or nobody to take it.
func (b *Buffer) Add(line []byte) bool {
	b.mu.Lock()
	before := len(b.filling)
	after := before + len(line)
	if b.ended || after > b.limit {
		b.mu.Unlock()
		return false
	}
	b.filling = append(b.filling, line...)
	b.count++
	b.mu.Unlock()
	if before == 0 {
		signal(b.wake)
	}
	if before < b.limit/2 && after >= b.limit/2 {
		signal(b.flushNow)
	}
	return true
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Stop has what is waiting written at once, and then nothing more.
func (b *Buffer) Stop() { b.once.Do(func() { close(b.stopped) }) }

// Wait waits for the last write after Stop; at the end of ctx it abandons it.
func (b *Buffer) Wait(ctx context.Context) error {
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
	}
	b.abandon()
	select {
	case <-b.done:
	case <-time.After(100 * time.Millisecond): // a write that nothing ends, to a pipe that nobody reads
	}
	return fmt.Errorf("gave up: %w", ctx.Err())
}

// Ended tells whether the last write is over.
func (b *Buffer) Ended() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// run writes until Stop, and then what is left.
func (b *Buffer) run(ctx context.Context) {
	defer close(b.done)
	defer b.abandon()
	chunk := make([]byte, 0, firstSize(b.limit))
	for last := false; ; {
		last = last || b.collect()
		var count int
		if chunk, count = b.swapBuffers(chunk, last); count > 0 {
			b.write(ctx, chunk, count)
		} else if last {
			return
		}
	}
}

// swapBuffers swaps the pieces of memory. The last time there is nothing left to take.
func (b *Buffer) swapBuffers(empty []byte, last bool) (chunk []byte, count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	chunk, count = b.filling, b.count
	b.filling, b.count, b.ended = empty[:0], 0, last && count == 0
	return chunk, count
}

// collect waits for lines, and then for more of them. last says that it is the
// last time.
func (b *Buffer) collect() (last bool) {
	select {
	case <-b.wake:
	case <-b.stopped:
		return true
	}
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.flushNow:
	case <-b.stopped:
		return true
	}
	return false
}
