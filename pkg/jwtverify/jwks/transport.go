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
	maxRedirects   = 2
	maxHeaderReply = 64 << 10
)

// newTransport makes the guarded transport of a Fetcher. It speaks HTTP/1.1
// alone, one request to a connection: a key set is asked for once in an hour,
// and so nothing is left open and no connection can be found dead. It uses no
// proxy, whatever the environment says: the dial filter would see the proxy's
// address and not that of the key server.
func newTransport(denyPrivate bool, perHost int) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            guardedDial(denyPrivate),
		Protocols:              protocols,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		DisableCompression:     true, // the bound of a body is that of its bytes on the wire
		MaxConnsPerHost:        perHost,
		MaxResponseHeaderBytes: maxHeaderReply,
	}
}

// withFiles is the client for a source that has certificates of its own. It is
// made anew for each fetch, as the files may be.
func (f *Fetcher) withFiles(cfg *RemoteConfig) (*http.Client, error) {
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

// CertPool reads a file of PEM certificates.
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

// guardedDial checks each address when the connection is made, after the name
// was resolved: a check of the name beforehand could be told another address
// (DNS rebinding).
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

// checkAddress refuses the addresses where no key server is: those of cloud
// metadata services above all, which a redirect, a jwks_uri or a DNS answer
// may point to (server-side request forgery). local says that the URL itself
// names loopback, where plain http is accepted; so it must be loopback.
func checkAddress(ip netip.Addr, local, denyPrivate bool) error {
	ip = ip.WithZone("").Unmap()
	if local {
		if !ip.IsLoopback() {
			return fmt.Errorf("loopback host resolves to %s", ip)
		}
		return nil
	}
	if err := checkRange(ip, denyPrivate); err != nil {
		return err
	}
	// A gateway on the way, or this machine's own tunnel, unwraps an IPv6 address
	// and connects to the IPv4 address in it: that one must pass as well.
	for _, inner := range embedded(ip) {
		if err := checkRange(inner, denyPrivate); err != nil {
			return fmt.Errorf("address %s leads to another: %w", ip, err)
		}
	}
	return nil
}

// checkRange judges an address by the range that it is in.
func checkRange(ip netip.Addr, denyPrivate bool) error {
	switch {
	case ip.IsLoopback():
		return fmt.Errorf("name resolves to loopback (%s): write localhost or the address in the URL", ip)
	case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast():
		return fmt.Errorf("address %s is link-local, multicast or unspecified: refused", ip)
	case within(ip, neverRanges):
		return fmt.Errorf("address %s is reserved: refused", ip)
	case denyPrivate && (ip.IsPrivate() || within(ip, privateRanges)):
		return fmt.Errorf("address %s is private: refused", ip)
	}
	return nil
}

func within(ip netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// checkRedirect keeps a fetch with the origin that the operator configured:
// whoever can make that server redirect must not choose another's keys.
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
