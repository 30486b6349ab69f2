package drive_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/drive"
)

// site is a web server that counts requests by path.
type site struct {
	mu    sync.Mutex
	paths map[string]int
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.paths[r.URL.Path]++
	n := s.paths[r.URL.Path]
	s.mu.Unlock()
	switch {
	case r.URL.Path == "/denied at last" && n >= 50:
		w.WriteHeader(http.StatusForbidden)
	default:
		_, _ = io.WriteString(w, "user\n")
	}
}

func open(t *testing.T) (*site, string) {
	t.Helper()
	s := &site{paths: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, strings.TrimPrefix(server.URL, "http://")
}

func get(path string) []byte { return []byte("GET " + path + " HTTP/1.1\r\nhost: a.example\r\n\r\n") }

func TestHTTP(t *testing.T) {
	s, address := open(t)
	result, err := drive.HTTP{
		Address: address, Requests: [][]byte{get("/a"), get("/b")}, InFlight: 8, For: time.Minute, Checks: 501,
		Want: drive.HTTPWant{Status: 200, Body: "user\n"},
	}.Run()
	if err != nil {
		t.Fatal(err)
	}
	if result.Checks != 501 || len(result.Latencies) != 501 || s.paths["/a"] != 251 || s.paths["/b"] != 250 {
		t.Errorf("%d requests, %d latencies, the server saw %v", result.Checks, len(result.Latencies), s.paths)
	}
}

func TestHTTPEndsInTime(t *testing.T) {
	s, address := open(t)
	result, err := drive.HTTP{Address: address, Requests: [][]byte{get("/a")}, InFlight: 4, For: 50 * time.Millisecond, Want: drive.HTTPWant{Status: 200}}.Run()
	if err != nil {
		t.Fatal(err)
	}
	if result.Checks == 0 || result.Took < 50*time.Millisecond || result.Checks != s.paths["/a"] {
		t.Errorf("%d requests in %v, the server saw %d", result.Checks, result.Took, s.paths["/a"])
	}
}

func TestHTTPRefusesWrongAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		want       drive.HTTPWant
		text       string
	}{
		{"another status at last", "/denied%20at%20last", drive.HTTPWant{Status: 200}, "answer 403"},
		{"another body", "/", drive.HTTPWant{Status: 200, Body: "none\n"}, `"user\n", want 200 "none\n"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, address := open(t)
			_, err := drive.HTTP{Address: address, Requests: [][]byte{get(tt.path)}, InFlight: 2, For: time.Minute, Checks: 100, Want: tt.want}.Run()
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %q", err, tt.text)
			}
		})
	}
	if _, err := (drive.HTTP{Address: "127.0.0.1:1", Requests: [][]byte{get("/")}, InFlight: 1, For: time.Second}).Run(); err == nil {
		t.Error("nobody listens there")
	}
}
