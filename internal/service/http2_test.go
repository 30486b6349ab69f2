package service_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/internal/service"
)

// caller is an HTTP/2 client that can do what grpc-go's would not: ping at
// will, leave a call half sent, ignore pings. A goroutine reads what the server
// says.
type caller struct {
	t    testing.TB
	conn net.Conn

	mu      sync.Mutex // guards writing
	framer  *http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	next    uint32

	deaf    bool // does not answer pings
	acks    chan struct{}
	goAways chan http2.ErrCode
	resets  chan http2.ErrCode
	ends    chan string // grpc-status of each call that ended
	streams chan uint32 // SETTINGS_MAX_CONCURRENT_STREAMS
	gone    chan struct{}
}

func newCaller(t testing.TB, conn net.Conn) *caller {
	t.Helper()
	c := &caller{
		t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 1,
		acks: make(chan struct{}, 1<<12), goAways: make(chan http2.ErrCode, 1<<8), resets: make(chan http2.ErrCode, 1<<12),
		ends: make(chan string, 1<<12), streams: make(chan uint32, 8), gone: make(chan struct{}),
	}
	c.encoder = hpack.NewEncoder(&c.headers)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return c
}

// begin says hello and starts to read.
func (c *caller) begin() {
	c.t.Helper()
	c.write(func() error {
		go c.read() // an answer of its to SETTINGS waits for the preface
		if _, err := io.WriteString(c.conn, http2.ClientPreface); err != nil {
			return err
		}
		return c.framer.WriteSettings()
	})
}

func (c *caller) write(do func() error) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := do(); err != nil {
		c.t.Logf("writing: %v", err) // the server may have closed: that is what is looked at
	}
}

func (c *caller) read() {
	defer close(c.gone)
	for {
		frame, err := c.framer.ReadFrame()
		var stream http2.StreamError
		if errors.As(err, &stream) {
			continue
		}
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
				c.streams <- n
			}
			if !f.IsAck() {
				c.write(c.framer.WriteSettingsAck)
			}
		case *http2.PingFrame:
			switch {
			case f.IsAck():
				c.acks <- struct{}{}
			case !c.deaf:
				c.write(func() error { return c.framer.WritePing(true, f.Data) })
			}
		case *http2.GoAwayFrame:
			c.goAways <- f.ErrCode
		case *http2.RSTStreamFrame:
			c.resets <- f.ErrCode
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				c.ends <- field(f, "grpc-status")
			}
		}
	}
}

func field(f *http2.MetaHeadersFrame, name string) string {
	for _, h := range f.Fields {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

func (c *caller) ping() {
	c.t.Helper()
	c.write(func() error { return c.framer.WritePing(false, [8]byte{1}) })
}

// call begins a check with further headers and returns its stream.
func (c *caller) call(extra ...hpack.HeaderField) uint32 {
	c.t.Helper()
	id := c.next
	c.next += 2
	c.headers.Reset()
	for _, h := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "ussoauthz"},
		{Name: ":path", Value: "/" + serviceName + "/Check"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, extra...) {
		if err := c.encoder.WriteField(h); err != nil {
			c.t.Fatal(err)
		}
	}
	block := bytes.Clone(c.headers.Bytes())
	c.write(func() error {
		part := block[:min(len(block), 16<<10)]
		block = block[len(part):]
		err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: part, EndHeaders: len(block) == 0})
		for err == nil && len(block) > 0 {
			part = block[:min(len(block), 16<<10)]
			block = block[len(part):]
			err = c.framer.WriteContinuation(id, len(block) == 0, part)
		}
		return err
	})
	return id
}

// send finishes a call with the bytes of a check.
func (c *caller) send(id uint32) { c.sendAs(id, 0) }

// sendAs is send with the flag of a message: 1 says that it is compressed.
func (c *caller) sendAs(id uint32, flag byte) {
	c.t.Helper()
	message, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "acme.example", Path: "/"},
	}}})
	if err != nil {
		c.t.Fatal(err)
	}
	data := binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message)))
	c.write(func() error { return c.framer.WriteData(id, true, append(data, message...)) })
}

func (c *caller) close() {
	_ = c.conn.Close() // the server may have done so
	<-c.gone
}

// memory is a listener of connections within a test's bubble.
type memory struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case conn := <-m.conns:
		return conn, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "memory"} }

// inBubble runs a test in fake time with a service in memory and one
// connection to it.
func inBubble(t *testing.T, test func(t *testing.T, c *caller)) {
	t.Helper()
	cfg := parse(t, newIssuer(t), "")
	synctest.Test(t, func(t *testing.T) {
		s, err := service.New(context.Background(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		m := &memory{conns: make(chan net.Conn), done: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.ServeOn(m) }()
		ours, theirs := net.Pipe()
		m.conns <- theirs
		c := newCaller(t, ours)
		test(t, c)
		_ = ours.Close() // the server may have done so
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

// none fails the test if something came.
func none[T any](t testing.TB, what string, c <-chan T) {
	t.Helper()
	select {
	case v := <-c:
		t.Errorf("%s: %v", what, v)
	default:
	}
}

// Envoy pings its idle connections: connection_keepalive, 5 s and more, each a
// little early or late as the network has it.
func TestPingsAreWelcome(t *testing.T) {
	for _, interval := range []time.Duration{5 * time.Second, 10 * time.Second} {
		t.Run(interval.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *caller) {
				c.begin()
				for i := range 60 {
					c.ping()
					time.Sleep(interval - time.Duration(i%2)*interval/2)
				}
				if len(c.acks) != 60 {
					t.Errorf("%d pings of 60 were answered", len(c.acks))
				}
				none(t, "GOAWAY", c.goAways)
			})
		})
	}
}

func TestPingFloodIsEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		c.begin()
		for range 10 {
			c.ping()
		}
		if code := <-c.goAways; code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("GOAWAY with %v", code)
		}
		<-c.gone
	})
}

// Envoys must find new replicas, so that a busy connection has an end; it is
// an orderly one.
func TestConnectionsGrowOld(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		c.begin()
		start := time.Now()
		for len(c.goAways) == 0 && time.Since(start) < time.Hour {
			c.send(c.call())
			if status := <-c.ends; status != "0" {
				t.Fatalf("grpc-status %q", status)
			}
			time.Sleep(time.Minute)
		}
		if age := time.Since(start); age < 27*time.Minute || age > 35*time.Minute {
			t.Errorf("it was sent away after %v", age)
		}
		if code := <-c.goAways; code != http2.ErrCodeNo {
			t.Errorf("GOAWAY with %v", code)
		}
	})
}

func TestIdleConnectionsAreEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		c.begin()
		start := time.Now()
		<-c.goAways
		if d := time.Since(start); d < 15*time.Minute || d > 20*time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

// A peer that is gone without a word is found out.
func TestDeafConnectionsAreClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		c.deaf = true
		start := time.Now()
		c.begin()
		<-c.gone
		if d := time.Since(start); d > 2*time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

// A connection that says nothing costs us 10 seconds of it.
func TestSilentConnectionsAreClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		start := time.Now()
		c.read() // and not begin
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		c.begin()
		if n := <-c.streams; n != 1024 {
			t.Errorf("%d streams are offered", n)
		}
		for range 1024 {
			c.call()
		}
		synctest.Wait()
		none(t, "a stream within the bound was reset", c.resets)
		c.call()
		if code := <-c.resets; code != http2.ErrCodeRefusedStream {
			t.Errorf("the stream beyond the bound was reset with %v", code)
		}
		none(t, "GOAWAY", c.goAways)
	})
}

// An Envoy that traces hands on what its client sent as tracestate, as large as
// Envoy's own bound allows. Headers beyond our bound end their call alone.
func TestHeadersAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		c.begin()
		c.send(c.call(hpack.HeaderField{Name: "tracestate", Value: strings.Repeat("a", 60<<10)}))
		if status := <-c.ends; status != "0" {
			t.Errorf("a call with a large tracestate ended with %q", status)
		}
		many := make([]hpack.HeaderField, 200)
		for i := range many {
			many[i] = hpack.HeaderField{Name: "x-large", Value: strings.Repeat("a", 1<<10)}
		}
		c.call(many...)
		if code := <-c.resets; code != http2.ErrCodeFrameSize {
			t.Errorf("headers beyond the bound: reset with %v", code)
		}
		none(t, "GOAWAY", c.goAways)
		c.send(c.call())
		if status := <-c.ends; status != "0" {
			t.Errorf("the next call ended with %q", status)
		}
	})
}

// A small compressed message may be a huge one: none is unpacked. No package
// that is linked in may bring a decompressor.
func TestCompressedMessagesAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		c.begin()
		for _, encoding := range []string{"gzip", "deflate", "snappy", "zstd"} {
			c.sendAs(c.call(hpack.HeaderField{Name: "grpc-encoding", Value: encoding}), 1)
			if status := <-c.ends; status != "12" { // UNIMPLEMENTED
				t.Errorf("%s: grpc-status %q", encoding, status)
			}
		}
		c.sendAs(c.call(), 1)
		if status := <-c.ends; status == "0" {
			t.Error("a compressed message that names no encoding was answered")
		}
		c.send(c.call())
		if status := <-c.ends; status != "0" {
			t.Errorf("the next call ended with %q", status)
		}
	})
}

// connect is a caller over a real connection.
func connect(t testing.TB, address net.Addr) *caller {
	t.Helper()
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	c := newCaller(t, conn)
	c.begin()
	t.Cleanup(c.close)
	return c
}

// What Envoy has asked is answered, however late in the drain.
func TestCallsInFlightEndWell(t *testing.T) {
	s := start(t, parse(t, newIssuer(t), "shutdown: {drain: 0s, grace: 20s}"))
	c := connect(t, s.Address())
	id := c.call()
	<-c.streams // the server reads
	c.ping()
	<-c.acks // and has read the call
	s.stop()
	if code := <-c.goAways; code != http2.ErrCodeNo {
		t.Errorf("GOAWAY with %v", code)
	}
	c.send(id)
	if status := <-c.ends; status != "0" {
		t.Errorf("grpc-status %q", status)
	}
	s.end(t)
}

// half makes a connection that never gets further than said.
func half(t *testing.T, s *running, said string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server did
	if _, err := io.WriteString(conn, said); err != nil {
		t.Fatal(err)
	}
	<-connect(t, s.Address()).streams // accepted after it, so that it is too
}

// The end of the process is not in the hands of callers.
func TestGraceEndsWhatHangs(t *testing.T) {
	issuer := newIssuer(t)
	for _, tt := range []struct {
		name string
		hang func(t *testing.T, s *running)
	}{
		{"a call without an end", func(t *testing.T, s *running) {
			c := connect(t, s.Address())
			c.call()
			<-c.streams
			c.ping()
			<-c.acks
		}},
		{"a connection that says nothing", func(t *testing.T, s *running) { half(t, s, "") }},
		{"a connection that says half a word", func(t *testing.T, s *running) { half(t, s, http2.ClientPreface[:10]) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const grace = 300 * time.Millisecond
			s := start(t, parse(t, issuer, "shutdown: {drain: 0s, grace: "+grace.String()+"}"))
			tt.hang(t, s)
			begun := time.Now()
			s.end(t)
			if d := time.Since(begun); d < grace || d > grace+5*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}
