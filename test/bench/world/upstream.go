package world

import (
	"bufio"
	"bytes"
	"net"
	"sync"
)

// What an Upstream answers.
const (
	SawUser   = "user\n"
	SawNobody = "none\n"
)

// Upstream is an application that costs almost nothing: it answers 200 to
// whatever comes, and whether it was told of a user.
type Upstream struct {
	listener net.Listener
	wg       sync.WaitGroup
}

// NewUpstream starts one on a free port.
func NewUpstream() (*Upstream, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &Upstream{listener: l}
	u.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			u.wg.Go(func() { serveUpstream(conn) })
		}
	})
	return u, nil
}

// Address is where it listens.
func (u *Upstream) Address() string { return u.listener.Addr().String() }

// Close stops it and waits for its connections, which their clients end.
func (u *Upstream) Close() error {
	err := u.listener.Close()
	u.wg.Wait()
	return err
}

// serveUpstream reads requests without a body, as the bench sends them.
func serveUpstream(conn net.Conn) {
	defer func() { _ = conn.Close() }() // nothing is lost
	in := bufio.NewReader(conn)
	user := false
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if bytes.HasPrefix(line, []byte("x-user-id: user:")) {
			user = true
		}
		if len(line) > 2 {
			continue
		}
		answer := SawNobody
		if user {
			answer = SawUser
		}
		user = false
		if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + answer)); err != nil {
			return
		}
	}
}
