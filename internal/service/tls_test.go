package service_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ussoio/ussoauthz/internal/config"
)

// authority is a CA of the test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// issue makes a certificate with a DNS name and a URI, unless they are empty.
func (a *authority) issue(t *testing.T, dns, uri string, serial ...int64) tls.Certificate {
	t.Helper()
	serial = append(serial, 2)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial[0]), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if dns != "" {
		template.DNSNames = []string{dns}
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Who may ask: nobody in plaintext, nobody of another CA, and of ours only the
// names on the list.
func TestMutualTLS(t *testing.T) {
	ca, otherCA, dir := newAuthority(t), newAuthority(t), t.TempDir()
	server := ca.issue(t, "authz.internal", "")
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", server.Certificate[0])
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", key)
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.cert.Raw)
	issuer := newIssuer(t)
	s := start(t, parse(t, issuer, `tls:
  cert_file: `+dir+`/cert.pem
  key_file: `+dir+`/key.pem
  client_ca_file: `+dir+`/ca.pem
  peers: ["spiffe://mesh/envoy", envoy.internal]
require_tls: true`))
	token := mint(t, issuer, nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := func(version uint16, certs ...tls.Certificate) credentials.TransportCredentials {
		return credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "authz.internal", Certificates: certs, MinVersion: tls.VersionTLS10, MaxVersion: version})
	}
	for _, tt := range []struct {
		name  string
		creds credentials.TransportCredentials
		ok    bool
	}{
		{"the URI on the list", client(0, ca.issue(t, "", "spiffe://mesh/envoy")), true},
		{"the DNS name on the list", client(0, ca.issue(t, "envoy.internal", "")), true},
		{"the right name beside a wrong one", client(0, ca.issue(t, "envoy.internal", "spiffe://mesh/other")), true},
		{"TLS 1.2", client(tls.VersionTLS12, ca.issue(t, "envoy.internal", "")), true},
		{"another URI", client(0, ca.issue(t, "", "spiffe://mesh/billing")), false},
		{"a longer DNS name", client(0, ca.issue(t, "x.envoy.internal", "")), false},
		{"no name", client(0, ca.issue(t, "", "")), false},
		{"another CA", client(0, otherCA.issue(t, "envoy.internal", "spiffe://mesh/envoy")), false},
		{"no certificate", client(0), false},
		{"TLS 1.1", client(tls.VersionTLS11, ca.issue(t, "envoy.internal", "")), false},
		{"plaintext", insecure.NewCredentials(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reason, err := check(t, dial(t, s.Address(), tt.creds), token)
			switch {
			case tt.ok && (err != nil || reason != "allowed"):
				t.Errorf("%s %v", reason, err)
			case !tt.ok && status.Code(err) != codes.Unavailable:
				t.Errorf("%s %v: it was let in", reason, err)
			}
		})
	}
}

// served is the certificate that the listener shows now.
func served(t *testing.T, s *running, roots *x509.CertPool) *big.Int {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Address().String(), &tls.Config{RootCAs: roots, ServerName: "authz.internal", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // the handshake was all
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// A renewed certificate is taken without a restart, and a broken one is not.
func TestCertificateReload(t *testing.T) {
	ca, dir, issuer := newAuthority(t), t.TempDir(), newIssuer(t)
	put := func(serial int64, broken bool) {
		t.Helper()
		cert := ca.issue(t, "authz.internal", "", serial)
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		if broken {
			key = key[:10]
		}
		writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", key)
		writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", cert.Certificate[0])
	}
	put(10, false)
	settings := "tls: {cert_file: " + dir + "/cert.pem, key_file: " + dir + "/key.pem}"
	cfg := parse(t, issuer, settings)
	if err := os.WriteFile(cfg.Path, []byte("listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n"+settings+`
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, jwks_file: keys.json}
routes:
  - match: /
`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, cfg)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	shows := func(want int64) bool { return served(t, s, roots).Int64() == want }
	if !shows(10) {
		t.Fatal("not the first certificate")
	}
	put(11, false)
	for limit := time.Now().Add(20 * time.Second); !shows(11); {
		if time.Now().After(limit) {
			t.Fatal("the renewed certificate is not taken")
		}
	}
	put(12, true)
	s.Reload()
	for limit := time.Now().Add(20 * time.Second); ; {
		if _, body := get(t, "http://"+s.AdminAddress().String()+"/readyz?verbose"); strings.Contains(body, `"error"`) {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the broken certificate is not reported")
		}
	}
	if !shows(11) {
		t.Error("the broken certificate took effect")
	}
}

// A client CA that a reload took away lets nobody in, a caller with a session of
// its day included: that one's certificate would not be looked at again.
func TestClientCAReload(t *testing.T) {
	ca, gone, next := newAuthority(t), newAuthority(t), newAuthority(t)
	r := startReloading(t)
	server := ca.issue(t, "authz.internal", "")
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(r.dir, "cert.pem"), "CERTIFICATE", server.Certificate[0])
	writePEM(t, filepath.Join(r.dir, "key.pem"), "PRIVATE KEY", key)
	writePEM(t, filepath.Join(r.dir, "ca.pem"), "CERTIFICATE", gone.cert.Raw)
	r.end(t) // TLS begins with a start
	r.configure(t, "routes: [{match: /}]\ntls: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem}")
	cfg, err := config.Load(filepath.Join(r.dir, "ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r.running = start(t, cfg)

	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	asks := func(cert tls.Certificate, version uint16, sessions tls.ClientSessionCache) bool {
		creds := credentials.NewTLS(&tls.Config{
			RootCAs: roots, ServerName: "authz.internal", Certificates: []tls.Certificate{cert}, MaxVersion: version, ClientSessionCache: sessions,
		})
		reason, err := check(t, dial(t, r.Address(), creds), r.token)
		return err == nil && reason == "allowed"
	}
	versions := map[uint16]tls.ClientSessionCache{tls.VersionTLS12: tls.NewLRUClientSessionCache(4), tls.VersionTLS13: tls.NewLRUClientSessionCache(4)}
	old, young := gone.issue(t, "envoy.internal", ""), next.issue(t, "envoy.internal", "")
	for version, sessions := range versions {
		for range 2 { // the second time by the session of the first
			if !asks(old, version, sessions) {
				t.Fatal("not the first CA")
			}
		}
		if asks(young, version, nil) {
			t.Fatal("not the first CA alone")
		}
	}
	writePEM(t, filepath.Join(r.dir, "ca.pem"), "CERTIFICATE", next.cert.Raw)
	r.Reload()
	eventually(t, func() bool { return asks(young, 0, nil) }, func() string { return "the new CA is not taken" })
	for version, sessions := range versions {
		if asks(old, version, sessions) {
			t.Errorf("%s: a session of the old CA goes on", tls.VersionName(version))
		}
	}
}
