package tenants

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// maxKeyFile bounds a JWK set on disk, as the one from the network is.
const maxKeyFile = 1 << 20

// KeySource names for people where the keys come from. A URL's query is left
// out: it may be what opens it.
func (c *Config) KeySource() string {
	name, _, _ := strings.Cut(cmp.Or(c.JWKSURL, c.DiscoveryURL, c.JWKSFile, "the configuration"), "?")
	return name
}

func (c *Config) isRemote() bool { return c.JWKSURL != "" || c.DiscoveryURL != "" }

// checkKeySource checks that there is exactly one source of keys, and reads
// those that are here.
func (in *inspector) checkKeySource() {
	first := ""
	for _, s := range []struct {
		field string
		set   bool
		check func()
	}{
		{"jwks_url", in.JWKSURL != "", func() { in.checkURL("jwks_url", in.JWKSURL) }},
		{"discovery_url", in.DiscoveryURL != "", func() { in.checkURL("discovery_url", in.DiscoveryURL) }},
		{"jwks_file", in.JWKSFile != "", in.readKeyFile},
		{"key", !in.Key.IsZero(), in.readKey},
	} {
		switch {
		case !s.set:
		case first == "":
			first = s.field
			s.check()
		default:
			in.fault(s.field, "%s is there already: keep one source of keys", first)
		}
	}
	switch {
	case first == "":
		in.fault("", "no source of keys: write jwks_url, discovery_url, jwks_file, or key with its type")
	case in.Type == "" || !in.Key.IsZero():
	case in.Type == string(jwtverify.HS256):
		in.fault("type", "HS256 works with a secret, and a key set on the network or in a file is public: give the secret as key, or remove type")
	default:
		in.fault("type", "is for key alone: to narrow what %s brings, write algorithms: [%.20s]", first, in.Type)
	}
	if first == "" && in.Type != "" {
		in.fault("type", "there is no key that it is the type of: write key, or remove type")
	}
}

func (in *inspector) checkURL(field, raw string) {
	if err := jwks.CheckKeyURL(raw, in.AllowHTTP); err != nil {
		in.fault(field, "%s", err)
	}
}

// checkJWKSTLS reads the files now, so that a fault is told with its field and
// not as a fetch that fails.
func (in *inspector) checkJWKSTLS() {
	t := in.JWKSTLS
	switch {
	case !in.isRemote(): // it may be inherited
		return
	case t.CertFile == "" && t.KeyFile != "":
		in.fault("jwks_tls.cert_file", "is missing: key_file needs the file of its certificate")
	case t.CertFile != "" && t.KeyFile == "":
		in.fault("jwks_tls.key_file", "is missing: cert_file needs the file of its key")
	case t.CertFile != "":
		if _, err := tls.LoadX509KeyPair(within(in.dir, t.CertFile), within(in.dir, t.KeyFile)); err != nil {
			in.fault("jwks_tls.cert_file", "and key_file are no certificate and its key: %s", err)
		}
	}
	if t.CAFile != "" {
		if _, err := jwks.CertPool(within(in.dir, t.CAFile)); err != nil {
			in.fault("jwks_tls.ca_file", "%s", err)
		}
	}
}

func (in *inspector) readKeyFile() {
	data, err := readKeyFile(in.dir, in.JWKSFile)
	if err != nil {
		in.fault("jwks_file", "%s", err)
		return
	}
	keys, problems, err := jwtverify.ParseKeySet(data)
	if err != nil {
		in.fault("jwks_file", "%s", err)
		return
	}
	// On the network a bad key is the issuer's affair and costs that key
	// alone; a file can be mended by who reads this.
	for _, problem := range problems {
		in.fault("jwks_file", "%s", problem)
	}
	if len(keys) == 0 {
		in.fault("jwks_file", "holds no key that can be used")
		return
	}
	in.keep("jwks_file", keys...)
}

func readKeyFile(dir, name string) ([]byte, error) {
	name = within(dir, name)
	// Asked before opening: to open a pipe would wait for its writer.
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than 1 MiB, which is no JWK set", name)
	}
	return data, nil
}

func (in *inspector) keep(field string, keys ...*jwtverify.Key) {
	set, err := jwtverify.NewStaticKeySet(keys...)
	if err != nil {
		in.fault(field, "%s", err)
		return
	}
	in.parts.keys = set
}

func (in *inspector) readKey() {
	material := []byte(in.Key.Reveal())
	if in.Type == "" {
		in.fault("type", "%s", adviseType(material))
		return
	}
	algorithm, err := jwtverify.ParseAlgorithm(in.Type)
	if err != nil {
		in.fault("type", "%s", err)
		return
	}
	key, field, err := parseKey(material, algorithm)
	if err != nil {
		in.fault(field, "%s", err)
		return
	}
	in.keep("key", key)
}

// parseKey reads the material as what the type says it is; field is the one to
// blame for the error.
func parseKey(material []byte, algorithm jwtverify.Algorithm) (key *jwtverify.Key, field string, err error) {
	if algorithm == jwtverify.HS256 {
		// Whoever fetches a public key could sign with it, were it the secret.
		if isPublicKey(material) {
			return nil, "type", errors.New("HS256 would use this key, which others know, as a secret: write the key's own algorithm")
		}
		if len(bytes.TrimSpace(material)) != len(material) {
			return nil, "key", errors.New("the secret starts or ends with a blank or line break, which would count: remove it (in YAML \"|-\" instead of \"|\")")
		}
		key, err = jwtverify.NewSecretKey(material)
		return key, "key", err
	}
	key, err = parsePublicKey(material, algorithm)
	if err == nil {
		return key, "", nil
	}
	if fitting, other := parsePublicKey(material, ""); other == nil {
		return nil, "type", fmt.Errorf("%s does not fit the key: write %s", algorithm, join(fitting.Algorithms()))
	}
	return nil, "key", err
}

// parsePublicKey reads a PEM or one JWK; algorithm "" takes all that fit.
func parsePublicKey(material []byte, algorithm jwtverify.Algorithm) (*jwtverify.Key, error) {
	switch {
	case isPEM(material):
		return jwtverify.ParsePEM(material, algorithm)
	case isJSON(material):
		if _, _, err := jwtverify.ParseKeySet(material); err == nil {
			return nil, errors.New("is a whole JWK set: write one JWK of it, or put the set in a file and write jwks_file")
		}
		return jwtverify.ParseJWK(material, algorithm)
	}
	return nil, errors.New("is neither PEM nor a JWK: write a public key that starts with -----BEGIN PUBLIC KEY-----, or type: HS256 where it is a secret")
}

func adviseType(material []byte) string {
	if isPEM(material) || isJSON(material) {
		key, err := parsePublicKey(material, "")
		if err != nil {
			return "is missing, and key can't be read: " + err.Error()
		}
		return "is missing: this key fits " + join(key.Algorithms())
	}
	return "is missing: write HS256 where key is a secret; a public key is written as PEM or JWK, with the algorithm of its tokens as type"
}

func join(list []jwtverify.Algorithm) string {
	var b strings.Builder
	for i, algorithm := range list {
		if i > 0 {
			b.WriteString(" or ")
		}
		b.WriteString(string(algorithm))
	}
	return b.String()
}

func isPEM(material []byte) bool { return bytes.Contains(material, []byte("-----BEGIN")) }

func isJSON(material []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(material), []byte("{")) }

// isPublicKey tells whether material is a key in a form that keys are
// published in: PEM, JWK, an SSH line, or the bare base64 of a PEM.
func isPublicKey(material []byte) bool {
	text := strings.TrimSpace(string(material))
	if isPEM(material) || isJSON(material) ||
		strings.HasPrefix(text, "ssh-") || strings.HasPrefix(text, "ecdsa-sha2-") {
		return true
	}
	der := material // not text: its last byte may be a blank
	if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil {
		der = decoded
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return true
	}
	_, err := x509.ParseCertificate(der)
	return err == nil
}
