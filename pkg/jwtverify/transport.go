package jwtverify

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
				return fmt.Errorf("address %s: %w", quote(address), err)
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
	ip = embedded(ip.WithZone("").Unmap())
	if ip.IsLoopback() != local {
		if local {
			return fmt.Errorf("loopback host resolves to %s", ip)
		}
		return fmt.Errorf("name resolves to loopback (%s): write localhost or the address in the URL", ip)
	}
	if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return fmt.Errorf("address %s is link-local, multicast or unspecified: refused", ip)
	}
	if never := [...]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 8),                             // "this network"
		netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4),                          // reserved, broadcast
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2}), 32), // EC2 metadata, over IPv6
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 100, 100, 200}), 32),          // Alibaba Cloud's
		netip.PrefixFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 32),            // Azure's WireServer
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 0, 192}), 32),              // Oracle Cloud's
	}; within(ip, never[:]) {
		return fmt.Errorf("address %s is reserved: refused", ip)
	}
	if denyPrivate && isPrivate(ip) {
		return fmt.Errorf("address %s is private: refused", ip)
	}
	return nil
}

func isPrivate(ip netip.Addr) bool {
	more := [...]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10),      // shared by carriers and clouds (RFC 6598)
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 0}), 24),    // RFC 6890
		netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18}), 15),      // RFC 2544
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0xc0}), 10), // site-local (RFC 3879)
	}
	return ip.IsPrivate() || within(ip, more[:])
}

func within(ip netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// embedded returns the IPv4 address that a NAT64 (RFC 6052, 64:ff9b::/96)
// address leads to, and any other address as it is.
func embedded(ip netip.Addr) netip.Addr {
	b := ip.As16()
	if ip.Is6() && [12]byte(b[:12]) == [12]byte{1: 0x64, 2: 0xff, 3: 0x9b} {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip
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
		return fmt.Errorf("redirect to another origin (%s): refused, write that URL if it is the right one", quote(req.URL.Host))
	}
	return nil
}
