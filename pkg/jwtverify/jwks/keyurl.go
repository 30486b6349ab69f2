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

// CheckKeyURL tells whether keys may be fetched from a URL, and if not, what to
// write instead. Keys that came over plain http can be replaced by anyone on
// the way, so http is for loopback hosts, or for those who ask for it.
func CheckKeyURL(raw string, allowHTTP bool) error {
	_, err := parseKeyURL(raw, allowHTTP)
	return err
}

func parseKeyURL(raw string, allowHTTP bool) (*url.URL, error) {
	if len(raw) > maxURLBytes {
		return nil, fmt.Errorf("URL of %d bytes: write one of at most %d", len(raw), maxURLBytes)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, errors.New("blank or control character in the URL: remove it")
	}
	u, err := url.Parse(raw)
	if err != nil { // its text would repeat the URL, with a password in it
		return nil, errors.New("not a URL: write https://host/path")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, errors.New("not an absolute URL: write https://host/path")
	case !goodPort(u):
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

func goodPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// IsLoopbackHost reports whether a URL's host means this machine by its very
// name; what another name resolves to is not its owner's promise.
func IsLoopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostPort is a URL's host with its port, in one spelling.
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

// printable is a URL for logs: a query may carry an access key.
func printable(u *url.URL) string {
	c := *u
	c.User, c.RawQuery, c.ForceQuery, c.Fragment = nil, "", false, ""
	return c.String()
}
