package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

const (
	maxRedirects           = 2
	maxResponseHeaderBytes = 64 << 10
)

// newTransport makes the transport of a Fetcher, which checks each address that it
// connects to. It speaks HTTP/1.1 alone, one request to a connection: a key set is
// fetched about once an hour, so an open connection would only go stale. It uses no
// proxy, whatever the environment says: the address check would see the proxy's
// address in place of the key server's.
func newTransport(denyPrivate bool, perHost int) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            guardedDial(denyPrivate),
		Protocols:              protocols,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		DisableCompression:     true, // the bound of a body counts the bytes on the wire
		MaxConnsPerHost:        perHost,
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
	}
}

// clientFor returns the client for a source: the shared one, or where the source has
// certificates of its own a new one for each fetch, so that renewed files are read.
func (f *Fetcher) clientFor(cfg *RemoteConfig) (*http.Client, error) {
	if cfg.CAFile == "" && cfg.CertFile == "" {
		return f.client, nil
	}
	guarded, ok := f.cfg.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("certificates of its own need the fetcher's own transport")
	}
	client, transport := *f.client, guarded.Clone()
	client.Transport = transport
	if cfg.CAFile != "" {
		pool, err := CertPool(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if cfg.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{certificate}
	}
	return &client, nil
}

// CertPool reads a file of certificates in PEM. It returns an error where the file
// cannot be read, or holds none.
func CertPool(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", name)
	}
	return pool, nil
}

// guardedDial checks each address when the connection is made, after the name was
// resolved: a check of the name beforehand could see another address than the one that
// is connected to (DNS rebinding).
func guardedDial(denyPrivate bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		local := IsLoopbackHost(host)
		d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("address %s: %w", logtext.Quote(address), err)
			}
			return checkAddress(ap.Addr(), local, denyPrivate)
		}}
		return d.DialContext(ctx, network, addr)
	}
}

// checkRedirect follows redirects within the configured origin only: whoever can make
// that server redirect must not be able to name another server's keys.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "https" || first.Scheme != "https":
		return errors.New("redirect without https: refused")
	case hostPort(req.URL) != hostPort(first), req.URL.User != nil:
		return fmt.Errorf("redirect to another origin (%s): refused, write that URL if it is the right one", logtext.Quote(req.URL.Host))
	}
	return nil
}
