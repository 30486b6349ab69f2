package tenants

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const (
	maxHostName  = 253 // RFC 1035 section 2.3.4, without the trailing dot
	maxHostLabel = 63
	maxPort      = 65535
)

// ParseHost returns the canonical form of a request's host: lower case,
// without port and without trailing dot; an IPv6 address stays in brackets.
// Everything that is not exactly one host is an error: a list, a user part, an
// empty label, a byte that no host has. A canonical host costs no allocation.
func ParseHost(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseIPv6(s)
	}
	name := s
	if i := strings.IndexByte(s, ':'); i >= 0 {
		if err := checkPort(s[i+1:]); err != nil {
			return "", err
		}
		name = s[:i]
	}
	name = strings.TrimSuffix(name, ".")
	if err := checkName(name); err != nil {
		return "", err
	}
	return strings.ToLower(name), nil // ASCII by now; allocates only for upper case
}

func parseIPv6(s string) (string, error) {
	inner, rest, found := strings.Cut(s[1:], "]")
	if !found {
		return "", errors.New("host: '[' without ']'")
	}
	if rest != "" {
		port, found := strings.CutPrefix(rest, ":")
		if !found {
			return "", errors.New("host: only a port may follow ']'")
		}
		if err := checkPort(port); err != nil {
			return "", err
		}
	}
	// A zone names an interface of one machine and has no place in a URL's
	// host as it is sent (RFC 9844); IPv4 has no brackets.
	if addr, err := netip.ParseAddr(inner); err == nil && addr.Is6() && addr.Zone() == "" {
		return "[" + addr.String() + "]", nil
	}
	return "", errors.New("host: no IPv6 address between '[' and ']'")
}

func checkPort(port string) error {
	number := 0
	for i := range len(port) {
		c := port[i]
		if c < '0' || c > '9' || i >= 5 {
			return errors.New("host: bad port")
		}
		number = number*10 + int(c-'0')
	}
	if port == "" || number > maxPort {
		return errors.New("host: bad port")
	}
	return nil
}

// checkName checks labels and bytes. '_' is no letter of a host name, but
// Docker and Kubernetes users have it in theirs.
func checkName(name string) error {
	if len(name) > maxHostName {
		return fmt.Errorf("host: longer than %d bytes", maxHostName)
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case isAlphanumeric(c) || c == '-' || c == '_':
			label++
		case c != '.':
			return fmt.Errorf("host: byte %q can't be in a host", c)
		case label == 0:
			return errors.New("host: an empty label")
		default:
			label = 0
		}
		if label > maxHostLabel {
			return fmt.Errorf("host: a label longer than %d bytes", maxHostLabel)
		}
	}
	if label == 0 {
		return errors.New("host: empty, or ends in an empty label")
	}
	return nil
}

// parseHostPattern returns the canonical form of an entry of hosts: a host, or
// "*." and a host.
func parseHostPattern(s string) (string, error) {
	rest, wild := strings.CutPrefix(s, "*.")
	switch {
	case s == "":
		return "", errors.New("is empty; write a host name or remove the entry")
	case s == "*":
		return "", errors.New(`"*" is no host pattern: for the tenant of requests that select none, use tenant_selection.default`)
	case strings.Contains(rest, "*"):
		return "", errors.New(`"*" stands for one whole label and can only be the first one: "*.example.com"`)
	case strings.Contains(s, "/"):
		return "", errors.New("a URL is no host: write the host name alone")
	}
	name, err := ParseHost(rest)
	if err != nil {
		return "", err
	}
	if strings.Contains(rest[strings.LastIndexByte(rest, ']')+1:], ":") {
		return "", fmt.Errorf("hosts are matched without port: write %q", name)
	}
	if !wild {
		return name, nil
	}
	if strings.HasPrefix(name, "[") {
		return "", errors.New(`an address has no labels for "*." to stand for`)
	}
	return "*." + name, nil
}
