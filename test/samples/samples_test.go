// Package samples knows who checks each file that users take along. A file that
// stands nowhere in the list fails, and so does a check that does not speak of it.
package samples

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// check says which test loads, validates or runs the files of a pattern, and
// the words by which it finds them.
type check struct{ files, test, words string }

var checks = []check{
	{"envoy/envoy.yaml", "envoy/edge_test.go", "envoy.Config(envoy.Ports{"},
	{"envoy/sidecar.yaml", "test/e2e/samples_test.go", `sample("sidecar.yaml")`},
	{"envoy/tenants.yaml", "test/e2e/samples_test.go", `sample("tenants.yaml")`},
	{"envoy/jwt-authn.yaml", "test/e2e/samples_test.go", `sample("jwt-authn.yaml")`},
	{"envoy/istio/*.yaml", "test/mesh/golden_test.go", `"envoy/istio/*.yaml"`},
	{"envoy/istio/*.yaml", "internal/envoycheck/check_test.go", `"../../envoy/*/*.yaml"`},
	{"envoy/*.yaml", "internal/envoycheck/check_test.go", `"../../envoy/*.yaml"`},
	{"envoy/envoy-gateway/gateway.yaml", "test/mesh/golden_test.go", `"envoy/envoy-gateway/gateway.yaml"`},
	{"envoy/envoy-gateway/tenant-of-a-route.yaml", "test/mesh/golden_test.go", `"envoy/envoy-gateway/tenant-of-a-route.yaml"`},
	{"demo/ussoauthz.yaml", "test/e2e/main_test.go", `"demo/ussoauthz.yaml"`},
	{"demo/posts_decisions.yaml", "internal/decisiontest/decisiontest_test.go", "posts_decisions.yaml"},
	{"deploy/compose/prometheus.yaml", "test/deploy/monitoring_test.go", "/deploy/compose/prometheus.yaml"},
	{"deploy/helm/ussoauthz/ci/*-values.yaml", "test/deploy/chart_test.go", "/ci/*-values.yaml"},
	{"deploy/helm/ussoauthz/files/alerts.yaml", "test/deploy/monitoring_test.go", "/files/alerts.yaml"},
	{"deploy/helm/ussoauthz/files/dashboard.json", "test/deploy/monitoring_test.go", "/files/dashboard.json"},
	// helm lint --strict and helm template read the whole chart.
	{"deploy/helm/ussoauthz/*.yaml", "test/deploy/chart_test.go", `"lint", "--strict", chart`},
	{"deploy/helm/ussoauthz/values.schema.json", "test/deploy/chart_test.go", `"lint", "--strict", chart`},
	{"deploy/helm/ussoauthz/templates/*", "test/deploy/chart_test.go", `"template", "authz", chart`},
	{"policies/examples/*/policy.rego", "policies/examples_test.go", `filepath.Glob("examples/*")`},
	{"policies/examples/*/policy_test.rego", "policies/examples_test.go", `filepath.Glob("examples/*")`},
	{"policies/examples/*/data.json", "policies/examples_test.go", `filepath.Glob("examples/*")`},
	{"policies/examples/*/shop.proto", "policies/examples_test.go", `name+".proto"`},
	{"policies/examples/*/ussoauthz.yaml", "test/e2e/examples_test.go", `"policies/examples/"`},
	{"policies/authz/*.rego", "policies/policies_test.go", "authz"},
	{"policies/usso/*.rego", "policies/policies_test.go", "usso"},
	{"policies/schemas/input.json", "pkg/policy/schema_test.go", "schemas"},
	{"docker-compose.yaml", "test/compose/compose_test.go", "docker-compose.yaml"},
	{"config.schema.json", "internal/config/schema_test.go", "config.schema.json"},
	{"docs/*.md", "test/docs/docs_test.go", `"docs", "*.md"`},
	{"docs/adr/*.md", "test/docs/docs_test.go", `"docs", "adr", "*.md"`},
	{"README.md", "test/docs/docs_test.go", `"README.md"`},
}

// prose are documents without a file that anybody would load.
var prose = []string{"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/helm/ussoauthz/README.md", "docs/performance.svg"}

// samples are the files that users take along.
func samples(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"envoy", "deploy", "policies", "demo", "docs", "."} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			name, _ := filepath.Rel(root, path) // both are relative
			switch {
			case err != nil:
				return err
			case e.IsDir() && (e.Name() == "testdata" || e.Name() == ".ussodev" || dir == "." && name != "."):
				return fs.SkipDir
			case e.IsDir() || strings.HasSuffix(name, ".go") || strings.HasPrefix(e.Name(), "."):
				return nil
			case dir == "." && !slices.Contains([]string{".yaml", ".json", ".md"}, filepath.Ext(name)):
				return nil
			}
			all = append(all, name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestEverySampleIsChecked(t *testing.T) {
	used := map[check]bool{}
	found := samples(t)
	for _, name := range found {
		checked := slices.Contains(prose, name)
		for _, c := range checks {
			fits, err := filepath.Match(c.files, name)
			if err != nil {
				t.Fatal(err)
			}
			if fits {
				checked, used[c] = true, true
			}
		}
		if !checked {
			t.Errorf("no test checks %s: write one, and name it here", name)
		}
	}
	for _, c := range checks {
		if !used[c] {
			t.Errorf("no file is %s", c.files)
		}
		text, err := os.ReadFile(filepath.Join(root, c.test))
		if err != nil || !strings.Contains(string(text), c.words) {
			t.Errorf("%s: %s does not speak of %s (%v)", c.files, c.test, c.words, err)
		}
	}
	for _, name := range prose {
		if !slices.Contains(found, name) {
			t.Errorf("no file is %s", name)
		}
	}
}

// A check runs in CI: its package is built without a tag, or with one that a
// target of the gate, or of the long job, sets.
func TestChecksRunInCI(t *testing.T) {
	var gate []byte
	for _, job := range []string{"run", "long"} {
		text, err := os.ReadFile(filepath.Join(root, ".ci", job))
		if err != nil {
			t.Fatal(err)
		}
		gate = append(gate, text...)
	}
	targets := map[string]string{"deploy": "make deploy-check", "compose": "make compose-e2e", "interop": "make interop"}
	for _, c := range checks {
		text, err := os.ReadFile(filepath.Join(root, c.test))
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		tag, tagged := strings.CutPrefix(line, "//go:build ")
		if tagged && (targets[tag] == "" || !strings.Contains(string(gate), targets[tag])) {
			t.Errorf("%s: %s needs the tag %s, which no job of .ci sets", c.files, c.test, tag)
		}
	}
}
