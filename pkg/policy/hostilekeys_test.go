package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// modulus is an odd number of so many bytes, which nobody can tell from a product of two primes.
func modulus(size int) *big.Int {
	b := []byte(strings.Repeat("\xc5", size))
	return new(big.Int).SetBytes(b)
}

func rsaKey(size int) string {
	return fmt.Sprintf(`{"kty":"RSA","e":"AQAB","n":%q}`, base64.RawURLEncoding.EncodeToString(modulus(size).Bytes()))
}

func hugeRSAKey(size int) string { return rsaKey(size) }

var signer = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

// certificate signs what it is given; of an authority, so that it can stand anywhere in a chain.
func certificate(public any, template *x509.Certificate) string {
	template.SerialNumber = big.NewInt(1)
	template.Subject = pkix.Name{CommonName: "a"}
	template.NotBefore, template.NotAfter = time.Unix(0, 0), time.Unix(1<<33, 0)
	template.BasicConstraintsValid, template.IsCA = true, true
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func certificates() string {
	one := certificate(signer().Public(), &x509.Certificate{})
	return strings.Repeat(one, mebibyte/len(one))
}

func certificateOf(size int) string {
	return certificate(&rsa.PublicKey{N: modulus(size), E: 65537}, &x509.Certificate{}) + certificate(signer().Public(), &x509.Certificate{})
}

func someNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.example", i)
	}
	return names
}

func certificateOfNames() string {
	one := &x509.Certificate{DNSNames: someNames(20_000)}
	limited := &x509.Certificate{PermittedDNSDomains: someNames(10_000), ExcludedDNSDomains: someNames(5_000), PermittedDNSDomainsCritical: true}
	return certificate(signer().Public(), limited) + certificate(signer().Public(), one)
}

func requestOfNames() string {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: someNames(40_000)}, signer())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func rsaPrivateKey(bits int) string {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}
