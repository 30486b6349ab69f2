package service

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/ussoio/ussoauthz/internal/config"
)

// listenerTLS names the files and peers of the gRPC listener's TLS. The zero value is
// plaintext.
type listenerTLS struct {
	Cert, Key string
	ClientCA  string   // set: callers must present a certificate of this CA
	Peers     []string // set: and it must have one of these URI or DNS names as SAN
}

func tlsFiles(cfg *config.Config) listenerTLS {
	return listenerTLS{Cert: cfg.TLS.CertFile, Key: cfg.TLS.KeyFile, ClientCA: cfg.TLS.ClientCAFile, Peers: cfg.TLS.Peers}
}

// load returns nil for plaintext.
func (f listenerTLS) load() (*tls.Config, error) {
	if f.Cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("loading the TLS certificate: %w", err)
	}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2"},
		// A session ticket vouches for a certificate that was verified under the
		// CA of its time, and outlives a reload that removes that CA. Envoy's few
		// connections are long: full handshakes cost nothing.
		SessionTicketsDisabled: true,
	}
	if f.ClientCA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("loading the client CA: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("loading the client CA: no certificate in %s", f.ClientCA)
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	if len(f.Peers) > 0 {
		cfg.VerifyConnection = func(state tls.ConnectionState) error { return f.checkPeer(state) }
	}
	return cfg, nil
}

var errPeer = errors.New("the caller's certificate has none of the names in tls.peers")

// checkPeer compares the caller's subject alternative names with the list. The
// chain was verified before; a resumed session comes here as well.
func (f listenerTLS) checkPeer(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errPeer
	}
	leaf := state.PeerCertificates[0]
	for _, uri := range leaf.URIs {
		if slices.Contains(f.Peers, uri.String()) {
			return nil
		}
	}
	for _, name := range leaf.DNSNames {
		if slices.Contains(f.Peers, name) {
			return nil
		}
	}
	return errPeer
}
