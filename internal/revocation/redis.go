package revocation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Redis says which Redis or Valkey holds revocations. File names are joined with
// the configuration's folder, by Check. The files are read at each connection,
// so that what is in them can change.
type Redis struct {
	URL            string         `yaml:"url"` // redis[s]://host[:port][/database] or unix:///path[?db=n]
	Username       string         `yaml:"username"`
	Password       tenants.Secret `yaml:"password"`
	PasswordFile   string         `yaml:"password_file"`
	CAFile         string         `yaml:"ca_file"` // instead of the system's
	CertFile       string         `yaml:"cert_file"`
	KeyFile        string         `yaml:"key_file"`
	AllowPlaintext bool           `yaml:"allow_plaintext"` // to another machine without TLS
	Prefix         string         `yaml:"prefix"`          // of the key and the channel; "": ussoauthz
	Resync         time.Duration  `yaml:"resync"`          // reads all again after that long; 0: 30s
}

// Enabled reports whether there is one.
func (r Redis) Enabled() bool { return r.URL != "" }

// Key is the sorted set: members are lines of entries, scores the seconds since
// 1970 at which they expire.
func (r Redis) Key() string {
	if r.Prefix == "" {
		return "ussoauthz:revocations"
	}
	return r.Prefix + ":revocations"
}

// Channel is where each new entry's line is published, and Resync. Databases of
// one Redis share their channels, so its number is a part of the name.
func (r Redis) Channel() (string, error) {
	opt, err := r.parse()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/%d", r.Key(), opt.DB), nil
}

// Resync is the message that makes readers read all again: something was
// removed.
const Resync = "resync"

// Limits of a configuration and of its files.
const (
	minResync  = time.Second
	maxResync  = 24 * time.Hour
	maxSecret  = 4 << 10
	maxPEM     = 1 << 20
	waitsFor   = 2 * time.Second // an answer of Redis
	dialsFor   = time.Second
	clientName = "ussoauthz"
)

var prefixText = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// A Fault is something wrong with one key of a Redis. Problem reads on from the
// key's name and holds no secret.
type Fault struct{ Field, Problem string }

// Check joins file names with dir and returns what is wrong.
func (r *Redis) Check(dir string) (faults []Fault) {
	fault := func(field, format string, args ...any) {
		faults = append(faults, Fault{field, fmt.Sprintf(format, args...)})
	}
	if !r.Enabled() {
		if *r != (Redis{AllowPlaintext: r.AllowPlaintext}) { // which alone connects to nobody
			fault("url", "is missing: write redis://host:port, rediss://host:port or unix:///path")
		}
		return faults
	}
	for _, name := range []*string{&r.PasswordFile, &r.CAFile, &r.CertFile, &r.KeyFile} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	opt, err := r.parse()
	switch {
	case err != nil:
		fault("url", "%v", err)
	case opt.TLSConfig == nil && (r.CAFile != "" || r.CertFile != "" || r.KeyFile != ""):
		fault("url", "has no TLS, which ca_file, cert_file and key_file are for: write rediss://")
	case opt.TLSConfig == nil && opt.Network == "tcp" && !local(opt.Addr) && !r.AllowPlaintext:
		fault("url", "lets everyone on the way read, add and withhold revocations: write rediss://, or set allow_plaintext: true")
	}
	r.checkSecrets(fault)
	if r.Prefix != "" && !prefixText.MatchString(r.Prefix) {
		fault("prefix", "is no name of a key: write up to 64 letters, digits and . _ : -")
	}
	if r.Resync != 0 && (r.Resync < minResync || r.Resync > maxResync) {
		fault("resync", "is %v: write a duration from %v to %v", r.Resync, minResync, maxResync)
	}
	return faults
}

func (r *Redis) checkSecrets(fault func(field, format string, args ...any)) {
	switch _, err := r.password(); {
	case !r.Password.IsZero() && r.PasswordFile != "":
		fault("password_file", "is a second password: write one of password and password_file")
	case err != nil:
		fault("password_file", "%v", err)
	case r.Username != "" && r.Password.IsZero() && r.PasswordFile == "":
		fault("username", "has no password: write password or password_file")
	}
	if (r.CertFile == "") != (r.KeyFile == "") {
		fault("cert_file", "and key_file go together: write both")
	} else if r.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(r.CertFile, r.KeyFile); err != nil {
			fault("cert_file", "and key_file are no certificate and its key: %v", plain(err))
		}
	}
	if r.CAFile != "" {
		if _, err := authorities(r.CAFile); err != nil {
			fault("ca_file", "%v", err)
		}
	}
}

// parse reads the URL. Its error shows nothing of it: a password may be what is
// wrong with it.
func (r *Redis) parse() (*redis.Options, error) {
	const write = ": write redis://host:port, rediss://host:port or unix:///path"
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("is no URL" + write)
	}
	socket := u.Scheme == "unix"
	switch {
	case u.User != nil:
		return nil, errors.New("holds a user or a password: write them as username and password")
	case u.Scheme != "redis" && u.Scheme != "rediss" && !socket:
		return nil, errors.New("has another scheme" + write)
	case u.Fragment != "" || u.RawQuery != "" && (!socket || !strings.HasPrefix(u.RawQuery, "db=")):
		return nil, errors.New("has a query or a fragment" + write)
	case socket && (u.Host != "" || u.Path == "" || u.Path == "/"), !socket && u.Hostname() == "":
		return nil, errors.New("names no server" + write)
	}
	opt, err := redis.ParseURL(r.URL)
	if err != nil || opt.DB < 0 {
		return nil, errors.New("has no number of a database: write redis://host:port/0 or unix:///path?db=0")
	}
	return opt, nil
}

func local(address string) bool {
	host, _, err := net.SplitHostPort(address) // without an IPv6 address's brackets
	return err == nil && jwks.IsLoopbackHost(host)
}

// options are those of a new client: with what the files hold now.
func (r *Redis) options() (*redis.Options, error) {
	opt, err := r.parse()
	if err != nil {
		return nil, fmt.Errorf("the URL %w", err)
	}
	if opt.Password, err = r.password(); err != nil {
		return nil, err
	}
	if opt.TLSConfig != nil {
		if err := r.secure(opt.TLSConfig); err != nil {
			return nil, err
		}
	}
	opt.Username, opt.ClientName, opt.DisableIdentity = r.Username, clientName, true
	// RESP3 would let the server push what nobody asked for.
	opt.Protocol, opt.MaintNotificationsConfig = 2, &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// One attempt each: who calls counts them, and waits in between.
	opt.MaxRetries, opt.DialerRetries = -1, 1
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout, opt.ContextTimeoutEnabled = dialsFor, waitsFor, waitsFor, true
	opt.PoolSize, opt.PipelinePoolSize = 2, -1
	return opt, nil
}

// connect returns a client that nothing was asked of yet.
func (r *Redis) connect() (*redis.Client, error) {
	opt, err := r.options()
	if err != nil {
		return nil, err
	}
	logging.Disable() // of the whole library: its errors come back, and its log is not ours
	dial := redis.NewDialer(opt)
	opt.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &guarded{Conn: conn}, nil
	}
	return redis.NewClient(opt), nil
}

func (r *Redis) password() (string, error) {
	if r.PasswordFile == "" {
		return r.Password.Reveal(), nil
	}
	text, err := readBounded(r.PasswordFile, maxSecret)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", r.PasswordFile)
	}
	return secret, nil
}

func (r *Redis) secure(c *tls.Config) (err error) {
	c.MinVersion = tls.VersionTLS12
	if r.CAFile != "" {
		if c.RootCAs, err = authorities(r.CAFile); err != nil {
			return err
		}
	}
	if r.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(r.CertFile, r.KeyFile)
		if err != nil {
			return fmt.Errorf("the certificate for Redis: %w", plain(err))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return nil
}

func authorities(name string) (*x509.CertPool, error) {
	text, err := readBounded(name, maxPEM)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", name)
	}
	return pool, nil
}

// plain names the file first, as the other faults do.
func plain(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}

// Write puts an entry into Redis and tells the readers, in one transaction. What
// has expired long ago leaves in it.
func (r Redis) Write(ctx context.Context, e Entry) error {
	e, line, err := e.checkedLine()
	if err != nil {
		return err
	}
	channel, err := r.Channel()
	if err != nil {
		return fmt.Errorf("the URL %w", err)
	}
	client, err := r.connect()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // it was answered, or was not
	past := time.Now().Add(-Grace).Unix()
	_, err = client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, r.Key(), redis.Z{Score: float64(e.Expires.Unix()), Member: line})
		p.ZRemRangeByScore(ctx, r.Key(), "-inf", fmt.Sprintf("(%d", past))
		p.Publish(ctx, channel, line)
		return nil
	})
	return err
}
