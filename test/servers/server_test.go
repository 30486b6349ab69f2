//go:build interop || servers

package servers

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
)

// server is a real web server with the application of the tests.
type server struct {
	name string // its column in the tables
	// command returns what to run. A dir is for its files alone; ${PORT} is in
	// the environment.
	command func(t testing.TB, dir, port string) (path string, args, env []string)
	address string // host:port, once it runs
}

// run starts the server and waits until it answers. It ends with the test.
func (s *server) run(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	s.address = freePort(t)
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	path, args, env := s.command(t, dir, port)
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	env = append([]string{"PORT=" + port, "DIR=" + dir}, env...)
	p, err := stack.StartProcess(s.name, log, env, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !p.Ended() {
			_ = p.Stop(20 * time.Second) // some end by the signal, which is no failure
		}
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the log of %s (%v):\n%s", s.name, err, text[max(0, len(text)-4<<10):])
		}
	})
	for begun := time.Now(); !answers(s.address); time.Sleep(20 * time.Millisecond) {
		if p.Ended() {
			t.Fatalf("%s ended at its start", s.name)
		}
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("%s did not answer within two minutes", s.name)
		}
	}
}

func answers(address string) bool {
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get("http://" + address + "/")
	if err != nil {
		return false
	}
	_ = res.Body.Close() // nothing is read from it
	return res.StatusCode == http.StatusOK
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // only its number was wanted
	return l.Addr().String()
}

// cache is a folder for what is installed once.
func cache(name string) string { return filepath.Join("..", "..", ".cache", "servers", name) }

// filled writes a template with ${NAME} of the pairs filled in, and returns
// the new file.
func filled(t testing.TB, template, dir string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, filepath.Base(template))
	if err := os.WriteFile(file, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// filledIn puts the port into arguments.
func filledIn(args []string, port string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = strings.ReplaceAll(arg, "${PORT}", port)
	}
	return out
}

// absolute is a path that holds in every working directory.
func absolute(t testing.TB, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

// write writes small files into a folder.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(fmt.Errorf("writing %s: %w", name, err))
		}
	}
}
