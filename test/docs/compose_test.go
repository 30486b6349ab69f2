package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/config"
)

// composeFile is what the test looks at; compose itself judges the rest.
type composeFile struct {
	Services map[string]struct {
		Image string
		Build struct {
			Context string
			Target  string
		}
		Command     any
		Volumes     []string
		Environment map[string]string
		DependsOn   any `yaml:"depends_on"`
	}
}

// composeDefault is how compose writes a variable with a default.
var composeDefault = regexp.MustCompile(`^\$\{\w+:-(\w*)\}$`)

// The compose file names files, stages, services and variables that exist.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docker-compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose composeFile
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"issuer", "ussoauthz", "upstream", "envoy"} {
		if _, ok := compose.Services[name]; !ok {
			t.Errorf("no service %s", name)
		}
	}
	stages := dockerStages(t)
	for name, service := range compose.Services {
		if service.Image == "" {
			target := composeDefault.ReplaceAllString(service.Build.Target, "$1")
			if !slices.Contains(stages, target) {
				t.Errorf("%s: the Dockerfile has no stage %q", name, target)
			}
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if !strings.HasPrefix(source, ".") { // a volume with a name
				continue
			}
			if _, err := os.Stat(filepath.Join(root(t), source)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	checkComposeEnvironment(t, compose.Services["ussoauthz"].Environment)
}

func dockerStages(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var stages []string
	for _, m := range regexp.MustCompile(`(?m)^FROM \S+ AS (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		stages = append(stages, m[1])
	}
	return stages
}

// checkComposeEnvironment loads the demo's configuration as the container does.
func checkComposeEnvironment(t *testing.T, environment map[string]string) {
	t.Helper()
	path := filepath.Join(root(t), "demo", "ussoauthz.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	cfg, err := config.Parse(path, text, func(name string) (string, bool) {
		used[name] = true
		value, ok := environment[name]
		return composeDefault.ReplaceAllString(value, "$1"), ok
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range environment {
		if !used[name] && !strings.HasPrefix(name, "OTEL_") { // those are read without it
			t.Errorf("the configuration does not read %s", name)
		}
	}
	if cfg.Listen != "0.0.0.0:9191" || cfg.Tenants[0].JWKSURL != "http://issuer:8000/acme/.well-known/jwks.json" {
		t.Errorf("listen %s, keys %s", cfg.Listen, cfg.Tenants[0].JWKSURL)
	}
}
