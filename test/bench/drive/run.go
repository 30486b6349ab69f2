package drive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/http2"
)

// run is one Load on its way.
type run struct {
	conn  *Conn
	load  Load
	start time.Time

	started   int  // guarded by conn.mu
	finished  bool // guarded by conn.mu: no more starts
	failed    error
	latencies []time.Duration
}

// more reports whether another call may start. conn.mu is held.
func (r *run) more() bool {
	if !r.finished {
		r.finished = time.Since(r.start) >= r.load.For || (r.load.Checks > 0 && r.started >= r.load.Checks)
	}
	return !r.finished
}

// another starts a call. conn.mu is held.
func (r *run) another() error {
	message := r.load.Messages[r.started%len(r.load.Messages)]
	r.started++
	return r.conn.send(message)
}

func (r *run) fill() error {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	for range r.load.InFlight {
		if !r.more() {
			break
		}
		if err := r.another(); err != nil {
			return err
		}
	}
	return nil
}

// pace starts calls at a steady rate, whatever becomes of those before: a
// server that stalls meets all that piled up, to as many as InFlight.
func (r *run) pace() {
	gap := time.Duration(float64(time.Second) / r.load.Rate)
	due := r.start
	for done := false; !done; {
		nap(time.Until(due))
		done, due = r.burst(due, gap)
	}
}

// burst starts what is due by now, and returns when the next call is.
func (r *run) burst(due time.Time, gap time.Duration) (done bool, next time.Time) {
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for r.more() && !due.After(now) {
		if len(c.open)+len(c.waiting) >= r.load.InFlight {
			due = now.Add(gap)
			break
		}
		due = due.Add(gap)
		r.failed = errors.Join(r.failed, r.another())
	}
	if r.finished { // one more, whose answer wakes the reader
		r.failed = errors.Join(r.failed, r.another())
	}
	r.failed = errors.Join(r.failed, c.write.Flush())
	return r.finished || r.failed != nil, due
}

// receive reads until every call is answered.
func (r *run) receive() error {
	c := r.conn
	for {
		c.mu.Lock()
		done := r.failed != nil || (!r.more() && len(c.open)+len(c.waiting) == 0)
		var err error
		if c.read.Buffered() == 0 {
			err = c.write.Flush()
		}
		err = errors.Join(err, r.failed)
		c.mu.Unlock()
		if done || err != nil {
			return err
		}
		frame, err := c.frame.ReadFrame()
		if err != nil {
			return fmt.Errorf("reading answers: %w", err)
		}
		if err := r.take(frame); err != nil {
			return err
		}
	}
}

func (r *run) take(frame http2.Frame) error {
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f := frame.(type) {
	case *http2.DataFrame:
		if k := c.open[f.StreamID]; k != nil {
			k.answer = append(k.answer, f.Data()...)
		}
		return c.replenish(int(f.Length))
	case *http2.HeadersFrame:
		return r.takeHeaders(f)
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			return c.granted(int(f.Increment))
		}
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.frame.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.frame.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("the server reset a call: %v", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server went away: %v %s", f.ErrCode, f.DebugData())
	}
	return nil
}

func (c *Conn) replenish(n int) error {
	if c.received += n; c.received < replenish {
		return nil
	}
	n, c.received = c.received, 0
	return c.frame.WriteWindowUpdate(0, uint32(n))
}

func (r *run) takeHeaders(f *http2.HeadersFrame) error {
	c := r.conn
	c.status = ""
	if _, err := c.decode.Write(f.HeaderBlockFragment()); err != nil {
		return fmt.Errorf("reading an answer's headers: %w", err)
	}
	if !f.HeadersEnded() {
		return errors.New("headers in several frames: no answer of a check has so many")
	}
	if !f.StreamEnded() {
		return nil
	}
	k := c.open[f.StreamID]
	if k == nil {
		return fmt.Errorf("an answer to nothing, on stream %d", f.StreamID)
	}
	if c.status != "0" {
		return fmt.Errorf("grpc-status is %q", c.status)
	}
	r.latencies = append(r.latencies, time.Since(k.begun))
	delete(c.open, f.StreamID)
	c.spare = append(c.spare, k)
	if err := r.load.Want.check(k.answer); err != nil {
		return err
	}
	if r.load.Rate == 0 && r.more() {
		return r.another()
	}
	return nil
}

// check looks at a gRPC message: a prefix, then the bytes.
func (w Want) check(message []byte) error {
	if len(message) < grpcPrefix || message[0] != 0 || int(binary.BigEndian.Uint32(message[1:])) != len(message)-grpcPrefix {
		return errAnswer
	}
	return w.Check(message[grpcPrefix:])
}
