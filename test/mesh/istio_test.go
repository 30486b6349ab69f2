package mesh

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/envoycheck"
)

// recorder denies or allows every check, and counts them.
type recorder struct {
	authv3.UnimplementedAuthorizationServer
	mu    sync.Mutex
	allow bool
	asked int
}

func (r *recorder) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.allow {
		return &authv3.CheckResponse{Status: status.New(codes.OK, "").Proto(), HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
	}
	return &authv3.CheckResponse{Status: status.New(codes.PermissionDenied, "").Proto(), HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: denied},
	}}}, nil
}

// denied is a status that Envoy has no reason of its own for.
const denied = typev3.StatusCode_PreconditionFailed

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *recorder) answers(allow bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allow = allow
}

// application counts what reaches it, and remembers the last request.
type application struct {
	mu   sync.Mutex
	hits int
	last *http.Request
}

func (a *application) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hits++
	a.last = r
}

func (a *application) seen() (int, *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hits, a.last
}

// proxy is the real Envoy with the HTTP filters and routes that istiod wrote.
type proxy struct {
	chains  []string // the address of each of its http_connection_managers
	checks  *recorder
	app     *application
	process *envoybin.Process
}

type object = map[string]any

// managers finds the http_connection_managers that ask.
func managers(value any) (found []object) {
	switch v := value.(type) {
	case object:
		if v["@type"] == "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" {
			return []object{v}
		}
		for _, key := range sorted(v) {
			found = append(found, managers(v[key])...)
		}
	case []any:
		for _, element := range v {
			found = append(found, managers(element)...)
		}
	}
	return found
}

func sorted(o object) (keys []string) {
	for key := range o {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// ofIstioAlone are filters that Istio's build of Envoy has and others have not.
// They exchange facts about workloads for metrics, and set the ALPN of upstreams.
func ofIstioAlone(filter any) bool {
	config, _ := filter.(object)["typedConfig"].(object)
	kind := fmt.Sprint(config["@type"], config["typeUrl"])
	return strings.Contains(kind, "io.istio.http.") || strings.Contains(kind, "istio.envoy.config.filter.")
}

// bootstrap puts each manager on a listener of its own, with the routes that istiod
// sends apart from it, and leads its routes to an application.
func bootstrap(t *testing.T, name, authz, app string) (text []byte, chains int) {
	t.Helper()
	_, file := (golden{name: name}).read(t)
	var xds struct {
		Listeners []object
		Routes    []object
		Clusters  []object
	}
	if err := yaml.Unmarshal([]byte(file), &xds); err != nil {
		t.Fatal(err)
	}
	upstreams := map[string]bool{}
	var listeners, clusters []any
	for i, hcm := range managers([]any{anyOf(xds.Listeners)}) {
		hcm["httpFilters"] = slices.DeleteFunc(hcm["httpFilters"].([]any), ofIstioAlone)
		if rds, ok := hcm["rds"].(object); ok {
			at := slices.IndexFunc(xds.Routes, func(r object) bool { return r["name"] == rds["routeConfigName"] })
			hcm["routeConfig"] = xds.Routes[at]
			delete(hcm, "rds")
		}
		for _, host := range hcm["routeConfig"].(object)["virtualHosts"].([]any) {
			for _, route := range host.(object)["routes"].([]any) {
				upstreams[route.(object)["route"].(object)["cluster"].(string)] = true
			}
		}
		listeners = append(listeners, object{
			"name": fmt.Sprint("chain", i), "address": address("127.0.0.1:0"),
			"filterChains": []any{object{"filters": []any{object{"name": "hcm", "typedConfig": hcm}}}},
		})
	}
	for cluster := range upstreams {
		clusters = append(clusters, endpoint(object{"name": cluster}, app))
	}
	for _, c := range xds.Clusters { // the endpoints come from elsewhere, and TLS with them
		for _, key := range []string{"edsClusterConfig", "transportSocket", "transportSocketMatches", "filters"} {
			delete(c, key)
		}
		clusters = append(clusters, endpoint(c, authz))
	}
	text, err := yaml.Marshal(object{
		"admin":           object{"address": address("127.0.0.1:0")},
		"staticResources": object{"listeners": listeners, "clusters": clusters},
	})
	if err != nil || len(listeners) == 0 {
		t.Fatalf("%d listeners: %v", len(listeners), err)
	}
	return text, len(listeners)
}

func anyOf(list []object) (all []any) {
	for _, element := range list {
		all = append(all, element)
	}
	return all
}

func address(hostport string) object {
	host, port, _ := net.SplitHostPort(hostport)
	return object{"socketAddress": object{"address": host, "portValue": port}}
}

func endpoint(cluster object, at string) object {
	cluster["type"] = "STATIC"
	cluster["loadAssignment"] = object{"clusterName": cluster["name"], "endpoints": []any{object{"lbEndpoints": []any{object{"endpoint": object{"address": address(at)}}}}}}
	return cluster
}

func startProxy(t *testing.T, name string) *proxy {
	t.Helper()
	binary, err := envoybin.Find(t.Context(), root+"/.cache", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{checks: &recorder{}, app: &application{}}
	app := httptest.NewServer(p.app)
	t.Cleanup(app.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, p.checks)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-served })
	text, chains := bootstrap(t, name, listener.Addr().String(), strings.TrimPrefix(app.URL, "http://"))
	if p.process, err = envoybin.Start(t.Context(), binary, text, io.Discard, t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.process.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range chains {
		at, err := p.process.Listener(t.Context(), fmt.Sprint("chain", i))
		if err != nil {
			t.Fatal(err)
		}
		p.chains = append(p.chains, at)
	}
	return p
}

// spellings of a Host that lead to the application, or to nothing.
var hosts = []string{
	"api.acme.example", "api.acme.example:80", "api.acme.example:443", "api.acme.example:8080", "api.acme.example:0", "api.acme.example:", "api.acme.example.",
	"api.acme.example.:80", "API.Acme.Example", "API.ACME.EXAMPLE:80", "other.example", "user@api.acme.example", "api.acme.example:80:80", "api.acme.example,other.example",
	"posts.shop.svc.cluster.local", "192.0.2.2", "[2001:db8::1]:80", "",
}

// wires are requests of HTTP/1 as bytes.
func wires() (all []string) {
	const end = "Connection: close\r\n\r\n"
	for _, host := range hosts {
		all = append(all, "GET / HTTP/1.1\r\nHost: "+host+"\r\n"+end)
	}
	for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "TRACK", "get", "Get", "FOO", "PRI", "CONNECT", "PROPFIND", "M-SEARCH"} {
		all = append(all, method+" / HTTP/1.1\r\nHost: api.acme.example\r\n"+end)
	}
	for _, target := range []string{"//", "/a/../b", "/a%2Fb", "/a;x/..;/b", "/%2e%2e/b", "/a\\b", "/?q=/../", "http://api.acme.example/", "http://other.example/", "*", "/healthz", "/public/x", "/#f"} {
		all = append(all, "GET "+target+" HTTP/1.1\r\nHost: api.acme.example\r\n"+end)
	}
	for _, lines := range []string{
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
		"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"Upgrade: foo\r\nConnection: Upgrade\r\n\r\n",
		"Host: other.example\r\n" + end,
		"Expect: 100-continue\r\nContent-Length: 2\r\n" + end,
		"Transfer-Encoding: chunked\r\n" + end + "0\r\n\r\n",
		"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n" + end + "0\r\n\r\n",
		"Connection: close, x-user-id, authorization\r\n\r\n",
		"X-Envoy-Original-Path: /\r\nX-Istio-Attributes: a\r\n" + end,
		"X-Forwarded-For: 127.0.0.1\r\nX-Envoy-Internal: true\r\n" + end,
	} {
		all = append(all, "GET / HTTP/1.1\r\nHost: api.acme.example\r\n"+lines)
	}
	return append(all, "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: api.acme.example\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\n"+end)
}

// send sends a request of HTTP/1. It returns the status, and 0 where Envoy closed
// the connection.
func send(t *testing.T, address, wire string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, wire) // Envoy may close before the end
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	return resp.StatusCode
}

// sendHTTP2 sends a request of HTTP/2 with prior knowledge. It returns "" where
// Envoy ended the stream or the connection.
func sendHTTP2(t *testing.T, address string, fields [][2]string) (status string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true})
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return ""
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return ""
		}
	}
}

// http2Requests are the fields of requests of HTTP/2.
func http2Requests() (all [][][2]string) {
	request := func(method, authority, path string, more ...[2]string) {
		all = append(all, append([][2]string{{":method", method}, {":scheme", "http"}, {":authority", authority}, {":path", path}}, more...))
	}
	for _, host := range hosts {
		request("GET", host, "/")
	}
	for _, method := range []string{"get", "FOO", "TRACE", "TRACK", "HEAD", "OPTIONS", "PRI"} {
		request(method, "api.acme.example", "/")
	}
	request("GET", "api.acme.example", "/", [2]string{"host", "other.example"})
	request("GET", "api.acme.example", "//a/../b")
	request("OPTIONS", "api.acme.example", "*")
	request("CONNECT", "api.acme.example", "/", [2]string{":protocol", "websocket"})
	all = append(all, [][2]string{{":method", "CONNECT"}, {":authority", "api.acme.example:80"}},
		[][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "api.acme.example:80"}},
		[][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "api.acme.example:443"}, {":path", "/"}})
	return all
}

// TestIstio runs what istiod makes of our manifests: the RBAC filter that only notes
// which rule matches, and the ext_authz filter that asks where it noted one. Of every
// request the service is asked, or Envoy refuses it by itself; as the service denies,
// the application sees none.
func TestIstio(t *testing.T) {
	for _, name := range []string{"istiod-sidecar.yaml", "istiod-gateway.yaml", "istiod-waypoint.yaml"} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, name)
			for _, address := range p.chains {
				asked := 0
				one := func(what string, send func() string) {
					before := p.checks.count()
					status := send()
					hits, _ := p.app.seen()
					checked := p.checks.count() > before
					// 403: an upgrade that is not configured; 426: HTTP/1.0.
					refused := slices.Contains([]string{"", "0", "400", "403", "404", "426"}, status)
					if hits > 0 || !checked && !refused || checked && status != fmt.Sprint(int(denied)) {
						t.Fatalf("%q: status %s, asked: %t, the application saw %d requests", what, status, checked, hits)
					}
					if checked {
						asked++
					}
				}
				for _, wire := range wires() {
					one(wire, func() string { return fmt.Sprint(send(t, address, wire)) })
				}
				for _, fields := range http2Requests() {
					one(fmt.Sprint("HTTP/2 ", fields), func() string { return sendHTTP2(t, address, fields) })
				}
				if all := len(wires()) + len(http2Requests()); asked < all/3 {
					t.Errorf("%d of %d requests were asked about: Envoy refuses them before there is anything to test", asked, all)
				}
			}
		})
	}
}

// What was wrong: rules that name hosts or ports are passed, and the requests above
// find it.
func TestIstioRulesThatArePassed(t *testing.T) {
	for name, manifest := range map[string]string{"istiod-gateway-hosts.yaml": "testdata/istio-hosts.yaml", "istiod-waypoint-ports.yaml": "testdata/istio-ports.yaml"} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, name)
			passed := 0
			for _, address := range p.chains {
				for _, wire := range wires() {
					before, _ := p.app.seen()
					send(t, address, wire)
					if after, _ := p.app.seen(); after > before {
						passed++
					}
				}
			}
			if passed == 0 || (name == "istiod-gateway-hosts.yaml") == (passed > 20) {
				t.Errorf("%d requests passed", passed)
			}
			for _, file := range []string{manifest, "testdata/" + name} {
				text := readFile(t, file)
				if !slices.ContainsFunc(envoycheck.Check(file, text, nil), func(f envoycheck.Finding) bool { return f.Kind == envoycheck.Unasked }) {
					t.Errorf("validate --envoy %s does not tell", file)
				}
			}
		})
	}
}

// What a client must not say to the application is gone when it gets there, and one
// spelling of the host arrives.
func TestIstioRemovesHeaders(t *testing.T) {
	for name, early := range map[string]bool{"istiod-sidecar.yaml": true, "istiod-gateway.yaml": true, "istiod-waypoint.yaml": false} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, name)
			p.checks.answers(true)
			// The first chain of a waypoint is the Service's, which has our route.
			status := send(t, p.chains[0], "GET / HTTP/1.1\r\nHost: API.acme.example.:80\r\nX-Original-URL: /admin\r\nX-Rewrite-Url: /admin\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n"+
				"X-HTTP-Method: DELETE\r\nX-Forwarded-Uri: /admin\r\nX-User-Id: root\r\nX-Kept: 1\r\nConnection: close\r\n\r\n")
			hits, r := p.app.seen()
			if status != 200 || hits != 1 || r.Header.Get("X-Kept") != "1" {
				t.Fatalf("status %d, %d requests, %v", status, hits, r)
			}
			for _, header := range []string{"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Method-Override", "X-Http-Method", "X-Forwarded-Uri"} {
				if values := r.Header.Values(header); len(values) > 0 {
					t.Errorf("%s: %q", header, values)
				}
			}
			if early && (r.Header.Get("X-User-Id") != "" || r.Host != "API.acme.example") {
				t.Errorf("x-user-id %q, host %q", r.Header.Get("X-User-Id"), r.Host)
			}
		})
	}
}

// findings of what istiod makes of our manifests: none that opens, and of a waypoint
// those that no manifest can change.
func TestIstioAsChecked(t *testing.T) {
	for name, want := range map[string][]envoycheck.Kind{
		"istiod-sidecar.yaml": nil, "istiod-gateway.yaml": nil, "envoy-gateway.yaml": nil, "envoy-gateway-tenant.yaml": nil,
		"istiod-waypoint.yaml": {envoycheck.Normalization, envoycheck.RewritingHeaders, envoycheck.Underscores},
	} {
		var got []envoycheck.Kind
		for _, f := range envoycheck.Check(name, readFile(t, "testdata/"+name), nil) {
			if !slices.Contains(got, f.Kind) {
				got = append(got, f.Kind)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
