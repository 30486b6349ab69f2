package service_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/envoy"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/service"
)

// startLogged is start with a log to read.
func startLogged(t *testing.T, cfg *config.Config) (*running, *journal) {
	t.Helper()
	log := &journal{}
	s, err := service.New(t.Context(), cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s), log
}

// The first bytes of a caller that would be silent on both sides, and the words
// that say what to change.
var firstBytes = map[string]string{
	"POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\r\n": "set http2_protocol_options on the cluster",
	"GET / HTTP/1.0\r\n\r\n":                 "a caller speaks HTTP/1.1",
	"OPTIONS * HTTP/1.1\r\n":                 "a caller speaks HTTP/1.1",
	"\x16\x03\x01\x02\x00\x01":               "a caller speaks TLS",
	"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n": "a caller sends the PROXY protocol",
	"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c": "a caller sends the PROXY protocol",
	"\x00\x00\x00\x00\x00\x00\x00\x00":       "speaks neither",
	"PRI * HTML/1.0":                         "", // as far as is looked at it is HTTP/2; grpc-go closes it
	http2.ClientPreface:                      "",
	"P":                                      "",
	"\x16":                                   "",
	"post /envoy.service.auth.v3.Authorization/Check ": "speaks neither",
}

// listening accepts on l and reads what comes, as a server would.
func listening(l net.Listener) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	return func() { <-done }
}

// However the bytes are cut, the line is the same.
func TestCallersOfAnotherProtocol(t *testing.T) {
	for bytes, want := range firstBytes {
		for _, size := range []int{1, 2, 3, 7, len(bytes)} {
			synctest.Test(t, func(t *testing.T) {
				log := &journal{}
				m := &memory{conns: make(chan net.Conn), done: make(chan struct{})}
				wait := listening(service.Bounded(m, 8, slog.New(slog.NewTextHandler(log, nil))))
				ours, theirs := net.Pipe()
				m.conns <- theirs
				for rest := bytes; rest != ""; rest = rest[min(size, len(rest)):] {
					if _, err := ours.Write([]byte(rest[:min(size, len(rest))])); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				lines := strings.Count(log.String(), "level=WARN")
				if (want == "") != (lines == 0) || lines > 1 || !strings.Contains(log.String(), want) {
					t.Errorf("%.20q in pieces of %d: want one line with %q:\n%s", bytes, size, want, log)
				}
				_, _ = ours.Close(), m.Close()
				wait()
			})
		}
	}
}

// An Envoy that is misconfigured tries for each request: a line a minute says
// how often, and one kind does not hide another.
func TestCallersAreReportedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &journal{}
		m := &memory{conns: make(chan net.Conn), done: make(chan struct{})}
		wait := listening(service.Bounded(m, 8, slog.New(slog.NewTextHandler(log, nil))))
		call := func(start string) {
			ours, theirs := net.Pipe()
			m.conns <- theirs
			_, _ = ours.Write([]byte(start))
			_ = ours.Close()
		}
		for range 150 { // 2.5 minutes
			call("GET / HTTP/1.1\r\n")
			time.Sleep(time.Second)
		}
		call("\x16\x03\x01")
		synctest.Wait()
		if n := strings.Count(log.String(), "HTTP/1.1"); n != 3 {
			t.Errorf("%d lines in 2.5 minutes, want 3", n)
		}
		for _, want := range []string{"connections=1\n", "connections=60\n", "a caller speaks TLS"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %q in\n%s", want, log)
			}
		}
		_ = m.Close()
		wait()
	})
}

// tlsSettings writes a certificate, and returns the settings of a listener that
// has it and asks for clients' certificates or not.
func tlsSettings(t *testing.T, ca *authority, mutual bool) string {
	t.Helper()
	dir, server := t.TempDir(), ca.issue(t, "authz.internal", "")
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", server.Certificate[0])
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", key)
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.cert.Raw)
	clientCA := ""
	if mutual {
		clientCA = ", client_ca_file: " + dir + "/ca.pem"
	}
	return fmt.Sprintf("tls: {cert_file: %[1]s/cert.pem, key_file: %[1]s/key.pem%s}", dir, clientCA)
}

// What a TLS listener says of handshakes that fail, and that a probe of the port
// is none.
func TestHandshakesThatFail(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	with := func(cert tls.Certificate, protocols ...string) func(net.Conn) {
		return func(conn net.Conn) {
			secured := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "authz.internal", Certificates: []tls.Certificate{cert}, NextProtos: protocols})
			if secured.Handshake() == nil {
				_, _ = secured.Read(make([]byte, 1)) // of TLS 1.3, the server's refusal comes later
			}
		}
	}
	good := ca.issue(t, "envoy.internal", "")
	for name, tt := range map[string]struct {
		want string
		call func(net.Conn)
	}{
		"HTTP/1.1 in plaintext":    {"give the cluster a transport_socket", func(c net.Conn) { fmt.Fprint(c, "POST / HTTP/1.1\r\n\r\n"); _, _ = io.ReadAll(c) }},
		"HTTP/2 in plaintext":      {"give the cluster a transport_socket", func(c net.Conn) { fmt.Fprint(c, http2.ClientPreface); _, _ = io.ReadAll(c) }},
		"TLS with HTTP/1.1":        {"a caller speaks TLS without HTTP/2", with(good, "http/1.1")},
		"TLS without ALPN":         {"a caller speaks TLS without HTTP/2", with(good)},
		"TLS with other protocols": {"a caller speaks TLS without HTTP/2", with(good, "istio")},
		"a certificate of another": {"TLS handshake failed", with(other.issue(t, "envoy.internal", ""), "h2")},
		"no certificate":           {"TLS handshake failed", with(tls.Certificate{}, "h2")},
		"a probe of the port":      {"", func(net.Conn) {}},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := startLogged(t, parse(t, newIssuer(t), tlsSettings(t, ca, true)))
			conn, err := net.Dial("tcp", s.Address().String())
			if err != nil {
				t.Fatal(err)
			}
			tt.call(conn)
			_ = conn.Close() // the server may have done so
			if tt.want != "" {
				eventually(t, func() bool { return strings.Contains(log.String(), tt.want) }, func() string {
					return fmt.Sprintf("no %q in\n%s", tt.want, log)
				})
			}
			s.end(t) // all connections are handled by then
			if n := strings.Count(log.String(), "level=WARN"); (tt.want == "") != (n == 0) || n > 1 {
				t.Errorf("%d lines:\n%s", n, log)
			}
		})
	}
}

// Good callers have nothing said about them.
func TestGoodCallersAreNotReported(t *testing.T) {
	issuer := newIssuer(t)
	s, log := startLogged(t, parse(t, issuer, ""))
	if reason, err := check(t, dial(t, s.Address(), insecure.NewCredentials()), mint(t, issuer, nil)); err != nil || reason != "allowed" {
		t.Fatalf("%s %v", reason, err)
	}
	s.end(t)
	if strings.Contains(log.String(), "caller") {
		t.Error(log)
	}
}

// The cluster's lines of envoy.yaml, and the ways to get them wrong.
const (
	http2Options = `      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              connection_keepalive: {interval: 30s, timeout: 5s}
`
	transportSocket = `      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
`
)

// TestMisconfiguredEnvoy runs envoy.yaml with its cluster broken in the real
// Envoy: requests are 503, and the service's log says why.
func TestMisconfiguredEnvoy(t *testing.T) {
	binary, err := envoybin.Find(t.Context(), "../../.cache", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	oneSided, mutual := tlsSettings(t, ca, false), tlsSettings(t, ca, true)
	for name, tt := range map[string]struct{ settings, cluster, want string }{
		"HTTP/1.1":               {"", "", "a caller speaks HTTP/1.1: set http2_protocol_options on the cluster"},
		"TLS to plaintext":       {"", http2Options + transportSocket, "a caller speaks TLS, and this listener is plaintext"},
		"plaintext to TLS":       {oneSided, http2Options, "a caller speaks plaintext, and this listener is TLS"},
		"HTTP/1.1 in TLS":        {oneSided, transportSocket, "a caller speaks TLS without HTTP/2"},
		"TLS without a client's": {mutual, http2Options + transportSocket, "a caller's TLS handshake failed"},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := startLogged(t, parse(t, newIssuer(t), tt.settings))
			file, err := envoy.Config(envoy.Ports{Edge: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: s.Address().String()})
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(string(file), http2Options, tt.cluster, 1)
			if tt.cluster != http2Options && text == string(file) {
				t.Fatal("envoy.yaml has its http2 options elsewhere")
			}
			// Envoy refuses gRPC health checks of a cluster without HTTP/2.
			before, checks, _ := strings.Cut(text, "      health_checks:\n")
			_, after, found := strings.Cut(checks, "      load_assignment:\n")
			if !found {
				t.Fatal("envoy.yaml has its health checks elsewhere")
			}
			text = before + "      load_assignment:\n" + after
			process, err := envoybin.Start(t.Context(), binary, []byte(text), io.Discard, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := process.Close(); err != nil {
					t.Error(err)
				}
			}()
			address, err := process.Listener(t.Context(), "edge")
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.Get("http://" + address)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("status %d, want 503", resp.StatusCode)
			}
			eventually(t, func() bool { return strings.Contains(log.String(), tt.want) }, func() string {
				return fmt.Sprintf("no %q in\n%s", tt.want, log)
			})
		})
	}
}
