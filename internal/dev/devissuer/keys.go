// Package devissuer issues tokens for the tenants of a configuration file, for
// development and tests: it makes keys, mints tokens with them and publishes
// them where the file says that the tenant's keys are. Never run it where real
// tokens are accepted: it signs whatever it is asked to.
package devissuer

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// Keys is a folder of private keys, one PKCS #8 PEM file for each tenant and
// algorithm. Several processes may use one folder at once: whoever needs a key
// first makes it, and all of them sign with that one.
type Keys struct{ dir string }

// OpenKeys returns the keys of dir, which is made when the first key is.
func OpenKeys(dir string) *Keys { return &Keys{dir: dir} }

func (k *Keys) file(tenant string, alg jwtverify.Algorithm) string {
	return filepath.Join(k.dir, tenant+"."+string(alg)+".pem")
}

// load returns the key, or nil where it was not made yet.
func (k *Keys) load(tenant string, alg jwtverify.Algorithm) (crypto.Signer, error) {
	file := k.file(tenant, alg)
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of tenant %s: %w", tenant, err)
	}
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s holds no PKCS #8 private key: remove it, and a new one is made", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it, and a new key is made", file, err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, which can't sign", file, parsed)
	}
	return signer, nil
}

// loadOrMake returns the key and makes it on first use.
func (k *Keys) loadOrMake(tenant string, alg jwtverify.Algorithm) (crypto.Signer, error) {
	signer, err := k.load(tenant, alg)
	if err != nil || signer != nil {
		return signer, err
	}
	if err := k.make(tenant, alg); err != nil {
		return nil, fmt.Errorf("making a key for tenant %s: %w", tenant, err)
	}
	// Read it back: if another process was faster, its key is the one.
	signer, err = k.load(tenant, alg)
	if err == nil && signer == nil {
		err = fmt.Errorf("the key %s vanished", k.file(tenant, alg))
	}
	return signer, err
}

func (k *Keys) make(tenant string, alg jwtverify.Algorithm) error {
	private, err := jwttest.GenerateKey(alg)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(k.dir, ".key-") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = pem.Encode(tmp, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	// A link appears whole, and unlike a rename it never replaces the key that
	// another process has made and already used.
	err = os.Link(tmp.Name(), k.file(tenant, alg))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
