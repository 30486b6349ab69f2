package jwks

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const maxURLBytes = 2048

// CheckKeyURL returns nil where keys may be fetched from a URL; the error says what to
// write instead. Keys that came over plain http can be replaced by anyone on the way,
// so http is accepted for loopback hosts, and for others only with allowHTTP.
func CheckKeyURL(raw string, allowHTTP bool) error {
	_, err := parseKeyURL(raw, allowHTTP)
	return err
}

func parseKeyURL(raw string, allowHTTP bool) (*url.URL, error) {
	if len(raw) > maxURLBytes {
		return nil, fmt.Errorf("URL of %d bytes: write one of at most %d", len(raw), maxURLBytes)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, errors.New("space or control character in the URL: remove it")
	}
	u, err := url.Parse(raw)
	if err != nil { // its text would repeat the URL, with a password in it
		return nil, errors.New("not a URL: write https://host/path")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, errors.New("not an absolute URL: write https://host/path")
	case !validPort(u):
		return nil, errors.New("the port is not a number from 1 to 65535")
	case u.User != nil:
		return nil, errors.New("user and password in the URL: remove them, public keys need none")
	case strings.Contains(raw, "#"):
		return nil, errors.New("fragment in the URL: remove # and what follows")
	case u.Scheme == "http" && !allowHTTP && !IsLoopbackHost(u.Hostname()):
		return nil, errors.New("http:// lets anyone on the way replace the keys: write https://, or set allow_http: true")
	}
	return u, nil
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// IsLoopbackHost reports whether a URL's host is localhost or a loopback address. It
// resolves nothing: another name that leads to loopback today may lead elsewhere
// tomorrow.
func IsLoopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostPort returns a URL's host and port, in lower case and with the port always
// written, so that equal origins compare equal.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// redacted returns a URL for logs: a query may carry an access key.
func redacted(u *url.URL) string {
	c := *u
	c.User, c.RawQuery, c.ForceQuery, c.Fragment = nil, "", false, ""
	return c.String()
}
