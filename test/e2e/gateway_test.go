package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

// object is a piece of a configuration; at and list walk down and panic where
// it is another one, which fails the test.
type object map[string]any

func (o object) at(path ...string) object {
	for _, key := range path {
		next, ok := o[key].(object)
		if !ok {
			panic("no object " + key)
		}
		o = next
	}
	return o
}

func (o object) list(key string) []object {
	var all []object
	for _, element := range o[key].([]any) {
		all = append(all, element.(object))
	}
	return all
}

// dump finds the part of a configuration dump that has the type.
func dump(configs []object, kind string) object {
	for _, c := range configs {
		if c["@type"] == "type.googleapis.com/envoy.admin.v3."+kind+"ConfigDump" {
			return c
		}
	}
	panic("no dump of " + kind)
}

// gatewayConfig makes a file that Envoy starts with of what Envoy Gateway would
// send it over xDS, and changes nothing in it but addresses: those are taken
// from text, the shipped configuration of the running stack.
func gatewayConfig(golden string, text []byte) []byte {
	read := func(text []byte) (o object) {
		if err := yaml.Unmarshal(text, &o); err != nil {
			panic(err)
		}
		return o
	}
	file, err := os.ReadFile(golden)
	if err != nil {
		panic(err)
	}
	shipped, configs := read(text), read(file).at("xds", "edge/edge").list("configs")
	address := func(cluster int) object {
		c := shipped.at("static_resources").list("clusters")[cluster].at("load_assignment").list("endpoints")[0]
		return c.list("lb_endpoints")[0].at("endpoint", "address")
	}

	endpoints := map[any]object{}
	for _, e := range dump(configs, "Endpoints").list("dynamicEndpointConfigs") {
		assignment := e.at("endpointConfig")
		delete(assignment, "@type")
		upstream := 1 // the application
		if strings.HasPrefix(assignment["clusterName"].(string), "securitypolicy/") {
			upstream = 0 // ussoauthz
		}
		assignment.list("endpoints")[0].list("lbEndpoints")[0].at("endpoint")["address"] = address(upstream)
		endpoints[assignment["clusterName"]] = assignment
	}
	var clusters []object
	for _, c := range dump(configs, "Clusters").list("dynamicActiveClusters") {
		cluster := c.at("cluster")
		delete(cluster, "@type")
		delete(cluster, "edsClusterConfig")
		cluster["type"], cluster["loadAssignment"] = "STATIC", endpoints[cluster["name"]]
		clusters = append(clusters, cluster)
	}
	routes := dump(configs, "Routes").list("dynamicRouteConfigs")[0].at("routeConfig")
	delete(routes, "@type")
	for _, l := range dump(configs, "Listeners").list("dynamicListeners") {
		listener := l.at("activeState", "listener")
		if listener["name"] != "edge/edge/http" {
			continue // for the kubelet
		}
		delete(listener, "@type")
		hcm := listener.at("defaultFilterChain").list("filters")[0].at("typedConfig")
		delete(hcm, "rds")
		hcm["routeConfig"] = routes
		listener["address"] = shipped.at("static_resources").list("listeners")[0].at("address")
		out, err := yaml.Marshal(object{
			"admin":           shipped.at("admin"),
			"layeredRuntime":  dump(configs, "Bootstrap").at("bootstrap", "layeredRuntime"),
			"staticResources": object{"listeners": []object{listener}, "clusters": clusters},
		})
		if err != nil {
			panic(err)
		}
		return out
	}
	panic("no listener edge/edge/http")
}

// envoyGateway runs what Envoy Gateway makes of a set of manifests.
func envoyGateway(t *testing.T, golden string) func(*world, *stack.Config) {
	return func(_ *world, c *stack.Config) {
		c.Edit = func(text []byte) []byte { return gatewayConfig(file(t, "test/mesh/testdata/"+golden), text) }
	}
}

// What Envoy Gateway makes of envoy/envoy-gateway/gateway.yaml.
func TestEnvoyGateway(t *testing.T) {
	w := start(t, envoyGateway(t, "envoy-gateway.yaml"))
	guarded(t, w, "api.acme.example")
	for _, tt := range []tour.Step{
		{Title: "a header that names another tenant", Host: "api.acme.example", Path: "/me", Token: alice, Headers: [][2]string{{"X-Tenant-Id", "globex"}}, Status: 400, Reason: "invalid_tenant"},
		{Title: "a foreign token", Host: "api.acme.example", Path: "/me", Token: &tour.Token{Tenant: "globex", Subject: "user:gwen"}, Status: 401, Reason: "token_invalid"},
		{Title: "a host of no route", Host: "globex.example", Path: "/me", Status: 404, Reason: "envoy"},
	} {
		if err := tt.Check(w.do(t, tt, 6)); err != nil {
			t.Errorf("%s: %v", tt.Title, err)
		}
	}
	unguarded(t, w, "api.acme.example")
}

// With envoy/envoy-gateway/tenant-of-a-route.yaml the route names the tenant: a
// configuration in which the host is nobody's serves it.
func TestTenantOfAGatewayRoute(t *testing.T) {
	nobodys := func(_ *world, c *stack.Config) {
		text, err := os.ReadFile(c.File)
		if err != nil {
			t.Fatal(err)
		}
		c.File = filepath.Join(c.Dir, "ussoauthz.yaml")
		changed := replace(`hosts: [acme.example, "*.acme.example"]`, "hosts: [elsewhere.example]")(string(text))
		if err := os.WriteFile(c.File, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, nobodys, envoyGateway(t, "envoy-gateway-tenant.yaml"))
	guarded(t, w, "api.acme.example")
	other := tour.Step{Host: "api.acme.example", Path: "/me", Token: alice, Headers: [][2]string{{"X-Tenant-Id", "globex"}}, Status: 400, Reason: "invalid_tenant"}
	if err := other.Check(w.do(t, other, 6)); err != nil {
		t.Errorf("a header that names another tenant: %v", err)
	}
	unguarded(t, w, "api.acme.example")

	without := start(t, nobodys, envoyGateway(t, "envoy-gateway.yaml"))
	none := tour.Step{Host: "api.acme.example", Path: "/me", Token: alice}
	if a := without.do(t, none, 7); a.Status != http.StatusBadRequest || a.Reason() != "invalid_tenant" {
		t.Errorf("without the policy of the route: %d %s", a.Status, a.Body)
	}
}
