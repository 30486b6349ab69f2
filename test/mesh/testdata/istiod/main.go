// Program istiod prints the configuration that Istio's control plane would send to
// one of its proxies for the given manifests: the code of pilot itself, with the
// stand-ins for a cluster that its own tests use. `make mesh-check` builds it, in a
// module of its own, with the version of Istio that the Makefile names.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"istio.io/api/label"
	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/mesh"
	_ "istio.io/istio/pkg/config/xds" // the types of all extensions
	"istio.io/istio/pkg/test"
)

// proxies are the Envoys that the manifests are about, and the listener of each that
// matters.
var proxies = map[string]struct {
	kind      model.NodeType
	namespace string
	address   string
	labels    map[string]string
	listener  string
}{
	"sidecar": {model.SidecarProxy, "shop", "192.0.2.11", map[string]string{"app": "posts"}, "virtualInbound"},
	"gateway": {model.Router, "istio-ingress", "192.0.2.12", map[string]string{"istio": "ingress"}, "0.0.0.0_80"},
	"waypoint": {model.Waypoint, "shop", "192.0.2.13", map[string]string{
		label.IoK8sNetworkingGatewayGatewayName.Name: "waypoint", label.GatewayManaged.Name: constants.ManagedGatewayMeshControllerLabel,
	}, "main_internal"},
}

func main() {
	name := flag.String("proxy", "", "sidecar, gateway or waypoint")
	settings := flag.String("mesh", "", "the `file` of the mesh's configuration")
	flag.Parse()
	if err := test.Wrap(func(t test.Failer) { print(t, *name, *settings, flag.Args()) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func print(t test.Failer, name, settings string, manifests []string) {
	wanted, known := proxies[name]
	if !known {
		t.Fatal("no such proxy")
	}
	features.EnableAmbient = true
	meshConfig, err := mesh.ApplyMeshConfigDefaults(read(t, settings))
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, file := range manifests {
		parts = append(parts, read(t, file))
	}
	text := strings.Join(parts, "\n---\n")
	// Some of pilot reads a store of configurations, some a cluster.
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: text, KubernetesObjectString: text, MeshConfig: meshConfig})
	proxy := server.SetupProxy(&model.Proxy{
		Type: wanted.kind, ConfigNamespace: wanted.namespace, IPAddresses: []string{wanted.address}, Labels: wanted.labels,
		Metadata: &model.NodeMetadata{Labels: wanted.labels, Namespace: wanted.namespace, IstioVersion: "1.31.0"},
	})
	var listeners []*listenerv3.Listener
	for _, l := range server.Listeners(proxy) {
		if l.GetName() == wanted.listener {
			listeners = append(listeners, l)
		}
	}
	var clusters []*clusterv3.Cluster
	for _, c := range server.Clusters(proxy) {
		if strings.Contains(c.GetName(), "authz-ussoauthz") {
			clusters = append(clusters, c)
		}
	}
	out, err := yaml.Marshal(map[string]any{
		"listeners": values(t, listeners),
		"routes":    values(t, server.RoutesFromListeners(proxy, listeners)),
		"clusters":  values(t, clusters),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.Write(out); err != nil {
		t.Fatal(err)
	}
}

func read(t test.Failer, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// values are messages as plain values, without the settings of tracing, which are
// long and say nothing of who is asked.
func values[M proto.Message](t test.Failer, messages []M) []any {
	all := []any{}
	for _, message := range messages {
		text, err := protojson.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		all = append(all, without(value, "tracing"))
	}
	return all
}

func without(value any, name string) any {
	switch v := value.(type) {
	case map[string]any:
		delete(v, name)
		for key := range v {
			v[key] = without(v[key], name)
		}
	case []any:
		for i := range v {
			v[i] = without(v[i], name)
		}
	}
	return value
}
