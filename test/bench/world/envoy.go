package world

import (
	"fmt"
	"net"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/envoy"
)

// Edge is a listener of Envoy: envoy/envoy.yaml's own, with other filters before
// its router.
type Edge struct {
	Name    string
	Address string // host:port
	Authz   string // the host:port that ext_authz asks; "": no ext_authz
	Healthy bool   // Authz answers health checks
	Native  *NativeJWT
}

// NativeJWT is Envoy's own verification of tokens.
type NativeJWT struct {
	Tenants int // more than one: selected by filter state
	Cache   int // tokens in jwt_cache_config; 0: off
}

// EnvoyConfig returns the configuration of one Envoy with all these edges.
func EnvoyConfig(admin, upstream string, issuers *Issuers, edges []Edge) ([]byte, error) {
	config, err := sample(admin, upstream)
	if err != nil {
		return nil, err
	}
	resources := config["static_resources"].(map[string]any)
	clusters := resources["clusters"].([]any)
	var listeners []any
	clusters = clusters[1:] // the application; each edge adds the service that it asks
	for _, e := range edges {
		listener, cluster, err := e.build(upstream, issuers)
		if err != nil {
			return nil, fmt.Errorf("edge %s: %w", e.Name, err)
		}
		listeners = append(listeners, listener)
		if e.Authz != "" {
			clusters = append(clusters, cluster)
		}
	}
	resources["listeners"], resources["clusters"] = listeners, clusters
	return yaml.Marshal(config)
}

// sample reads envoy/envoy.yaml anew, so that each caller may change it.
func sample(admin, upstream string) (config map[string]any, err error) {
	text, err := envoy.Config(envoy.Ports{Admin: admin, Upstream: upstream})
	if err != nil {
		return nil, err
	}
	return config, yaml.Unmarshal(text, &config)
}

func (e Edge) build(upstream string, issuers *Issuers) (listener, cluster map[string]any, err error) {
	config, err := sample("", upstream)
	if err != nil {
		return nil, nil, err
	}
	resources := config["static_resources"].(map[string]any)
	listener = resources["listeners"].([]any)[0].(map[string]any)
	cluster = resources["clusters"].([]any)[0].(map[string]any)
	listener["name"] = e.Name
	if listener["address"], err = socketAddress(e.Address); err != nil {
		return nil, nil, err
	}
	hcm := at(listener, "filter_chains", 0, "filters", 0, "typed_config").(map[string]any)
	// What is logged is written as the sample says, and thrown away.
	access := at(hcm, "access_log", 0).(map[string]any)
	access["name"] = "envoy.access_loggers.file"
	at(access, "typed_config").(map[string]any)["@type"] = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
	at(access, "typed_config").(map[string]any)["path"] = "/dev/null"
	filters := hcm["http_filters"].([]any)
	router := filters[len(filters)-1]
	switch {
	case e.Authz != "":
		at(filters[0], "typed_config", "grpc_service", "envoy_grpc").(map[string]any)["cluster_name"] = e.Name
		hcm["http_filters"] = []any{filters[0], router}
	case e.Native != nil:
		hcm["http_filters"] = append(e.Native.filters(issuers), router)
	default:
		hcm["http_filters"] = []any{router}
	}
	if e.Authz == "" {
		for _, host := range at(hcm, "route_config", "virtual_hosts").([]any) {
			delete(host.(map[string]any), "typed_per_filter_config") // of a filter that is not there
		}
		return listener, nil, nil
	}
	cluster["name"] = e.Name
	if !e.Healthy {
		delete(cluster, "health_checks")
	}
	load := cluster["load_assignment"].(map[string]any)
	load["cluster_name"] = e.Name
	endpoint := at(load, "endpoints", 0, "lb_endpoints", 0, "endpoint").(map[string]any)
	endpoint["address"], err = socketAddress(e.Authz)
	return listener, cluster, err
}

// at walks down keys of maps and indexes of lists. A sample of another shape is
// a fault of this program: it panics.
func at(v any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			v = v.(map[string]any)[key]
		case int:
			v = v.([]any)[key]
		}
	}
	return v
}

func socketAddress(address string) (map[string]any, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": n}}, err
}

// filters verify a token with the keys, issuer and audience of its tenant, and
// hand its subject on.
func (n NativeJWT) filters(issuers *Issuers) []any {
	providers := map[string]any{}
	requires := map[string]any{}
	for i := range n.Tenants {
		provider := map[string]any{
			"issuer": issuerOf(i), "audiences": []any{audience}, "forward": true,
			"local_jwks":       map[string]any{"inline_string": string(issuers.list[i].JWKS())},
			"from_headers":     []any{map[string]any{"name": "Authorization", "value_prefix": "Bearer "}},
			"claim_to_headers": []any{map[string]any{"header_name": "x-user-id", "claim_name": "sub"}},
		}
		if n.Cache > 0 {
			provider["jwt_cache_config"] = map[string]any{"jwt_cache_size": n.Cache}
		}
		providers[tenantOf(i)] = provider
		requires[tenantOf(i)] = map[string]any{"provider_name": tenantOf(i)}
	}
	config := map[string]any{
		"@type":     "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
		"providers": providers,
	}
	jwt := map[string]any{"name": "envoy.filters.http.jwt_authn", "typed_config": config}
	if n.Tenants == 1 {
		config["rules"] = []any{map[string]any{"match": map[string]any{"prefix": "/"}, "requires": requires[tenantOf(0)]}}
		return []any{jwt}
	}
	config["filter_state_rules"] = map[string]any{"name": "bench.tenant", "requires": requires}
	selects := map[string]any{"name": "envoy.filters.http.set_filter_state", "typed_config": map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
		"on_request_headers": []any{map[string]any{
			"object_key": "bench.tenant", "factory_key": "envoy.string",
			"format_string": map[string]any{"text_format_source": map[string]any{"inline_string": "%REQ(X-TENANT-ID)%"}},
		}},
	}}
	return []any{selects, jwt}
}
