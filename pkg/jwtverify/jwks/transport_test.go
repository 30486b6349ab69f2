package jwks_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

func TestDialFilter(t *testing.T) {
	const open, never, private, loopback, local = "open", "never", "private", "only under its own name", "only loopback"
	for ip, kind := range map[string]string{
		"1.1.1.1": open, "2606:4700::1111": open, "::ffff:1.1.1.1": open, "64:ff9b::101:101": open,
		"169.254.169.254": never, "169.254.0.1": never, "::ffff:169.254.169.254": never, "64:ff9b::a9fe:a9fe": never,
		"fe80::1": never, "fe80::1%eth0": never, "fd00:ec2::254": never,
		"0.0.0.0": never, "0.1.2.3": never, "::": never, "224.0.0.1": never, "ff02::1": never,
		"255.255.255.255": never, "240.0.0.1": never, "100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never, "::ffff:100.100.100.200": never,
		"10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private,
		"::ffff:10.0.0.1": private, "64:ff9b::a00:1": private, "fc00::1": private, "fd12::1": private, "fec0::1": private,
		"100.64.0.1": private, "100.100.100.199": private, "198.18.0.1": private, "192.0.0.1": private,
		"172.15.0.1": open, "172.32.0.1": open, "100.128.0.1": open, "11.0.0.1": open,
		"127.0.0.1": loopback, "127.8.8.8": loopback, "::1": loopback, "::ffff:127.0.0.1": loopback,
		// What leads to IPv4: NAT64 of the well-known prefix and of a network's own, in each of its lengths.
		"64:ff9b::7f00:1": never, "64:ff9b::": never, "64:ff9b::e000:1": never, "64:ff9b::6464:64c8": never,
		"64:ff9b:1::169.254.169.254": never, "64:ff9b:1::127.0.0.1": never, "64:ff9b:1:ffff::168.63.129.16": never,
		"64:ff9b:1:a9fe:a9:fe00::": never, "64:ff9b:1:a9:fe:a9fe::": never, "64:ff9b:1:0:a9:fea9:fe00:0": never, "64:ff9b:1:7f00:0:100::": never,
		"64:ff9b:1::1.1.1.1": private, "64:ff9b:1::10.0.0.1": private, "64:ff9b:1:101:1:100::": private, "64:ff9b:2::169.254.169.254": open,
		// 6to4, Teredo (the client is inverted), ISATAP, and the forms of IPv4 that are none of ::ffff:0:0/96.
		"2002:a9fe:a9fe::1": never, "2002:7f00:1::": never, "2002:a00:1::1": private, "2002:c0a8:101::1": private, "2002:101:101::1": open, "2002:0:0::1": never, "2002:e000:1::": never,
		"2001:0:101:101::5601:5601": never, "2001:0:101:101::80ff:fffe": never, "2001:0:a9fe:a9fe::fefe:fefe": never, "2001:0:101:101::f5ff:fffe": private, "2001:0:a00:1::fefe:fefe": private, "2001:0:101:101::fefe:fefe": open, "2001:1::1": open,
		"2606:4700::5efe:169.254.169.254": never, "2606:4700::200:5efe:127.0.0.1": never, "2606:4700::5efe:10.0.0.1": private, "2606:4700::5efe:1.1.1.1": open, "2606:4700::1:5efe:169.254.169.254": open,
		"::169.254.169.254": never, "::127.0.0.1": never, "::10.0.0.1": private, "::1.1.1.1": open, "::2": never,
		"::ffff:0:169.254.169.254": never, "::ffff:0:127.0.0.1": never, "::ffff:0:10.0.0.1": private, "::ffff:0:1.1.1.1": open,
		"::ffff:0.1.2.3": never, "::ffff:224.0.0.1": never, "::ffff:192.168.0.1": private,
		"fd20:ce::254": never, "fd00:c1::a9fe:a9fe": never, "fd00:42::42": never, "fd00:42::43": private,
		"192.0.2.1": private, "198.51.100.1": private, "203.0.113.255": private, "2001:db8::1": private, "3fff::1": private, "100::1": private, "5f00::1": private,
	} {
		addr := netip.MustParseAddr(ip)
		for _, c := range []struct {
			local, denyPrivate, allowed bool
		}{
			{false, false, kind == open || kind == private},
			{false, true, kind == open},
			{true, false, kind == loopback},
			{true, true, kind == loopback},
		} {
			if err := jwks.CheckAddress(addr, c.local, c.denyPrivate); (err == nil) != c.allowed {
				t.Errorf("%s (%s), URL of loopback %t, private denied %t: %v", ip, kind, c.local, c.denyPrivate, err)
			}
		}
	}
}

// The filter must sit where the connection is made, not only in a function.
func TestTheFilterGuardsTheTransport(t *testing.T) {
	f := jwks.NewFetcher(jwks.FetcherConfig{DenyPrivate: true})
	defer f.Close()
	for url, want := range map[string]string{
		"https://169.254.169.254/":        "link-local",
		"https://[fe80::1]/":              "link-local",
		"https://[::ffff:169.254.1.1]/":   "link-local",
		"https://0.0.0.0/":                "unspecified",
		"https://[::]/":                   "unspecified",
		"https://10.1.2.3/":               "private",
		"https://[64:ff9b::10.1.2.3]/":    "private",
		"https://[64:ff9b:1::a9fe:a9fe]/": "private",
		"https://[2002:a9fe:a9fe::1]/":    "link-local",
		"https://[2001::5601:5601]/":      "0.0.0.0",
		"https://127.0.0.1.nip.invalid/":  "requesting keys",
	} {
		r := open(t, f, jwks.RemoteConfig{URL: url})
		fetched(t, r)
		expectError(t, r, want)
	}
}

// net/http reads the environment once in a process, so that a test can't set
// it: the field has to do.
func TestNoProxyIsUsed(t *testing.T) {
	if jwks.GuardedTransport(false, nil).Proxy != nil {
		t.Error("the dial filter would see the proxy's address alone")
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keySetOf("a")) }))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the client hangs up, as it should
	server.StartTLS()
	defer server.Close()
	expectError(t, served(t, server, "/", jwks.FetcherConfig{}), "version")
}

// Nothing that a fetch used stays open after it.
func TestNoConnectionIsReused(t *testing.T) {
	closed := make(chan struct{}, 2) // httptest reports it twice
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keySetOf("a")) }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	expectKeys(t, served(t, server, "/", jwks.FetcherConfig{}), 1)
	<-closed
}

func TestCheckKeyURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://sso.acme.example/.well-known/jwks.json": "",
		"https://sso.acme.example:8443/jwks?v=1":         "",
		"HTTPS://SSO.acme.example":                       "",
		"https://10.0.0.1/":                              "",
		"https://[2606:4700::1]/":                        "",
		"http://localhost:8080/jwks":                     "",
		"http://LOCALHOST/jwks":                          "",
		"http://127.0.0.1/":                              "",
		"http://127.9.9.9:1/":                            "",
		"http://[::1]:8080/":                             "",
		"http://sso.acme.example/":                       "allow_http: true",
		"http://127.0.0.1.evil.example/":                 "allow_http: true",
		"http://localhost.evil.example/":                 "allow_http: true",
		"http://0.0.0.0/":                                "allow_http: true",
		"":                                               "write https://host/path",
		"sso.acme.example/jwks":                          "write https://host/path",
		"//sso.acme.example/jwks":                        "write https://host/path",
		"/jwks.json":                                     "write https://host/path",
		"https:///jwks":                                  "write https://host/path",
		"https:jwks":                                     "write https://host/path",
		"https://:443/":                                  "write https://host/path",
		"ftp://sso.acme.example/":                        "write https://host/path",
		"file:///etc/passwd":                             "write https://host/path",
		"https://host:port/":                             "write https://host/path",
		"https://host:0/":                                "port",
		"https://host:65536/":                            "port",
		"https://host:/":                                 "port",
		"https://user:pass@host/":                        "user and password",
		"https://user@host/":                             "user and password",
		"https://@host/":                                 "user and password",
		"https://host/#keys":                             "fragment",
		"https://host/#":                                 "fragment",
		" https://host/":                                 "space or control character",
		"https://host/\n":                                "space or control character",
		"https://host/a b":                               "space or control character",
		"https://host/" + strings.Repeat("x", 2048):      "2048",
	} {
		err := jwks.CheckKeyURL(url, false)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("CheckKeyURL(%.60q) = %v: want %q", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pass@") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
	if err := jwks.CheckKeyURL("http://sso.acme.example/", true); err != nil {
		t.Errorf("http where it is allowed: %v", err)
	}
}
