package envoy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/envoy"
	"github.com/ussoio/ussoauthz/internal/envoybin"
)

// TestEnvoyAcceptsTheFile runs the real Envoy on the file as it is and with
// other addresses: names, IPv6 and free ports.
func TestEnvoyAcceptsTheFile(t *testing.T) {
	binary, err := envoybin.Find(t.Context(), "../.cache", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for name, ports := range map[string]envoy.Ports{
		"as it is": {},
		"replaced": {Edge: "0.0.0.0:0", Authz: "ussoauthz:9000", Upstream: "[::1]:9001", Admin: "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := envoy.Config(ports)
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
			if strings.Contains(string(out), "[warning]") {
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
