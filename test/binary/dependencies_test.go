package binary

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/dependencies.md lists the modules that are linked, each in its version:
// whoever adds or updates one has its licence checked, by make licences.
func TestDependenciesAreListed(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-tags", "grpcnotrace",
		"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/ussoauthz")
	list.Dir = "../.."
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(linked)
	linked = slices.Compact(linked)
	page, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\S+\.\S+) \| (v\S+) \| (\S+) \|$`).FindAllStringSubmatch(string(page), -1) {
		name, version := row[1], row[2]
		of := "" // the row may be of a package in a module, and that in the folder of another one
		for _, module := range linked {
			if path, v, _ := strings.Cut(module, " "); v == version && (name == path || strings.HasPrefix(name, path+"/")) {
				of = module
			}
		}
		if of == "" {
			t.Errorf("docs/dependencies.md has %s %s, which is not linked: make licences", name, version)
		}
		listed[of] = true
	}
	for _, module := range linked {
		if !listed[module] {
			t.Errorf("docs/dependencies.md lacks %s: make licences", module)
		}
	}
}
