package service

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// guarded protects every page of the admin listener from web pages of other origins.
// Such a page reaches loopback and inner networks through its visitor's browser. It can
// send a request across origins, whose answer it can't read but which takes effect. Or
// it resolves its own name to our address (DNS rebinding), which makes it the same
// origin. hosts are trusted in addition to those of trustedHost.
func guarded(next http.Handler, hosts []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		switch {
		case !trustedHost(r.Host, hosts):
			http.Error(w, "this name may be anybody's: use an address, localhost or a name of the cluster, or add the name to admin.hosts", http.StatusForbidden)
		case crossOrigin(r):
			http.Error(w, "not for web pages of another origin", http.StatusForbidden)
		case browserWithoutOrigin(r):
			http.Error(w, "this browser does not say which page asks, since the connection is not secure: use localhost, through a port that is forwarded, or with curl", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// crossOrigin reports whether a browser says that a page of another origin is
// behind the request. A sibling counts as another: any port of localhost is one.
func crossOrigin(r *http.Request) bool {
	for _, origin := range r.Header.Values("Origin") {
		if !ownOrigin(origin, r.Host) {
			return true
		}
	}
	return slices.ContainsFunc(r.Header.Values("Sec-Fetch-Site"), func(site string) bool { return site != "same-origin" && site != "none" })
}

// ownOrigin reports whether an origin is the one that the request went to. A
// proxy may have ended TLS, so the scheme is not compared.
func ownOrigin(origin, host string) bool {
	scheme, rest, ok := strings.Cut(origin, "://")
	return ok && (scheme == "http" || scheme == "https") && host != "" && strings.EqualFold(rest, host)
}

// browserWithoutOrigin reports whether a browser sent the request without saying which
// page caused it. Older browsers never say; others only do over TLS or to loopback. An
// image or a form on any page can send such a request. Every browser's User-Agent begins
// with Mozilla, and a page can't change that without a preflight.
func browserWithoutOrigin(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" { // crossOrigin has decided
		return false
	}
	if strings.HasPrefix(r.UserAgent(), "Mozilla/") {
		return true
	}
	referer := r.Referer()
	if referer == "" {
		return false
	}
	from, err := url.Parse(referer)
	return err != nil || !strings.EqualFold(from.Host, r.Host)
}

// clusterSuffixes end names that no public DNS resolves.
var clusterSuffixes = []string{".localhost", ".svc", ".cluster.local", ".internal"}

// trustedHost reports whether no outsider can make the name resolve to this listener.
// A request without Host is an HTTP/1.0 probe: browsers always send one.
func trustedHost(host string, more []string) bool {
	if host == "" {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		return true
	}
	name, err := tenants.ParseHost(host)
	if err != nil {
		return false
	}
	return !strings.Contains(name, ".") || slices.Contains(more, name) ||
		slices.ContainsFunc(clusterSuffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}
