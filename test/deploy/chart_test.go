//go:build deploy

package deploy

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/config"
)

var update = flag.Bool("update", false, "write what the chart renders to testdata/chart")

const chart = root + "/deploy/helm/ussoauthz"

// Each set of values renders to what is checked in, which Kubernetes takes and
// whose configuration ussoauthz takes.
func TestChart(t *testing.T) {
	sets, err := filepath.Glob(chart + "/ci/*-values.yaml")
	if err != nil || len(sets) < 4 {
		t.Fatalf("%d sets of values: %v", len(sets), err)
	}
	helm := tool(t, "helm")
	for _, values := range sets {
		name := strings.TrimSuffix(filepath.Base(values), "-values.yaml")
		t.Run(name, func(t *testing.T) {
			if _, err := run(t, helm, "lint", "--strict", chart, "-f", values); err != nil {
				t.Error(err)
			}
			got, err := run(t, helm, "template", "authz", chart, "-n", "authz", "-f", values)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "chart", name+".yaml")
			if *update {
				if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, got, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("it renders something else; -update takes it:\n%s", diff)
			}
			conform(t, got)
			loadConfigurations(t, got)
		})
	}
}

// loadConfigurations reads the configuration in a ConfigMap as the service
// will. The files that other mounts bring are not here: their absence is the
// only fault that it may have.
func loadConfigurations(t *testing.T, manifests []byte) {
	t.Helper()
	documents := yaml.NewDecoder(bytes.NewReader(manifests))
	for {
		var m struct {
			Kind string
			Data map[string]string
		}
		err := documents.Decode(&m)
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		text, ok := m.Data["ussoauthz.yaml"]
		if m.Kind != "ConfigMap" || !ok {
			continue
		}
		_, err = config.Parse("ussoauthz.yaml", []byte(text), func(string) (string, bool) { return "", false })
		var faults config.Errors
		if err != nil && !errors.As(err, &faults) {
			t.Fatal(err)
		}
		for _, f := range faults {
			if !strings.Contains(f.Problem, "/etc/ussoauthz/") && !strings.Contains(f.Problem, "/var/lib/ussoauthz/") {
				t.Errorf("%v", f)
			}
		}
	}
}

// What values.yaml does not have is refused, and so is what can't be meant.
func TestChartRefuses(t *testing.T) {
	helm := tool(t, "helm")
	for name, set := range map[string]string{
		"an unknown value":    "replicas=3",
		"an unknown mode":     "mode=daemon",
		"a broken digest":     "image.digest=sha256:1",
		"no such pull":        "image.pullPolicy=Sometimes",
		"a port out of reach": "service.port=70000",
		"an issuer unnamed":   "tls.certManager.enabled=true",
	} {
		if _, err := run(t, helm, "template", "authz", chart, "--set", set); err == nil {
			t.Errorf("%s (%s) renders", name, set)
		}
	}
}
