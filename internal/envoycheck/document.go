package envoycheck

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What a file may be: a config_dump of a large mesh is some 50 MiB. Aliases are
// followed, so that a short file can hold any number of values.
const (
	maxBytes   = 128 << 20
	maxDepth   = 256
	maxAliased = 1_000_000
)

// manager is an http_connection_manager and where it stands.
type manager struct {
	node
	listener node
	filters  []node
	guard    int // which of filters is ext_authz; -1: none
}

// resources are what one file holds, of all its documents.
type resources struct {
	bootstrap node // the document that is one; absent: the file holds other forms
	managers  []manager
	proxies   []node // tcp_proxy, without ext_authz for connections before it
	clusters  map[string]node
	routes    map[string]node
	manifests []node // of Kubernetes
	mesh      []node // meshConfig of Istio

	left    int // values that may be visited
	tooMuch bool
}

// check reads the documents of a file and checks what they hold together.
func (f *checker) check(text []byte) {
	r := &resources{clusters: map[string]node{}, routes: map[string]node{}, left: len(text) + maxAliased}
	if len(text) > maxBytes {
		f.report(Unreadable, node{}, "", "is larger than %d MiB", maxBytes>>20)
		return
	}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.report(Unreadable, node{}, "", "is neither YAML nor JSON: %s", strings.TrimPrefix(err.Error(), "yaml: "))
			return
		}
		r.document(at(document.Content[0], nil))
	}
	switch {
	case r.tooMuch:
		f.report(Unreadable, node{}, "", "holds more than %d values read through aliases, or is nested deeper than %d levels", maxAliased, maxDepth)
	case len(r.managers)+len(r.proxies)+len(r.clusters)+len(r.routes)+len(r.manifests)+len(r.mesh) == 0:
		f.report(Unreadable, node{}, "", "holds no listener, route or cluster of Envoy, and no manifest: write a bootstrap, a config_dump, or manifests of Istio or Envoy Gateway")
	default:
		f.checkEnvoy(r)
		f.checkManifests(r)
	}
}

// document finds the resources of one document.
func (r *resources) document(root node) {
	switch {
	case root.get("apiVersion").set() && root.get("kind").set():
		r.manifests = append(r.manifests, root)
		if root.get("kind").text() == "List" { // as kubectl get writes it
			r.manifests = append(r.manifests, root.get("items").list()...)
		}
		return
	case root.get("meshConfig").set(): // values of istiod's chart
		r.mesh = append(r.mesh, root.get("meshConfig"))
		return
	case root.get("extensionProviders").set(): // as istioctl has it
		r.mesh = append(r.mesh, root)
		return
	case root.get("static_resources").set():
		r.bootstrap = root
	}
	r.collect(root, "", node{}, 0)
}

// collect looks at every value below n for resources, whatever stands around them: a
// bootstrap, a config_dump and a list of listeners hold them at different places.
func (r *resources) collect(n node, key string, listener node, depth int) {
	if r.left--; r.left < 0 || depth > maxDepth {
		r.tooMuch = true
	}
	if r.tooMuch || !n.set() {
		return
	}
	for _, element := range n.list() {
		r.collect(element, key, listener, depth+1)
	}
	if n.n.Kind != yaml.MappingNode {
		return
	}
	switch {
	case n.is("http_connection_manager.v3.HttpConnectionManager"):
		message, _ := n.typed()
		r.add(message, listener)
	case n.get("filters").set():
		r.chain(n.get("filters").list())
	case n.get("filter_chains").set(), n.get("default_filter_chain").set():
		listener = n
	case n.get("virtual_hosts").set():
		r.routes[n.get("name").text()] = n
	case isCluster(n, key):
		r.clusters[n.get("name").text()] = n
	}
	n.each(func(key string, value node) { r.collect(value, foldName(key), listener, depth+1) })
}

// isCluster tells a cluster from the others that are called so: the weighted ones
// of a route have a weight and a name alone.
func isCluster(n node, key string) bool {
	if n.is("cluster.v3.Cluster") {
		return true
	}
	if key != "clusters" && key != "cluster" || n.get("name").text() == "" {
		return false
	}
	for _, field := range []string{"load_assignment", "eds_cluster_config", "connect_timeout", "type", "cluster_type", "typed_extension_protocol_options"} {
		if n.get(field).set() {
			return true
		}
	}
	return false
}

// chain finds the tcp_proxy of a filter chain. Connections may be asked about, too.
func (r *resources) chain(filters []node) {
	for _, filter := range filters {
		switch config := filter.get("typed_config"); {
		case config.is("network.ext_authz.v3.ExtAuthz"):
			return
		case config.is("tcp_proxy.v3.TcpProxy"):
			message, _ := config.typed()
			r.proxies = append(r.proxies, message)
		}
	}
}

func (r *resources) add(hcm, listener node) {
	m := manager{node: hcm, listener: listener, filters: hcm.get("http_filters").list(), guard: -1}
	for i, filter := range m.filters {
		if m.guard < 0 && filter.get("typed_config").is("http.ext_authz.v3.ExtAuthz") {
			m.guard = i
		}
	}
	r.managers = append(r.managers, m)
}

// routesOf returns the routes of a manager, which may stand elsewhere in the file,
// or nowhere in it.
func (r *resources) routesOf(m manager) node {
	if inline := m.get("route_config"); inline.set() {
		return inline
	}
	return r.routes[m.get("rds", "route_config_name").text()]
}
