// Package redistest runs a real Redis for tests: the redis-server that is
// installed, in a folder of its own. Where there is none the test fails.
package redistest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is one Redis, on a unix socket and, with TLS, on a port of loopback. It
// ends with the test.
type Server struct {
	URL    string // of the socket
	Dir    string
	args   []string
	t      testing.TB
	daemon *exec.Cmd
	ended  chan struct{}
}

// New makes a server that is not started yet. It keeps nothing over a restart
// unless args say so.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	s := &Server{URL: "unix://" + socket, Dir: dir, t: t}
	s.args = append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir, "--logfile", filepath.Join(dir, "log")}, args...)
	t.Cleanup(func() {
		if s.daemon != nil {
			s.Kill()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start makes and starts one.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := New(t, args...)
	s.Start()
	return s
}

// Start starts it and waits until it has read its data.
func (s *Server) Start() {
	s.t.Helper()
	_ = os.Remove(filepath.Join(s.Dir, "s"))                                      // of a server that was killed
	daemon, ended := exec.Command("redis-server", s.args...), make(chan struct{}) // #nosec G204 -- a test names the arguments
	var out bytes.Buffer
	daemon.Stdout, daemon.Stderr = &out, &out
	if err := daemon.Start(); err != nil {
		s.t.Fatalf("no Redis: apt-get install redis-server: %v", err)
	}
	s.daemon, s.ended = daemon, ended
	go func() {
		_ = daemon.Wait() // it is killed
		close(ended)
	}()
	for range 1000 {
		if s.answers() {
			return
		}
		select {
		case <-ended:
			log, _ := os.ReadFile(filepath.Join(s.Dir, "log")) // there may be none
			s.t.Fatalf("redis-server ended at its start: %s%s", &out, log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.t.Fatal("redis-server does not answer")
}

// answers reports whether it does, be it to ask for a password: it does neither
// while it loads.
func (s *Server) answers() bool {
	c, err := net.Dial("unix", filepath.Join(s.Dir, "s"))
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }() // it was read
	answer := make([]byte, 64)
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	n, err := c.Read(answer)
	return err == nil && !bytes.HasPrefix(answer[:n], []byte("-LOADING"))
}

// Kill ends it at once, as a fallen machine would.
func (s *Server) Kill() {
	_ = s.daemon.Process.Kill() // it ended already
	<-s.ended
	s.daemon = nil
}

// Stop ends it in order, as a restart begins.
func (s *Server) Stop() {
	s.signal(syscall.SIGTERM)
	<-s.ended
	s.daemon = nil
}

// Forget loses what a server that does not run kept on its disk.
func (s *Server) Forget() {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.Dir, "appendonlydir")); err != nil {
		s.t.Fatal(err)
	}
}

// Pause lets it keep its connections and answer nobody, until Resume.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.daemon.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Do sends one command.
func (s *Server) Do(args ...any) {
	s.t.Helper()
	opt, err := redis.ParseURL(s.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	opt.ReadTimeout = time.Minute
	client := redis.NewClient(opt)
	defer func() { _ = client.Close() }() // it was answered
	if err := client.Do(context.Background(), args...).Err(); err != nil && err != redis.Nil {
		s.t.Fatalf("%v: %v", args[0], err)
	}
}

// FreePort is a port of loopback on which nobody listened a moment ago.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // only its number was wanted
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
