package binary

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/dependencies.md lists the modules that are linked, each in its version:
// whoever adds or updates one has its licence checked, by make licences.
func TestDependenciesAreListed(t *testing.T) {
	linked := modules(t, "./cmd/ussoauthz")
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

// modules lists what is linked: path and version of each.
func modules(t *testing.T, packages string) []string {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "-tags", "grpcnotrace",
		"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", packages)
	list.Dir = "../.."
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(linked)
	return slices.Compact(linked)
}

// What the image hands on has a licence's text of everything that is linked.
func TestNotices(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("make", "-C", "../..", "notices", "BIN="+dir).CombinedOutput(); err != nil {
		t.Fatalf("make notices: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "NOTICES"))
	if err != nil {
		t.Fatal(err)
	}
	licence := map[string]bool{}
	for _, part := range strings.Split(string(text), "\n==== ")[1:] {
		title, body, _ := strings.Cut(part, "\n\n")
		module := strings.Join(strings.Fields(title)[:2], " ")
		text := strings.Contains(strings.ToLower(title), "licen") && len(body) > 500
		licence[module] = licence[module] || text
	}
	for _, module := range append(modules(t, "./cmd/ussoauthz"), modules(t, "./cmd/ussodev")...) {
		if !licence[module] {
			t.Errorf("no licence's text of %s", module)
		}
	}
	if !strings.Contains(string(text), "==== Go\n\nCopyright 2009 The Go Authors.") {
		t.Error("no licence's text of Go")
	}
}
