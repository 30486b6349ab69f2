package envoy_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/envoy"
	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
)

// TestSamplesAreHardened: a sample is envoy.yaml but for the places named here,
// so that nothing that is added there is forgotten elsewhere.
func TestSamplesAreHardened(t *testing.T) {
	own := map[string][]string{
		"envoy.yaml":     nil,
		"sidecar.yaml":   {"clusters ussoauthz type", "clusters ussoauthz dns_lookup_family", "clusters ussoauthz load_assignment", "hcm route_config"},
		"tenants.yaml":   {"hcm route_config", "hcm early_header_mutation_extensions"},
		"jwt-authn.yaml": {"clusters issuer", "hcm route_config", "filters envoy.filters.http.jwt_authn"},
	}
	found, err := filepath.Glob("*.yaml")
	if err != nil || len(found) != len(own) {
		t.Fatalf("%d files, %d known: %v", len(found), len(own), err)
	}
	want := parts(t, "envoy.yaml")
	for name, allowed := range own {
		got := parts(t, name)
		all := maps.Clone(want)
		maps.Copy(all, got)
		for part := range all {
			if same := reflect.DeepEqual(got[part], want[part]); same == slices.Contains(allowed, part) {
				t.Errorf("%s: %s: as in envoy.yaml: %t", name, part, same)
			}
		}
	}
	// tenants.yaml removes one header more, and no header less.
	early := "hcm early_header_mutation_extensions"
	text := strings.Replace(fmt.Sprint(parts(t, "tenants.yaml")[early]), "map[remove:x-tenant-id] ", "", 1)
	if text != fmt.Sprint(want[early]) {
		t.Errorf("tenants.yaml removes %s", text)
	}
}

// parts takes a file apart into what a sample may or may not change.
func parts(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := envoy.Sample(name, envoy.Ports{})
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	list := map[string]any{}
	static := file["static_resources"].(map[string]any)
	for _, c := range static["clusters"].([]any) {
		cluster := c.(map[string]any)
		name := "clusters " + cluster["name"].(string)
		if name == "clusters issuer" {
			list[name] = cluster
			continue
		}
		for key, value := range cluster {
			list[name+" "+key] = value
		}
	}
	listener := static["listeners"].([]any)[0].(map[string]any)
	chain := listener["filter_chains"].([]any)[0].(map[string]any)
	hcm := chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
	for key, value := range hcm {
		list["hcm "+key] = value
	}
	for _, f := range hcm["http_filters"].([]any) {
		filter := f.(map[string]any)
		list["filters "+filter["name"].(string)] = filter["typed_config"]
	}
	for _, taken := range []struct {
		from map[string]any
		key  string
	}{{static, "clusters"}, {static, "listeners"}, {list, "hcm http_filters"}, {chain, "filters"}} {
		delete(taken.from, taken.key)
	}
	list["listener"], list["rest"] = listener, file
	return list
}

// The checks come in this order, and the router ends them.
func TestOrderOfFilters(t *testing.T) {
	text, err := envoy.Sample("jwt-authn.yaml", envoy.Ports{})
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, name := range []string{"jwt_authn", "ext_authz", "router"} {
		at := strings.Index(string(text), "- name: envoy.filters.http."+name)
		if at < last {
			t.Errorf("%s is not in its place", name)
		}
		last = at
	}
}

// TestEnvoyAcceptsTheFile runs the real Envoy on the file as it is and with
// other addresses: names, IPv6 and free ports.
func TestEnvoyAcceptsTheFile(t *testing.T) {
	binary, err := envoybin.Find(t.Context(), "../.cache", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for name, ports := range map[string]envoy.Ports{
		"as it is":       {},
		"tenants.yaml":   {},
		"sidecar.yaml":   {},
		"jwt-authn.yaml": {},
		"replaced":       {Edge: "0.0.0.0:0", Authz: "ussoauthz:9000", Upstream: "[::1]:9001", Admin: "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			file := name
			if !strings.HasSuffix(name, ".yaml") {
				file = "envoy.yaml"
			}
			config, err := envoy.Sample(file, ports)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(path, config, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), binary, "--mode", "validate", "-c", path).CombinedOutput()
			if err != nil {
				t.Fatalf("envoy --mode validate: %v\n%s", err, out)
			}
			// Nobody serves keys while Envoy validates; the end-to-end test runs it.
			if strings.Contains(string(out), "[warning]") && name != "jwt-authn.yaml" {
				t.Errorf("envoy warns:\n%s", out)
			}
		})
	}
}

func TestConfigWithoutPortsIsTheFile(t *testing.T) {
	want, err := os.ReadFile("envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := envoy.Config(envoy.Ports{})
	if err != nil || string(got) != string(want) {
		t.Errorf("Config changed the file: %v", err)
	}
}

func TestConfigReplacesEachAddress(t *testing.T) {
	got, err := envoy.Config(envoy.Ports{Edge: "192.0.2.1:1", Authz: "authz:2", Upstream: "[2001:db8::1]:3", Admin: "127.0.0.1:4"})
	if err != nil {
		t.Fatal(err)
	}
	type socket struct {
		SocketAddress struct {
			Address string `yaml:"address"`
			Port    int    `yaml:"port_value"`
		} `yaml:"socket_address"`
	}
	var file struct {
		Admin  struct{ Address socket }
		Static struct {
			Listeners []struct{ Address socket }
			Clusters  []struct {
				Name   string
				Assign struct {
					Endpoints []struct {
						LB []struct {
							Endpoint struct{ Address socket }
						} `yaml:"lb_endpoints"`
					}
				} `yaml:"load_assignment"`
			}
		} `yaml:"static_resources"`
	}
	if err := yaml.Unmarshal(got, &file); err != nil {
		t.Fatal(err)
	}
	addresses := map[string]socket{"admin": file.Admin.Address, "edge": file.Static.Listeners[0].Address}
	for _, c := range file.Static.Clusters {
		addresses[c.Name] = c.Assign.Endpoints[0].LB[0].Endpoint.Address
	}
	for name, want := range map[string]struct {
		host string
		port int
	}{"edge": {"192.0.2.1", 1}, "ussoauthz": {"authz", 2}, "upstream": {"2001:db8::1", 3}, "admin": {"127.0.0.1", 4}} {
		if got := addresses[name].SocketAddress; got.Address != want.host || got.Port != want.port {
			t.Errorf("%s: %s %d, want %s %d", name, got.Address, got.Port, want.host, want.port)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	tests := map[string]envoy.Ports{
		"a port alone":           {Edge: "10000"},
		"no host":                {Edge: ":10000"},
		"a port name":            {Edge: "127.0.0.1:http"},
		"a large port":           {Edge: "127.0.0.1:65536"},
		"a socket in envoy.yaml": {Authz: "unix:///run/a.sock"},
		"port 0 to connect to":   {Authz: "127.0.0.1:0"},
		"YAML in the host":       {Upstream: "a}, b: {c:1"},
		"a quote in the host":    {Upstream: `a"b:1`},
		"a new line in the host": {Admin: "a\nb:1"},
	}
	for name, ports := range tests {
		if got, err := envoy.Config(ports); err == nil {
			t.Errorf("%s: no error, and %d bytes", name, len(got))
		}
	}
}

func TestSidecarTakesASocket(t *testing.T) {
	got, err := envoy.Sample("sidecar.yaml", envoy.Ports{Authz: "unix:///tmp/a.sock"})
	if err != nil || strings.Count(string(got), `pipe: {path: "/tmp/a.sock"}`) != 1 {
		t.Errorf("%v\n%s", err, got)
	}
	for _, address := range []string{"127.0.0.1:9191", "unix://a.sock"} {
		if _, err := envoy.Sample("sidecar.yaml", envoy.Ports{Authz: address}); err == nil {
			t.Errorf("%s: no error", address)
		}
	}
}

// TestConfigChecksTheFile: an address that moved in the file is a fault, also
// where it is not replaced.
func TestConfigChecksTheFile(t *testing.T) {
	good, err := envoy.Config(envoy.Ports{})
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"10000", "9191", "8080", "9901"} {
		moved := strings.ReplaceAll(string(good), "port_value: "+port+"}", "port_value: 1}")
		if _, err := envoy.Replace(moved, envoy.Ports{}); err == nil || !strings.Contains(err.Error(), port) {
			t.Errorf("port %s moved: %v, want an error that names it", port, err)
		}
		if _, err := envoy.Replace(string(good)+string(good), envoy.Ports{}); err == nil {
			t.Error("two copies: no error")
		}
	}
}
