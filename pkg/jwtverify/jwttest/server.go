package jwttest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Server publishes an issuer's keys over HTTP on 127.0.0.1 and counts how often
// they are fetched. It is safe for concurrent use.
type Server struct {
	issuer *Issuer
	http   *httptest.Server

	mu      sync.Mutex
	fetches int
	down    bool
	handler http.Handler
}

// The paths that a Server serves.
const (
	jwksPath      = "/.well-known/jwks.json"
	discoveryPath = "/.well-known/openid-configuration"
)

// NewServer starts a server on a free port. The caller must Close it.
func NewServer(i *Issuer) *Server {
	s := &Server{issuer: i}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// URL returns the server's base URL, without a slash at its end.
func (s *Server) URL() string { return s.http.URL }

// JWKSURL returns the URL of the key set.
func (s *Server) JWKSURL() string { return s.http.URL + jwksPath }

// DiscoveryURL returns the URL of the OpenID discovery document.
func (s *Server) DiscoveryURL() string { return s.http.URL + discoveryPath }

// Fetches returns the number of requests for the key set, answered or not.
func (s *Server) Fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// SetDown(true) makes every answer a 503; SetDown(false) ends that.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// SetHandler lets h answer the requests for the key set, in place of the issuer's keys;
// nil ends that. Fetches counts them all the same.
func (s *Server) SetHandler(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

// Close stops the server and waits for its requests.
func (s *Server) Close() { s.http.Close() }

// CloseClientConnections breaks every open connection.
func (s *Server) CloseClientConnections() { s.http.CloseClientConnections() }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if r.URL.Path == jwksPath {
		s.fetches++
	}
	down, handler := s.down, s.handler
	s.mu.Unlock()

	switch {
	case down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case r.URL.Path == jwksPath && handler != nil:
		handler.ServeHTTP(w, r)
	case r.URL.Path == jwksPath:
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(s.issuer.JWKS())
	case r.URL.Path == discoveryPath:
		s.serveDiscovery(w)
	default:
		http.NotFound(w, r)
	}
}

// serveDiscovery names the issuer's own iss, or this server where it has none.
func (s *Server) serveDiscovery(w http.ResponseWriter) {
	issuer := s.issuer.issuer
	if issuer == "" {
		issuer = s.URL()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": s.JWKSURL()})
}
