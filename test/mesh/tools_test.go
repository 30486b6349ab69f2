//go:build mesh

package mesh

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write what the tools say to testdata")

// run returns what a tool of .cache/tools writes, to both outputs, and its error.
func run(t *testing.T, dir, tool string, args ...string) (string, error) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, ".cache", "tools", tool))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, path, args...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	return string(out), err
}

func TestTools(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			ask := map[string]func(*testing.T, golden) string{"egctl": translate, "istioctl": istio, "istiod": pilot}[g.tool]
			want := g.header(t) + ask(t, g)
			path := filepath.Join("testdata", g.name)
			if *update {
				if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("%s says something else now: make mesh-check UPDATE=1 writes it to %s", g.tool, path)
			}
		})
	}
}

// together writes the inputs of a golden into one file.
func together(t *testing.T, names []string) string {
	t.Helper()
	var all bytes.Buffer
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "---\n%s", text)
	}
	path := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(path, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// egctl translates manifests, and writes what became of each policy before it.
func egctl(t *testing.T, files []string) (string, error) {
	t.Helper()
	return run(t, ".", "egctl", "x", "translate", "--from", "gateway-api", "--to", "gateway-api,xds", "--add-missing-resources", "-f", together(t, files), "-o", "yaml")
}

// translate returns the configuration that Envoy Gateway would serve to Envoy.
// It writes no error for a policy that it refuses, only a status.
func translate(t *testing.T, g golden) string {
	t.Helper()
	out, err := egctl(t, g.files(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	status, xds, found := strings.Cut(out, "\nxds:\n")
	if !found || !strings.Contains(status, "Policy has been accepted.") || strings.Contains(status, `status: "False"`) {
		t.Errorf("Envoy Gateway does not accept all of it:\n%s", status)
	}
	return "xds:\n" + xds
}

// pilot returns what istiod would send to a proxy.
func pilot(t *testing.T, g golden) string {
	t.Helper()
	files := g.files(t)
	path := together(t, files[:2]) // the manifest and the cluster
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The controller of Gateways writes the address of a waypoint, and pilot reads it.
	const class = "gatewayClassName: istio-waypoint\n"
	text = bytes.Replace(text, []byte("spec:\n  "+class), []byte("status: {addresses: [{type: Hostname, value: waypoint.shop.svc.cluster.local}]}\nspec:\n  "+class), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Abs(filepath.Join(root, ".cache", "tools", "istiod"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, "-proxy", g.proxy, "-mesh", meshConfig(t), path)
	command.Env = append(os.Environ(), "HOME="+t.TempDir()) // it asks for a cluster's configuration
	var log bytes.Buffer
	command.Stderr = &log
	out, err := command.Output()
	if err != nil || bytes.HasPrefix(out, []byte("clusters: []")) || !bytes.Contains(out, []byte("ext_authz")) {
		t.Fatalf("istiod: %v\n%s\n%s", err, &log, out)
	}
	// Its log ends up between.
	lines := strings.SplitAfter(string(out), "\n")
	return strings.Join(slices.DeleteFunc(lines, logLine.MatchString), "")
}

var logLine = regexp.MustCompile(`^20\d\d-\d\d-\d\dT\S+Z\t`)

// istio returns what istioctl says of the manifests, which are valid.
func istio(t *testing.T, g golden) string {
	t.Helper()
	dir := filepath.Join(root, "envoy", "istio")
	analyze := []string{"analyze", "--use-kube=false", "--color=false", "--failure-threshold", "Warning", "--meshConfigFile", meshConfig(t)}
	var said strings.Builder
	for _, file := range g.files(t) {
		name := filepath.Base(file)
		if name == "mesh-config.yaml" {
			continue // values of a chart; analyze reads them as the mesh's
		}
		out, err := run(t, dir, "istioctl", "validate", "-f", name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		fmt.Fprintf(&said, "$ istioctl validate -f %s\n%s", name, out)
		analyze = append(analyze, name)
	}
	out, err := run(t, dir, "istioctl", analyze...)
	if err != nil {
		t.Errorf("analyze: %v", err)
	}
	fmt.Fprintf(&said, "$ istioctl analyze --use-kube=false --meshConfigFile mesh-config.yaml\n%s", out)
	if t.Failed() {
		t.Log(said.String())
	}
	return said.String()
}

// meshConfig writes what stands under meshConfig in the values of istiod's chart.
func meshConfig(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "envoy", "istio", "mesh-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		MeshConfig map[string]any `yaml:"meshConfig"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil || len(values.MeshConfig) == 0 {
		t.Fatalf("no meshConfig: %v", err)
	}
	out, err := yaml.Marshal(values.MeshConfig)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The tools refuse what is wrong: else nothing was checked.
func TestToolsRefuse(t *testing.T) {
	sidecar, err := os.ReadFile(filepath.Join(root, "envoy", "istio", "sidecar.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for old, broken := range map[string]string{"action: CUSTOM": "action: CUSTOMS", "provider: {name: ussoauthz}": "providers: {name: ussoauthz}", "mode: STRICT": "mode: STRICKT"} {
		path := filepath.Join(t.TempDir(), "manifest.yaml")
		text := strings.Replace(string(sidecar), old, broken, 1)
		if text == string(sidecar) {
			t.Fatalf("sidecar.yaml has no %q", old)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, ".", "istioctl", "validate", "-f", path); err == nil {
			t.Errorf("%s passes:\n%s", broken, out)
		}
	}
	// Without its grant the backend in another namespace is refused, and nobody
	// gets in.
	gateway, err := os.ReadFile(filepath.Join(root, gatewayManifest))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, bytes.Replace(gateway, []byte("kind: SecurityPolicy, namespace: edge"), []byte("kind: SecurityPolicy, namespace: other"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := egctl(t, []string{path, filepath.Join(root, cluster)})
	if err != nil || !strings.Contains(out, `status: "False"`) || !strings.Contains(out, "by any ReferenceGrant") {
		t.Errorf("a backend without a grant: %v\n%s", err, out)
	}
}
