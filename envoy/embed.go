// Package envoy holds the Envoy configuration that ships with ussoauthz, for
// the tools and tests that run it with addresses of their own.
package envoy

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Ports are the four addresses of a file, as host:port. An empty one stays as
// it is in the file.
type Ports struct {
	Edge     string // where Envoy listens; port 0 is any free one
	Authz    string // ussoauthz; in sidecar.yaml a socket, as unix://PATH
	Upstream string // the application
	Admin    string // Envoy's admin interface; port 0 is any free one
}

// Config returns envoy.yaml with the addresses of p, and all else, comments
// included, as it is in the file.
func Config(p Ports) ([]byte, error) { return Sample("envoy.yaml", p) }

// Sample is Config for another file of this folder.
func Sample(name string, p Ports) ([]byte, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	out, err := replace(string(text), p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

func replace(text string, p Ports) ([]byte, error) {
	for _, a := range []struct {
		what, file, address string
		listens             bool
	}{
		{"edge", "10000", p.Edge, true},
		{"authz", "9191", p.Authz, false},
		{"upstream", "8080", p.Upstream, false},
		{"admin", "9901", p.Admin, true},
	} {
		// Each address is checked, a kept one too: a file in which one moved
		// is a fault for everybody who calls this.
		old, write := "socket_address: {address: 127.0.0.1, port_value: "+a.file+"}", socketAddress
		if a.what == "authz" && strings.Contains(text, pipe) {
			old, write = pipe, pipeAddress
		}
		if n := strings.Count(text, old); n != 1 {
			return nil, fmt.Errorf("it has %q %d times, want once", old, n)
		}
		if a.address == "" {
			continue
		}
		socket, err := write(a.address, a.listens)
		if err != nil {
			return nil, fmt.Errorf("the %s address %q: %w", a.what, a.address, err)
		}
		text = strings.Replace(text, old, socket, 1)
	}
	return []byte(text), nil
}

// socketAddress writes host:port as YAML. The host is checked and quoted, so
// that it is nothing but a host there.
func socketAddress(address string, listens bool) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || (n == 0 && !listens) {
		return "", fmt.Errorf("%q is no port", port)
	}
	if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:") != "" {
		return "", fmt.Errorf("%q is no host", host)
	}
	return fmt.Sprintf("socket_address: {address: %q, port_value: %d}", host, n), nil
}

// pipe is where a sidecar finds ussoauthz.
const pipe = "pipe: {path: /run/ussoauthz/authz.sock}"

// pipeAddress writes unix://PATH as YAML.
func pipeAddress(address string, _ bool) (string, error) {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok || !strings.HasPrefix(path, "/") {
		return "", errors.New("want unix:// and a path from the root")
	}
	return fmt.Sprintf("pipe: {path: %q}", path), nil
}
