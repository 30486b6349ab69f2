package jwks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// authority is a certificate authority of nobody's system.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key))))
	return a
}

// issue writes a certificate and its key to cert.pem and key.pem.
func (a *authority) issue(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key))
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private)))
	return cert, key
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An issuer with a certificate of a private authority, which requires client certificates.
func TestCertificatesOfAnIssuer(t *testing.T) {
	inner, other := newAuthority(t), newAuthority(t)
	cert, key := inner.issue(t, t.TempDir())
	clients := x509.NewCertPool()
	clients.AddCert(inner.cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keySetOf("a")) }))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{must(tls.LoadX509KeyPair(cert, key))}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes
	server.StartTLS()
	defer server.Close()

	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	writePEM(t, ca, "CERTIFICATE", inner.cert.Raw)
	wrongCA := filepath.Join(dir, "wrong.pem")
	writePEM(t, wrongCA, "CERTIFICATE", other.cert.Raw)
	ownCert, ownKey := inner.issue(t, dir)
	foreignCert, foreignKey := other.issue(t, t.TempDir())

	for name, tt := range map[string]struct {
		cfg  jwks.RemoteConfig
		want string // of the error; "": keys
	}{
		"both":                       {jwks.RemoteConfig{CAFile: ca, CertFile: ownCert, KeyFile: ownKey}, ""},
		"the system's authorities":   {jwks.RemoteConfig{CertFile: ownCert, KeyFile: ownKey}, "unknown authority"},
		"another authority":          {jwks.RemoteConfig{CAFile: wrongCA, CertFile: ownCert, KeyFile: ownKey}, "unknown authority"},
		"no certificate of our own":  {jwks.RemoteConfig{CAFile: ca}, "tls: "},
		"one of another authority":   {jwks.RemoteConfig{CAFile: ca, CertFile: foreignCert, KeyFile: foreignKey}, "tls: "},
		"a file that is gone":        {jwks.RemoteConfig{CAFile: filepath.Join(dir, "gone.pem")}, "no such file"},
		"a file that is none of PEM": {jwks.RemoteConfig{CAFile: ca, CertFile: ca, KeyFile: ca}, "client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			f := jwks.NewFetcher(jwks.FetcherConfig{})
			defer f.Close()
			tt.cfg.URL = server.URL
			r := open(t, f, tt.cfg)
			defer r.Close()
			fetched(t, r)
			if tt.want != "" {
				expectError(t, r, tt.want)
				return
			}
			find(t, r, "a", nil)
		})
	}
}
