package drive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// HTTPWant is what every answer of a proxy must be.
type HTTPWant struct {
	Status int
	Body   string // "": not looked at
}

// HTTP is a load of HTTP/1.1 requests over connections that stay open, one
// request at a time on each.
type HTTP struct {
	Address  string
	Requests [][]byte // whole ones, without a body; sent in turn
	InFlight int
	For      time.Duration
	Checks   int // ends it too; 0: no bound
	Want     HTTPWant
}

// Run sends the load and looks at every answer. A wrong one is an error.
func (l HTTP) Run() (Result, error) {
	clients := make([]*client, l.InFlight)
	var errs []error
	for i := range clients {
		conn, err := net.DialTimeout("tcp", l.Address, 5*time.Second)
		if err != nil {
			errs = append(errs, err)
			break
		}
		defer func() { _ = conn.Close() }() // all answers are read
		clients[i] = &client{load: &l, conn: conn, in: bufio.NewReader(conn)}
	}
	if len(errs) > 0 {
		return Result{}, errs[0]
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	start := time.Now()
	for _, c := range clients {
		wg.Go(func() { c.err = c.run(start, &next) })
	}
	wg.Wait()
	result := Result{Took: time.Since(start)}
	for _, c := range clients {
		errs = append(errs, c.err)
		result.Latencies = append(result.Latencies, c.latencies...)
	}
	result.Checks = len(result.Latencies)
	return result, errors.Join(errs...)
}

type client struct {
	load      *HTTP
	conn      net.Conn
	in        *bufio.Reader
	body      []byte
	latencies []time.Duration
	err       error
}

func (c *client) run(start time.Time, next *atomic.Int64) error {
	if err := c.conn.SetDeadline(start.Add(c.load.For + 30*time.Second)); err != nil {
		return err
	}
	for begun := start; begun.Sub(start) < c.load.For; {
		n := int(next.Add(1) - 1)
		if c.load.Checks > 0 && n >= c.load.Checks {
			return nil
		}
		begun = time.Now()
		if _, err := c.conn.Write(c.load.Requests[n%len(c.load.Requests)]); err != nil {
			return err
		}
		if err := c.answer(); err != nil {
			return err
		}
		c.latencies = append(c.latencies, time.Since(begun))
	}
	return nil
}

// answer reads a response with a content-length, which both Envoy and the
// upstream write.
func (c *client) answer() error {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return fmt.Errorf("no answer of HTTP/1.1: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return fmt.Errorf("no status: %q", line)
	}
	size := 0
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return fmt.Errorf("no length: %q", line)
			}
		}
	}
	c.body = append(c.body[:0], make([]byte, size)...)
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return err
	}
	return c.load.Want.check(status, c.body)
}

func (w HTTPWant) check(status int, body []byte) error {
	if status != w.Status || (w.Body != "" && string(body) != w.Body) {
		return fmt.Errorf("answer %d %q, want %d %q", status, body, w.Status, w.Body)
	}
	return nil
}
