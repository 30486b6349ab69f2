package world

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Setup is a configuration of the service.
type Setup struct {
	Tenants int
	Keys    int    // of each tenant
	Routes  int    // ten at least
	Unix    bool   // listen on a socket, not on a port
	Apart   string // another process than for the same setup with another text: its caches are its own
	Profile bool   // serve /debug/pprof
	Policy  string // Rego of package bench with a rule decision; "": the embedded policy
	More    string // further sections of the file
}

// Network is what the service listens on: tcp or unix.
func (s Setup) Network() string {
	if s.Unix {
		return "unix"
	}
	return "tcp"
}

// Write writes the file, and what belongs to it, into dir and returns its path.
func (s Setup) Write(dir, listen string, issuers *Issuers) (string, error) {
	var b strings.Builder
	pprof := ""
	if s.Profile {
		pprof = ", pprof: true"
	}
	fmt.Fprintf(&b, "listen: %s\nadmin: {listen: \"${env:USSOAUTHZ_ADMIN}\"%s}\nshutdown: {drain: 0s}\n", listen, pprof)
	b.WriteString(s.More)
	// On a machine that does other work a process can stand still for longer
	// than the usual limit: that is not what is measured.
	policy := "timeout: 5s"
	if s.Policy != "" {
		name := filepath.Join(dir, "bench.rego")
		if err := os.WriteFile(name, []byte(s.Policy), 0o600); err != nil {
			return "", err
		}
		policy += ", entrypoint: bench/decision, paths: [" + name + "]"
	}
	fmt.Fprintf(&b, "policy: {%s}\n", policy)
	fmt.Fprintf(&b, "defaults: {audience: %s}\ntenants:\n", audience)
	for i := range s.Tenants {
		fmt.Fprintf(&b, "  %s: {hosts: [%s], issuer: %q, jwks_url: %q}\n", tenantOf(i), Host(i), issuerOf(i), issuers.keys(i))
	}
	fmt.Fprintf(&b, "routes:\n  - {match: \"GET %s\", public: true}\n", PublicPath)
	for i := range s.Routes {
		fmt.Fprintf(&b, "  - {match: \"GET /r%d/items/{id}\", scopes: [read:items]}\n", i)
	}
	path := filepath.Join(dir, "ussoauthz.yaml")
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}
