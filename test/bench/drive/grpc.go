package drive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	method     = "/envoy.service.auth.v3.Authorization/Check"
	maxWindow  = 1<<31 - 1
	maxFrame   = 16 << 10
	firstRoom  = 65535 // RFC 9113, section 6.9.2
	replenish  = 1 << 28
	grpcPrefix = 5
)

// Conn is one HTTP/2 connection that asks as an Envoy worker does: many streams
// at once, headers from the compression table, one write for all that is ready.
// A gRPC library would cost more than the servers that are measured. One Run at
// a time.
type Conn struct {
	conn  net.Conn
	read  *bufio.Reader
	frame *http2.Framer

	mu      sync.Mutex // of all below: a paced load writes from a goroutine of its own
	write   *bufio.Writer
	head    []byte // the header block that all requests share from the second on
	next    uint32 // stream
	room    int    // what the server still takes on the connection
	waiting []*call
	open    map[uint32]*call
	spare   []*call

	received int
	decode   *hpack.Decoder
	status   string // of the trailers that are being decoded
}

// call is one check under way.
type call struct {
	message []byte
	begun   time.Time
	answer  []byte
}

// Dial connects over "tcp" or "unix".
func Dial(network, address string) (*Conn, error) {
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		conn: conn, read: bufio.NewReaderSize(conn, 256<<10), write: bufio.NewWriterSize(conn, 256<<10),
		next: 1, room: firstRoom, open: map[uint32]*call{},
	}
	c.frame = http2.NewFramer(c.write, c.read)
	c.frame.SetReuseFrames()
	c.decode = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			c.status = f.Value
		}
	})
	_, err = c.write.WriteString(http2.ClientPreface)
	err = errors.Join(err,
		c.frame.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow}),
		c.frame.WriteWindowUpdate(0, maxWindow-firstRoom),
		c.write.Flush())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// headers returns the block of a request's headers. The first one fills the
// server's table, all others are what is left of it.
func (c *Conn) headers() []byte {
	if c.head != nil {
		return c.head
	}
	var first, second bytes.Buffer
	encoder := hpack.NewEncoder(&first)
	encode := func() {
		for _, f := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "ussoauthz"},
			{"te", "trailers"}, {"grpc-timeout", "5000m"}, {"content-type", "application/grpc"},
		} {
			_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a buffer takes it
		}
	}
	encode()
	n := first.Len()
	encode()
	second.Write(first.Bytes()[n:])
	c.head = second.Bytes()
	return first.Bytes()[:n]
}

// Run sends the load and returns when every answer is there and was looked at.
// A wrong answer is an error.
func (c *Conn) Run(l Load) (Result, error) {
	limit := l.For + 30*time.Second // a server that hangs ends the run
	if err := c.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return Result{}, err
	}
	r := &run{conn: c, load: l, start: time.Now()}
	if l.Rate > 0 {
		var pacing sync.WaitGroup
		pacing.Go(r.pace)
		defer pacing.Wait()
	} else if err := r.fill(); err != nil {
		return Result{}, err
	}
	err := r.receive()
	return Result{Checks: len(r.latencies), Took: time.Since(r.start), Latencies: r.latencies}, err
}

// send starts a call, or keeps it until the server has room for it. c.mu is
// held.
func (c *Conn) send(message []byte) error {
	if len(message)+grpcPrefix > maxFrame {
		return fmt.Errorf("a message of %d bytes: the driver sends one frame of %d at most", len(message), maxFrame)
	}
	var k *call
	if n := len(c.spare); n > 0 {
		k, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		k = &call{}
	}
	k.message, k.answer = message, k.answer[:0]
	if len(c.waiting) > 0 || c.room < len(message)+grpcPrefix {
		c.waiting = append(c.waiting, k)
		return nil
	}
	return c.put(k)
}

func (c *Conn) put(k *call) error {
	id := c.next
	c.next += 2
	c.open[id] = k
	c.room -= len(k.message) + grpcPrefix
	err := c.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers(), EndHeaders: true})
	if err != nil {
		return err
	}
	// By hand: the prefix and the message are one frame, without a copy.
	var head [9 + grpcPrefix]byte
	size := len(k.message) + grpcPrefix
	head[0], head[1], head[2] = byte(size>>16), byte(size>>8), byte(size)
	head[3], head[4] = byte(http2.FrameData), byte(http2.FlagDataEndStream)
	binary.BigEndian.PutUint32(head[5:], id)
	binary.BigEndian.PutUint32(head[10:], uint32(len(k.message)))
	if _, err := c.write.Write(head[:]); err != nil {
		return err
	}
	k.begun = time.Now()
	_, err = c.write.Write(k.message)
	return err
}

// granted takes the server's word for more room. c.mu is held.
func (c *Conn) granted(n int) error {
	c.room += n
	for len(c.waiting) > 0 && c.room >= len(c.waiting[0].message)+grpcPrefix {
		k := c.waiting[0]
		c.waiting = c.waiting[1:]
		if err := c.put(k); err != nil {
			return err
		}
	}
	return nil
}
