// Package mesh keeps what the tools of Envoy Gateway and Istio say of our
// manifests. They take minutes to build: `make mesh-check` runs them, and
// every other run checks that what they said is about the manifests as they are.
package mesh

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// golden is a file of testdata: what a tool made of manifests.
type golden struct {
	name   string
	tool   string   // its version is a variable of the Makefile
	inputs []string // patterns, from the root
	proxy  string   // of istiod: which one it is for
}

const (
	gatewayManifest = "envoy/envoy-gateway/gateway.yaml"
	routeManifest   = "envoy/envoy-gateway/tenant-of-a-route.yaml"
	cluster         = "test/mesh/testdata/cluster.yaml"
	istioCluster    = "test/mesh/testdata/istio-cluster.yaml"
	meshManifest    = "envoy/istio/mesh-config.yaml"
	istiodProgram   = "test/mesh/testdata/istiod/main.go.txt"
)

var goldens = []golden{
	{"envoy-gateway.yaml", "egctl", []string{gatewayManifest, cluster}, ""},
	{"envoy-gateway-tenant.yaml", "egctl", []string{gatewayManifest, routeManifest, cluster}, ""},
	{"istio.txt", "istioctl", []string{"envoy/istio/*.yaml"}, ""},
	istiod("istiod-sidecar.yaml", "sidecar", "envoy/istio/sidecar.yaml"),
	istiod("istiod-gateway.yaml", "gateway", "envoy/istio/gateway.yaml"),
	istiod("istiod-waypoint.yaml", "waypoint", "envoy/istio/waypoint.yaml"),
	istiod("istiod-gateway-hosts.yaml", "gateway", "test/mesh/testdata/istio-hosts.yaml"),
	istiod("istiod-waypoint-ports.yaml", "waypoint", "test/mesh/testdata/istio-ports.yaml"),
}

// istiod is what Istio's control plane makes of a manifest for a proxy. The program
// around it is an input, too.
func istiod(name, proxy, manifest string) golden {
	return golden{name, "istiod", []string{manifest, istioCluster, meshManifest, istiodProgram}, proxy}
}

// files are the inputs, sorted within each pattern.
func (g golden) files(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range g.inputs {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no file %s: %v", pattern, err)
		}
		all = append(all, names...)
	}
	return all
}

// header is the first line of a golden file: the tool and its inputs.
func (g golden) header(t *testing.T) string {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	variable := strings.ToUpper(g.tool)
	if g.tool == "istiod" {
		variable = "ISTIOCTL" // one module
	}
	version := regexp.MustCompile(`(?m)^` + variable + ` +:= (\S+)$`).FindSubmatch(makefile)
	if version == nil {
		t.Fatalf("the Makefile has no version of %s", g.tool)
	}
	hash := sha256.New()
	for _, name := range g.files(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(name), len(text), text)
	}
	return fmt.Sprintf("# %s %s, inputs sha256:%x. `make mesh-check UPDATE=1` renews this file.\n", g.tool, version[1], hash.Sum(nil))
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (g golden) read(t *testing.T) (header, text string) {
	t.Helper()
	header, text, _ = strings.Cut(string(readFile(t, filepath.Join("testdata", g.name))), "\n")
	return header + "\n", text
}

func TestGoldensAreFresh(t *testing.T) {
	for _, g := range goldens {
		if got, text := g.read(t); got != g.header(t) || text == "" {
			t.Errorf("testdata/%s is not about the manifests as they are: run make mesh-check UPDATE=1, look at what changed, and commit it", g.name)
		}
	}
}

// Every manifest is an input of some tool.
func TestEveryManifestIsAnInput(t *testing.T) {
	var inputs []string
	for _, g := range goldens {
		inputs = append(inputs, g.files(t)...)
	}
	manifests, err := filepath.Glob(filepath.Join(root, "envoy", "*", "*.yaml"))
	if err != nil || len(manifests) < 6 {
		t.Fatalf("%d manifests: %v", len(manifests), err)
	}
	for _, name := range manifests {
		if !slices.Contains(inputs, name) {
			t.Errorf("no tool is asked about %s", name)
		}
	}
}

// What must be in each filter that Envoy Gateway makes, however a policy is
// attached. A single try may take as long as all together: the longest back-off
// bounds it, too.
func TestExtAuthOfEnvoyGateway(t *testing.T) {
	for _, g := range goldens[:2] {
		_, text := g.read(t)
		if n := strings.Count(text, ".ext_authz.v3.ExtAuthz\n"); n != 1 {
			t.Errorf("%s: %d filters, want 1", g.name, n)
		}
		for _, want := range []string{"timeout: 0.500s", "maxInterval: 0.500s", "code: ServiceUnavailable", "maxRequests: 8192"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", g.name, want)
			}
		}
		if strings.Contains(text, "failureModeAllow") {
			t.Errorf("%s allows when nobody answers", g.name)
		}
	}
}
