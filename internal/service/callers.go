package service

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// mismatch is a protocol of a caller that the listener does not speak. Without a log
// line such a mistake is hard to find: grpc-go closes the connection silently, and
// Envoy answers every request with 503.
type mismatch uint8

const (
	matches mismatch = iota
	speaksHTTP1
	speaksTLS
	speaksProxy
	speaksOther
	speaksPlaintext
	speaksTLSWithoutHTTP2
	handshakeFailed
	mismatches // their number
)

// advice says what the caller does, and what to write in Envoy's configuration.
var advice = [mismatches]string{
	speaksHTTP1:           "a caller speaks HTTP/1.1: set http2_protocol_options on the cluster",
	speaksTLS:             "a caller speaks TLS, and this listener is plaintext: remove the cluster's transport_socket, or set tls.cert_file and tls.key_file here",
	speaksProxy:           "a caller sends the PROXY protocol: remove the cluster's transport socket upstream_proxy_protocol",
	speaksOther:           "a caller speaks neither HTTP/2 nor HTTP/1.1 nor TLS: this port answers Envoy's gRPC checks alone",
	speaksPlaintext:       "a caller speaks plaintext, and this listener is TLS: give the cluster a transport_socket with an UpstreamTlsContext",
	speaksTLSWithoutHTTP2: "a caller speaks TLS without HTTP/2: set http2_protocol_options on the cluster",
	handshakeFailed:       "a caller's TLS handshake failed: compare its certificate and CA with tls.client_ca_file and tls.peers, and the CA that it trusts with tls.cert_file",
}

// preface is the start of every HTTP/2 connection (RFC 9113, 3.4), as far as it
// takes to tell it from the rest.
var preface = []byte("PRI * HT")

// protocolOf classifies the first bytes of a plaintext connection. It is not
// sure while more bytes could change the answer; with a preface's worth it is.
func protocolOf(start []byte) (m mismatch, sure bool) {
	method, _, spaced := bytes.Cut(start, []byte{' '})
	switch {
	case bytes.HasPrefix(preface, start), bytes.HasPrefix(start, preface):
		return matches, len(start) >= len(preface)
	case len(start) >= 2 && start[0] == 0x16 && start[1] == 3: // a handshake record of TLS 1.x
		return speaksTLS, true
	case bytes.HasPrefix(start, []byte("PROXY ")), bytes.HasPrefix(start, []byte("\r\n\r\n\x00")): // versions 1 and 2
		return speaksProxy, true
	case spaced && len(method) >= 3 && len(bytes.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")) == 0:
		return speaksHTTP1, true
	}
	return speaksOther, len(start) >= len(preface)
}

// opening holds the first bytes of a connection until they are classified.
type opening struct {
	start [8]byte
	n     int
	done  bool
}

// add classifies the bytes so far. It returns matches as long as it is not sure.
func (o *opening) add(b []byte) mismatch {
	o.n += copy(o.start[o.n:], b)
	m, sure := protocolOf(o.start[:o.n])
	if !sure {
		return matches
	}
	o.done = true
	return m
}

// callers logs connections that can't become gRPC, once a minute for each kind: a
// misconfigured Envoy connects again for each request.
type callers struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds [mismatches]struct {
		last time.Time
		more int // since the last line
	}
}

const reportEvery = time.Minute

// report logs a mismatch. err is nil but for a handshake.
func (c *callers) report(m mismatch, from net.Addr, err error) {
	if m == matches {
		return
	}
	connections := c.count(m)
	if connections == 0 {
		return
	}
	attrs := []any{slog.String("caller", from.String()), slog.Int("connections", connections)}
	if m == handshakeFailed {
		attrs = append(attrs, slog.String("error", shortened(err.Error())))
	}
	c.log.Warn(advice[m], attrs...)
}

// count counts a connection. It returns 0 if the last line of this kind is younger
// than a minute, otherwise how many connections the next line stands for.
func (c *callers) count(m mismatch) (connections int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind, now := &c.kinds[m], time.Now()
	kind.more++
	if !kind.last.IsZero() && now.Sub(kind.last) < reportEvery {
		return 0
	}
	connections, kind.more, kind.last = kind.more, 0, now
	return connections
}

// shortened bounds the text that a caller's certificate can write to the log.
func shortened(text string) string {
	const most = 300
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// reportingCredentials are TLS credentials that log failed handshakes.
type reportingCredentials struct {
	credentials.TransportCredentials
	callers *callers
}

func (r reportingCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := r.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		r.callers.report(handshakeMismatch(err), conn.RemoteAddr(), err)
	}
	return secured, info, err
}

func (r reportingCredentials) Clone() credentials.TransportCredentials {
	return reportingCredentials{r.TransportCredentials.Clone(), r.callers}
}

// handshakeMismatch classifies the error of a handshake. A caller that goes
// away, or says nothing in time, is a probe of the port and no mismatch.
func handshakeMismatch(err error) mismatch {
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		return speaksPlaintext
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, os.ErrDeadlineExceeded):
		return matches
	// These errors have no types: the first is grpc-go's, the second crypto/tls's.
	case strings.Contains(err.Error(), "missing selected ALPN property"),
		strings.Contains(err.Error(), "unsupported application protocols"):
		return speaksTLSWithoutHTTP2
	}
	return handshakeFailed
}
