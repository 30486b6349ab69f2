package service

import (
	"log/slog"
	"net"
	"sync"
)

// maxConnections bounds the memory of callers that connect and send nothing. An Envoy
// opens one connection for each of its workers.
const maxConnections = 8192

// connections is a listener that knows its open connections: grpc-go's Stop does not
// end those that have sent nothing yet, until they time out.
type connections struct {
	net.Listener
	log  *slog.Logger
	most int
	// callers reports those that do not speak HTTP/2. nil: the listener is TLS,
	// whose credentials report.
	callers *callers

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	full  bool // logged already
	ended bool
}

func newConnections(l net.Listener, most int, log *slog.Logger, callers *callers) *connections {
	return &connections{Listener: l, log: log, most: most, callers: callers, open: map[net.Conn]struct{}{}}
}

// Accept returns the next connection. Connections beyond the bound are closed at
// once: waiting ones would look like slow answers to their callers.
func (l *connections) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.add(conn); c != nil {
			return c, nil
		}
		_ = conn.Close() // nothing was sent on it
	}
}

func (l *connections) add(conn net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	if len(l.open) >= l.most {
		if !l.full {
			l.full = true
			l.log.Error("too many connections: more are refused", slog.Int("open", len(l.open)))
		}
		return nil
	}
	l.full = false
	l.open[conn] = struct{}{}
	return &connection{Conn: conn, list: l, opening: opening{done: l.callers == nil}}
}

// count returns how many are open.
func (l *connections) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

func (l *connections) remove(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, conn)
}

// end closes every connection and accepts no more.
func (l *connections) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for conn := range l.open {
		_ = conn.Close() // its calls are lost in any case
	}
}

// connection removes itself from the listener's list when it is closed, and reports a
// protocol mismatch in its first bytes.
type connection struct {
	net.Conn
	list    *connections
	opening opening // of the one goroutine that reads
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.opening.done && n > 0 {
		c.list.callers.report(c.opening.add(b[:n]), c.Conn.RemoteAddr(), nil)
	}
	return n, err
}

func (c *connection) Close() error {
	c.list.remove(c.Conn)
	return c.Conn.Close()
}
