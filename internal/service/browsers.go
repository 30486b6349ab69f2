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

// guarded keeps the web pages of other origins away from every page of the admin
// listener. They reach loopback and inner networks through the browser of whoever
// looks at them: by a request across origins, whose answer they can't read but
// whose work is done, or by a name of their own that they let point here (DNS
// rebinding), which makes them the same origin. hosts are names that are trusted
// beside those of trustedHost.
func guarded(next http.Handler, hosts []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		switch {
		case !trustedHost(r.Host, hosts):
			http.Error(w, "this name may be anybody's: ask by address, by localhost or by a name of the cluster, or add the name to admin.hosts", http.StatusForbidden)
		case fromElsewhere(r):
			http.Error(w, "not for web pages of another origin", http.StatusForbidden)
		case unknownBrowser(r):
			http.Error(w, "this browser does not say which page asks, since the connection is not secure: ask by localhost, through a port that is forwarded, or with curl", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// fromElsewhere reports whether a browser says that a page of another origin is
// behind the request. A sibling counts as another: any port of localhost is one.
func fromElsewhere(r *http.Request) bool {
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

// unknownBrowser reports whether a request is a browser's that tells nothing of
// where it comes from: older ones never do, and others only to loopback and over
// TLS. The image or the form of any page looks like that. Every browser calls
// itself Mozilla, and no page can make it say otherwise without a preflight.
func unknownBrowser(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" { // which fromElsewhere judged
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

// clusterSuffixes are the ends of names that no public name server answers for.
var clusterSuffixes = []string{".localhost", ".svc", ".cluster.local", ".internal"}

// trustedHost reports whether nobody outside can make a name point here. Without a
// name it is a probe in HTTP/1.0, since browsers always send one.
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
