package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

// sample runs one of the files beside envoy.yaml.
func sample(name string) func(*world, *stack.Config) {
	return func(_ *world, c *stack.Config) { c.Sample = name }
}

// aliceIs is what the application hears of the token alice.
var aliceIs = map[string]string{"x-user-id": "user:alice", "x-tenant-id": "acme", "x-workspace-id": "ws_1", "x-scopes": "read:posts"}

var spoofed = [][2]string{{"X-User-Id", "admin"}, {"X-Roles", "admin"}, {"X-Scopes", "delete:posts"}, {"X-Company-Id", "evil"}, {"X-Envoy-Auth-Failure-Mode-Allowed", "true"}}

// guarded asks what every sample must answer, whatever it is for.
func guarded(t *testing.T, w *world, host string) {
	t.Helper()
	a := w.do(t, tour.Step{Host: host, Path: "/me", Token: alice, Headers: spoofed}, 1)
	if err := (tour.Step{Status: http.StatusOK, Identity: aliceIs}).Check(a); err != nil {
		t.Error(err)
	}
	if a.Seen.Get("X-Envoy-Auth-Failure-Mode-Allowed") != "" {
		t.Error("a header of Envoy's own came from the client")
	}
	a = w.do(t, tour.Step{Host: host, Path: "/", Headers: spoofed}, 2)
	if err := (tour.Step{Status: http.StatusOK}).Check(a); err != nil {
		t.Errorf("a public page: %v", err)
	}
	for _, tt := range []tour.Step{
		{Title: "no token", Path: "/me", Status: 401, Reason: "token_not_found"},
		{Title: "no scope", Method: "DELETE", Path: "/posts/1", Token: alice, Status: 403, Reason: "insufficient_scope"},
		{Title: "no route", Path: "/nothing", Token: alice, Status: 403, Reason: "no_route"},
		{Title: "another spelling", Path: "/a%2Fb", Token: alice, Status: 400, Reason: "envoy"},
		{Title: "an underscore", Path: "/me", Token: alice, Headers: [][2]string{{"x_user_id", "admin"}}, Status: 400, Reason: "envoy"},
	} {
		tt.Host = host
		if err := tt.Check(w.do(t, tt, 3)); err != nil {
			t.Errorf("%s: %v", tt.Title, err)
		}
	}
}

// unguarded ends the service, and asks again.
func unguarded(t *testing.T, w *world, host string) {
	t.Helper()
	w.AuthzProcess().Kill()
	for _, path := range []string{"/", "/me"} {
		if a := w.do(t, tour.Step{Host: host, Path: path, Token: alice}, 4); a.Status != http.StatusServiceUnavailable || a.Seen != nil {
			t.Errorf("%s with nobody to ask: %d %s", path, a.Status, a.Body)
		}
	}
}

// checked is how many checks the service answered.
func (w *world) checked(t *testing.T) int {
	t.Helper()
	res, err := w.client.Get(w.AuthzAdmin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, m := range regexp.MustCompile(`(?m)^ussoauthz_checks_total\{.*\} (\d+)$`).FindAllSubmatch(text, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

// envoy/sidecar.yaml: over a unix socket, which is nobody else's.
func TestSidecar(t *testing.T) {
	dir, err := os.MkdirTemp("", "authz-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // the system cleans its folder too
	socket := filepath.Join(dir, "authz.sock")
	w := start(t, sample("sidecar.yaml"), func(_ *world, c *stack.Config) { c.Socket = socket })
	guarded(t, w, "acme.example")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket is %v", info.Mode())
	}
	unguarded(t, w, "acme.example")
	// One that was killed leaves its socket behind; the next takes the place.
	if err := w.StartAuthz(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		return w.do(t, tour.Step{Host: "acme.example", Path: "/me", Token: alice}, 5).Status == http.StatusOK
	})
}

// envoy/tenants.yaml: the host picks the tenant, and nothing that a client sends.
func TestTenantsByHost(t *testing.T) {
	w := start(t, sample("tenants.yaml"))
	guarded(t, w, "acme.example")
	gwen := &tour.Token{Tenant: "globex", Subject: "user:gwen"}
	named := [][2]string{{"X-Tenant-Id", "globex"}}
	for _, tt := range []tour.Step{
		{Title: "the other tenant", Host: "globex.example", Token: gwen, Status: 200, Identity: map[string]string{"x-user-id": "user:gwen", "x-tenant-id": "globex"}},
		{Title: "any host below", Host: "shop.acme.example", Token: alice, Status: 200, Identity: aliceIs},
		{Title: "a header that names another", Host: "acme.example", Token: alice, Headers: named, Status: 200, Identity: aliceIs},
		{Title: "a foreign token", Host: "acme.example", Token: gwen, Status: 401, Reason: "token_invalid"},
		{Title: "a foreign token and its header", Host: "acme.example", Token: gwen, Headers: named, Status: 401, Reason: "token_invalid"},
		{Title: "the other way round", Host: "globex.example", Token: alice, Status: 401, Reason: "token_invalid"},
	} {
		tt.Path = "/me"
		if err := tt.Check(w.do(t, tt, 6)); err != nil {
			t.Errorf("%s: %v", tt.Title, err)
		}
	}
	before := w.checked(t)
	for _, host := range []string{"nobody.example", "initech.example", "a.b.example"} {
		if a := w.do(t, tour.Step{Host: host, Path: "/me", Token: alice}, 7); a.Status != http.StatusNotFound || a.Seen != nil {
			t.Errorf("%s: %d %s", host, a.Status, a.Body)
		}
	}
	if asked := w.checked(t) - before; asked != 0 || before == 0 {
		t.Errorf("%d checks about hosts that nobody has, %d before", asked, before)
	}
	unguarded(t, w, "acme.example")
}

// envoy/jwt-authn.yaml: each of the two refuses what the other would let pass.
func TestJWTAuthnInFront(t *testing.T) {
	w := start(t, sample("jwt-authn.yaml"), func(w *world, c *stack.Config) {
		url := w.servers["acme"].URL()
		_, port, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")
		c.Edit = func(text []byte) []byte {
			return []byte(chain(replace("http://127.0.0.1:8000/acme/", url+"/"), replace("port_value: 8000", "port_value: "+port))(string(text)))
		}
	})
	// It fetches once it runs; until then a good token is refused.
	eventually(t, func() bool {
		return w.do(t, tour.Step{Host: "acme.example", Path: "/me", Token: alice}, 8).Status == http.StatusOK
	})
	guarded(t, w, "acme.example")
	if err := (tour.Step{Status: 200, Identity: aliceIs}).
		Check(w.do(t, tour.Step{Host: "acme.example", Path: "/me", Token: alice, Cookie: true}, 9)); err != nil {
		t.Errorf("by cookie: %v", err)
	}
	good := alice.Claims("https://sso.acme.example", "posts", time.Now())
	send := func(token string) tour.Answer {
		return w.do(t, tour.Step{Host: "acme.example", Path: "/me", Headers: [][2]string{{"Authorization", "Bearer " + token}}}, 10)
	}
	with := func(name string, value any) map[string]any {
		claims := map[string]any{name: value}
		for k, v := range good {
			if k != name {
				claims[k] = v
			}
		}
		return claims
	}
	before := w.checked(t)
	for name, token := range map[string]string{
		"a forged signature": w.mint(t, "globex", good),
		"no token at all":    "a.b.c",
		"another audience":   w.mint(t, "acme", with("aud", "other")),
		"another issuer":     w.mint(t, "acme", with("iss", "https://evil.example")),
		"long expired":       w.mint(t, "acme", with("exp", time.Now().Unix()-3600)),
	} {
		if a := send(token); a.Status/100 != 4 || a.Status == http.StatusNotFound || a.Reason() != "envoy" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if asked := w.checked(t) - before; asked != 0 {
		t.Errorf("ussoauthz was asked about %d of them", asked)
	}
	for name, token := range map[string]string{
		"a refresh token":  w.mint(t, "acme", with("token_type", "refresh")),
		"another's tenant": w.mint(t, "acme", with("tenant_id", "globex")),
		"nobody":           w.mint(t, "acme", with("sub", "")),
	} {
		if a := send(token); a.Status != http.StatusUnauthorized || a.Reason() != "token_invalid" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	// What the first does not see, the second does.
	lower := tour.Step{Host: "acme.example", Path: "/me", Headers: [][2]string{{"Authorization", "bearer " + w.mint(t, "globex", good)}}, Status: 401, Reason: "token_invalid"}
	if err := lower.Check(w.do(t, lower, 11)); err != nil {
		t.Errorf("another spelling of Bearer: %v", err)
	}
	unguarded(t, w, "acme.example")
}

// Headers that a route removes go after the check: ours, not the client's. So
// that is no place to strip what a client must not send.
func TestRouteRemovesAfterTheCheck(t *testing.T) {
	w := start(t, func(_ *world, c *stack.Config) {
		c.Edit = func(text []byte) []byte {
			return []byte(replace("route: {cluster: upstream, timeout: 15s}", "route: {cluster: upstream, timeout: 15s}\n                          request_headers_to_remove: [x-user-id]")(string(text)))
		}
	})
	a := w.do(t, tour.Step{Host: "acme.example", Path: "/me", Token: alice}, 1)
	if a.Seen.Get("X-Tenant-Id") != "acme" || a.Seen.Get("X-User-Id") != "" {
		t.Errorf("%d %s, the application got %v", a.Status, a.Body, a.Seen)
	}
}
