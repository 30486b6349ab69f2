package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/policy/grpcbody"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// maxPEM bounds certificate and key files.
const maxPEM = 4 << 20

// resolve returns name as the configuration means it: relative to its folder.
func (c *Config) resolve(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Dir, name)
}

// readRegular reads a file that must be one: a device or a pipe would have no end.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, plainError(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("is no regular file")
	case info.Size() > maxPEM:
		return nil, fmt.Errorf("is larger than %d MiB", maxPEM>>20)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, plainError(err)
	}
	return data, nil
}

func (k *checker) tls() {
	t := &k.c.TLS
	t.CertFile, t.KeyFile, t.ClientCAFile = k.c.resolve(t.CertFile), k.c.resolve(t.KeyFile), k.c.resolve(t.ClientCAFile)
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		k.fail("tls.key_file", "is missing: tls.cert_file needs the file of its key")
	case t.CertFile == "" && t.KeyFile != "":
		k.fail("tls.cert_file", "is missing: tls.key_file needs the file of its certificate")
	case t.CertFile == "" && t.ClientCAFile != "":
		k.fail("tls.client_ca_file", "needs tls.cert_file and tls.key_file: without them there is no TLS and no client certificate")
	case t.CertFile != "":
		k.keyPair(t)
	}
	if t.ClientCAFile != "" {
		k.authorities("tls.client_ca_file", t.ClientCAFile)
	} else if len(t.Peers) > 0 {
		k.fail("tls.peers", "needs tls.client_ca_file: without it nobody shows a certificate")
	}
	for i, peer := range t.Peers {
		if problem := peerProblem(peer); problem != "" {
			k.fail(fmt.Sprintf("tls.peers[%d]", i), "%s", problem)
		}
	}
}

func (k *checker) keyPair(t *TLS) {
	cert, err := readRegular(t.CertFile)
	if err != nil {
		k.fail("tls.cert_file", "%s %v", quoteShort(t.CertFile), err)
	}
	key, keyErr := readRegular(t.KeyFile)
	if keyErr != nil {
		k.fail("tls.key_file", "%s %v", quoteShort(t.KeyFile), keyErr)
	}
	if err != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		k.fail("tls.cert_file", "and tls.key_file are no certificate and its key in PEM: %v", err)
	}
}

// authorities checks a file of certificates that others are judged by.
func (k *checker) authorities(field, name string) {
	pem, err := readRegular(name)
	if err != nil {
		k.fail(field, "%s %v", quoteShort(name), err)
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		k.fail(field, "%s holds no certificate in PEM", quoteShort(name))
	}
}

// peerProblem says why peer is no name of a client certificate; "" is none.
func peerProblem(peer string) string {
	if !strings.Contains(peer, "://") {
		name, err := tenants.ParseHost(peer)
		if err != nil || name != peer || strings.ContainsAny(peer, ":[") {
			return quoteShort(peer) + " is no DNS name in lower case: write one without wildcard and port, or a spiffe:// id"
		}
		return ""
	}
	u, err := url.Parse(peer)
	if err != nil || u.Scheme != "spiffe" || u.Host == "" || u.User != nil || u.Port() != "" || u.RawQuery != "" || u.Fragment != "" || u.String() != peer {
		return quoteShort(peer) + " is no SPIFFE id: write spiffe://trust-domain/path"
	}
	return ""
}

// keyStore checks what is there already: the service makes the folder where it
// is missing.
func (k *checker) keyStore() {
	if k.c.JWKSDir == "" {
		return
	}
	k.c.JWKSDir = k.c.resolve(k.c.JWKSDir)
	info, err := os.Stat(k.c.JWKSDir)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		k.fail("jwks_dir", "%s %v", quoteShort(k.c.JWKSDir), plainError(err))
	case !info.IsDir():
		k.fail("jwks_dir", "%s is no folder", quoteShort(k.c.JWKSDir))
	case info.Mode().Perm()&0o022 != 0:
		k.fail("jwks_dir", "%s can be written by others, who could put in keys of their own: chmod 700", quoteShort(k.c.JWKSDir))
	}
}

func (k *checker) policy() {
	p := &k.c.Policy
	if problem := entrypointProblem(p.Entrypoint); problem != "" {
		k.fail("policy.entrypoint", "is %s: %s", quoteShort(p.Entrypoint), problem)
	}
	for i, name := range p.Paths {
		if name == "" {
			continue // reported as an empty item
		}
		p.Paths[i] = k.c.resolve(name)
		if err := readable(p.Paths[i]); err != nil {
			k.fail(fmt.Sprintf("policy.paths[%d]", i), "%s %v", quoteShort(p.Paths[i]), err)
		}
	}
	if p.ProtoDescriptor != "" {
		p.ProtoDescriptor = k.c.resolve(p.ProtoDescriptor)
		if _, err := grpcbody.Load(p.ProtoDescriptor); err != nil {
			k.fail("policy.proto_descriptor", "%s %v", quoteShort(p.ProtoDescriptor), err)
		}
	}
	k.bundles()
	for i, host := range p.AllowNet {
		if !isHostAlone(host) {
			k.fail(fmt.Sprintf("policy.allow_net[%d]", i), "%s is no host: write the name alone, in lower case, without scheme and port", quoteShort(host))
		}
	}
}

func (k *checker) bundles() {
	sections := k.c.Policy.Bundles
	if len(sections) == 0 {
		return
	}
	field := func(name string) string { return strings.TrimSuffix("policy.bundles."+name, ".") }
	for _, f := range policy.CheckBundles(sections, k.c.Dir) {
		k.fail(field(f.Field), "%s", f.Problem)
	}
	for _, f := range policy.WarnBundles(sections) {
		k.warn(field(f.Field), "%s", f.Problem)
	}
}

func isHostAlone(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	name, err := tenants.ParseHost(host)
	return err == nil && name == host && !strings.Contains(host, ":")
}

// entrypointProblem says why text names no rule; "" is none.
func entrypointProblem(text string) string {
	const write = `write a package and a rule, like usso/authz/decision`
	parts := strings.Split(text, "/")
	switch {
	case len(parts) > 1 && parts[0] == "data":
		return `leave "data/" out: ` + write
	case strings.Contains(text, "."):
		return "its parts are separated by /: " + write
	case len(parts) < 2:
		return write
	}
	for _, part := range parts {
		if !identifier.MatchString(part) {
			return write + "; each part is letters, digits and _"
		}
	}
	return ""
}

// readable reports whether a policy file or folder can be opened.
func readable(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return plainError(err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return errors.New("is neither a file nor a folder") // opening a pipe would wait for its writer
	}
	f, err := os.Open(name)
	if err != nil {
		return plainError(err)
	}
	defer f.Close()
	if info.IsDir() {
		if _, err := f.Readdirnames(1); err != nil && !errors.Is(err, io.EOF) {
			return plainError(err)
		}
	}
	return nil
}
