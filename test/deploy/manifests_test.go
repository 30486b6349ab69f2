//go:build deploy

package deploy

import (
	"os"
	"path/filepath"
	"testing"
)

// Every manifest that we show is one that an API server takes.
func TestManifests(t *testing.T) {
	for _, folder := range []string{"istio", "envoy-gateway"} {
		files, err := filepath.Glob(filepath.Join(root, "envoy", folder, "*.yaml"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%d manifests in %s: %v", len(files), folder, err)
		}
		for _, file := range files {
			if filepath.Base(file) == "mesh-config.yaml" { // values of a chart of Istio's, no manifest; test/mesh has it read
				continue
			}
			t.Run(folder+"/"+filepath.Base(file), func(t *testing.T) {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				conform(t, text)
			})
		}
	}
}
