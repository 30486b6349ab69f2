//go:build interop || servers

package servers

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// routes are those of every tenant. What is not named is for any token.
const routes = `
routes:
  - match: /
  - match: /admin
    roles: [admin]
  - match: /admin/
    roles: [admin]
  - match: GET /items
    workspace: query:workspace
  - match: GET /search/{id}
    workspace: query:workspace
  - match: GET /orders
    workspace: query:workspace_id
  - match: GET /hdr
    workspace: header:X-Org
  - match: /w/{ws}
    workspace: "{ws}"
  - match: /files/{name}
  - match: GET /public/{name}
    public: true
  - match: DELETE /things/{id}
    roles: [admin]
`

// world is the service, with a tenant for each server and way, and two Envoys
// before it: edge is the shipped envoy.yaml, bare one that leaves every path
// and header as it came.
type world struct {
	issuer     *jwttest.Issuer
	edge, bare *stack.Stack
}

// tenant is the id of a server's tenant: with all readings (the default), or
// with those that the server does.
func tenant(server string, own bool) string {
	if own {
		return server + "-own"
	}
	return server
}

// host is the name by which clients reach a server as a tenant.
func host(tenant string) string { return tenant + ".test" }

// start brings the world up for servers that run. own returns the readings of
// a server.
func start(t *testing.T, servers []*server, own func(server string) []string) *world {
	t.Helper()
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.test"})
	if err != nil {
		t.Fatal(err)
	}
	keys := jwttest.NewServer(issuer)
	t.Cleanup(keys.Close)
	w := &world{issuer: issuer}
	dir := t.TempDir()
	envoy, err := envoybin.Find(t.Context(), filepath.Join("..", "..", ".cache"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	service := filepath.Join(dir, "ussoauthz")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", service, "../../cmd/ussoauthz").CombinedOutput(); err != nil {
		t.Fatalf("building ussoauthz: %v\n%s", err, out)
	}
	text := "listen: ${env:USSOAUTHZ_LISTEN}\nadmin: {listen: \"${env:USSOAUTHZ_ADMIN}\"}\nshutdown: {drain: 0s}\n" +
		"defaults: {issuer: https://sso.test, audience: api, jwks_url: \"" + keys.JWKSURL() + "\"}\ntenants:\n"
	for _, s := range servers {
		text += fmt.Sprintf("  %s: {hosts: [%s]}\n", tenant(s.name, false), host(tenant(s.name, false)))
		text += fmt.Sprintf("  %s: {hosts: [%s], path_readings: [%s]}\n", tenant(s.name, true), host(tenant(s.name, true)), strings.Join(own(s.name), ", "))
	}
	write(t, dir, map[string]string{"ussoauthz.yaml": text + routes})
	cfg := stack.Config{
		Ussoauthz: service, Envoy: envoy, File: filepath.Join(dir, "ussoauthz.yaml"), Dir: filepath.Join(dir, "edge"),
		Upstream: servers[0].address, Edit: func(text []byte) []byte { return fanOut(text, servers) },
	}
	w.edge = w.up(t, cfg)
	cfg.Authz, cfg.Dir = w.edge.Authz, filepath.Join(dir, "bare")
	cfg.Edit = func(text []byte) []byte { return leaveAsItCame(fanOut(text, servers)) }
	w.bare = w.up(t, cfg)
	return w
}

func (w *world) up(t *testing.T, cfg stack.Config) *stack.Stack {
	t.Helper()
	if err := os.Mkdir(cfg.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"ussoauthz.log", "envoy.log"} {
			if text, err := os.ReadFile(s.Log(name)); t.Failed() && err == nil {
				t.Logf("%s of %s:\n%s", name, filepath.Base(cfg.Dir), text[max(0, len(text)-4<<10):])
			}
		}
	})
	return s
}

// token mints that of a request for a tenant; "" is none.
func (w *world) token(t testing.TB, r request, tenant string) string {
	t.Helper()
	if r.token == "none" {
		return ""
	}
	role := "editor"
	if r.token == "admin" {
		role = "admin"
	}
	text, err := w.issuer.Mint(map[string]any{
		"iss": "https://sso.test", "aud": "api", "sub": "user:eve", "tenant_id": tenant, "workspace_id": r.workspace(),
		"roles": []string{role}, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// through sends a request through one of the Envoys. A connection that the
// server closed under Envoy's hands is Envoy's 503, and tried again.
func (w *world) through(t testing.TB, envoy *stack.Stack, r request, tenant string) answer {
	t.Helper()
	token := w.token(t, r, tenant)
	for tries := 1; ; tries++ {
		a, err := r.send(strings.TrimPrefix(envoy.Edge, "http://"), host(tenant), token)
		if err != nil {
			t.Fatalf("%s to %s: %v", r.line, tenant, err)
		}
		if a.server || a.cell != "503" || tries == 5 {
			return a
		}
	}
}

// object is a piece of Envoy's configuration.
type object = map[string]any

// fanOut gives each server a cluster and a virtual host with both its names.
func fanOut(text []byte, servers []*server) []byte {
	return edit(text, func(cfg, hcm object) {
		resources := cfg["static_resources"].(object)
		var hosts []any
		clusters := resources["clusters"].([]any)
		for _, s := range servers {
			address, port, _ := net.SplitHostPort(s.address)
			hosts = append(hosts, object{
				"name": s.name, "domains": []string{host(tenant(s.name, false)), host(tenant(s.name, true))},
				"routes": []any{object{"match": object{"prefix": "/"}, "route": object{"cluster": s.name, "timeout": "15s"}}},
			})
			clusters = append(clusters, object{
				"name": s.name, "type": "STATIC", "connect_timeout": "1s",
				"load_assignment": object{"cluster_name": s.name, "endpoints": []any{object{"lb_endpoints": []any{
					object{"endpoint": object{"address": object{"socket_address": object{"address": address, "port_value": json.Number(port)}}}},
				}}}},
			})
		}
		resources["clusters"] = slices.Clip(clusters)
		hcm["route_config"].(object)["virtual_hosts"] = hosts
	})
}

// leaveAsItCame switches off all that the shipped file does to paths and names
// of headers: what an Envoy does whose owner thought of none of it.
func leaveAsItCame(text []byte) []byte {
	return edit(text, func(_, hcm object) {
		for _, key := range []string{"normalize_path", "merge_slashes", "path_with_escaped_slashes_action", "early_header_mutation_extensions"} {
			if _, ok := hcm[key]; !ok {
				panic("envoy.yaml has no " + key)
			}
			delete(hcm, key)
		}
		hcm["common_http_protocol_options"].(object)["headers_with_underscores_action"] = "ALLOW"
	})
}

// edit changes a configuration and its connection manager.
func edit(text []byte, change func(cfg, hcm object)) []byte {
	var cfg object
	if err := yaml.Unmarshal(text, &cfg); err != nil {
		panic(err)
	}
	listener := cfg["static_resources"].(object)["listeners"].([]any)[0].(object)
	filter := listener["filter_chains"].([]any)[0].(object)["filters"].([]any)[0].(object)
	change(cfg, filter["typed_config"].(object))
	out, err := yaml.Marshal(cfg)
	if err != nil {
		panic(err)
	}
	return out
}
