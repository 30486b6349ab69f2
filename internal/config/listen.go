package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// maxSocketPath is what sockaddr_un holds on Linux, without the final NUL.
const maxSocketPath = 107

// listenAddress is a parsed listen value; local says that only processes of
// this machine reach it.
type listenAddress struct {
	host, port string // of TCP
	socket     string
	local      bool
}

func parseListen(text string) (a listenAddress, problem string) {
	const write = ": write host:port, like 127.0.0.1:9191, or unix:///path"
	if rest, ok := strings.CutPrefix(text, "unix:"); ok {
		name, ok := strings.CutPrefix(rest, "//")
		switch {
		case !ok || !strings.HasPrefix(name, "/") || filepath.Clean(name) != name || name == "/":
			return a, "names no socket: write its absolute path after unix://, like unix:///run/ussoauthz.sock"
		case len(name) > maxSocketPath:
			return a, "is longer than a socket's path can be, " + strconv.Itoa(maxSocketPath) + " bytes"
		case strings.ContainsRune(name, 0):
			return a, "holds a NUL byte"
		}
		return listenAddress{socket: name, local: true}, ""
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return a, "is " + quoteShort(text) + write
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return a, "has the port " + quoteShort(port) + ": write a number from 0 to 65535"
	}
	a = listenAddress{host: host, port: port}
	if addr, err := netip.ParseAddr(host); err == nil {
		a.local = addr.Unmap().IsLoopback()
		return a, ""
	}
	if host == "" {
		return a, "" // every interface
	}
	if strings.Contains(host, ":") {
		return a, "is " + quoteShort(text) + write
	}
	name, err := tenants.ParseHost(host)
	if err != nil {
		return a, "is " + quoteShort(text) + write
	}
	a.local = name == "localhost" || strings.HasSuffix(name, ".localhost")
	return a, ""
}

func (a listenAddress) everywhere() bool {
	addr, err := netip.ParseAddr(a.host)
	return a.host == "" || err == nil && addr.IsUnspecified()
}

// clashes reports whether two listeners can't both have their address.
func (a listenAddress) clashes(b listenAddress) bool {
	if a.socket != "" || b.socket != "" {
		return a.socket == b.socket
	}
	return a.port == b.port && a.port != "0" && (a.host == b.host || a.everywhere() || b.everywhere())
}

func (k *checker) listeners() {
	listen, problem := parseListen(k.c.Listen)
	if problem != "" {
		k.fail("listen", "%s", problem)
	}
	if k.c.Admin.Listen != "" {
		admin, problem := parseListen(k.c.Admin.Listen)
		if problem != "" {
			k.fail("admin.listen", "%s", problem)
		} else if admin.clashes(listen) {
			k.fail("admin.listen", "is the address of listen too: write another port")
		}
	}
	k.adminHosts()
	t := k.c.TLS
	if problem != "" || listen.local || t.CertFile != "" || t.KeyFile != "" || k.d.failed["tls"] || k.d.under["tls"] {
		return
	}
	if k.c.RequireTLS {
		k.fail("require_tls", "is true, but %s is not a loopback address and has no TLS: set tls.cert_file and tls.key_file", quoteShort(k.c.Listen))
		return
	}
	k.warn("listen", "is not a loopback address and has no TLS: tokens cross the network in clear; set tls.cert_file and tls.key_file, or listen on 127.0.0.1")
}

// adminHosts checks the names and puts them into the one form that a request's is
// compared in.
func (k *checker) adminHosts() {
	for i, text := range k.c.Admin.Hosts {
		name, err := tenants.ParseHost(text)
		switch field := "admin.hosts[" + strconv.Itoa(i) + "]"; {
		case strings.Contains(text, "*"):
			k.fail(field, "is %s, and wildcards are not for the admin listener: write each name, like authz.ops.example", quoteShort(text))
		case err != nil || strings.Contains(text, ":"):
			k.fail(field, "is %s: write a name without scheme and port, like authz.ops.example", quoteShort(text))
		default:
			k.c.Admin.Hosts[i] = name
		}
	}
}
