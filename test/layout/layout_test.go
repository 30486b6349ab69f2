// Package layout checks the shape of the module: which package may import which,
// which libraries have one home, and how many files stand in one folder.
package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ussoio/ussoauthz"

// layers are the places of the module from the bottom up. A place is a folder with
// all below it, but for the folders that are places of their own. A package imports
// only from layers below its own, and within its own place. So places of one layer
// know nothing of each other, and a change of one layer is felt above it alone.
var layers = [][]string{
	// Tables, small values and embedded files.
	{".", "pkg/answers", "pkg/fairshare", "pkg/httpfield", "pkg/jsonpointer", "pkg/pemfile", "pkg/plainpath", "policies", "envoy"},
	{"pkg/jwtverify/internal"},
	// A token and keys become an identity. It never imports how keys are fetched.
	{"pkg/jwtverify"},
	{"pkg/jwtverify/jwks", "pkg/jwtverify/jwttest"},
	{"pkg/policy", "pkg/tenants"},
	// The whole decision, and the middleware for services behind it.
	{"pkg/extauthz", "pkg/httpauth"},
	// What the service is made of; beside it what only development and what only tests use.
	{"internal", "internal/dev", "internal/testkit"},
	{"cmd", "test"},
}

// homes are the libraries that only these places import: what a new version of one
// changes is found there.
var homes = []struct {
	library string
	places  []string
}{
	{"github.com/lestrrat-go/jwx", []string{"pkg/jwtverify"}},
	{"github.com/open-policy-agent/opa", []string{"pkg/policy"}},
	{"github.com/envoyproxy/go-control-plane", []string{"pkg/extauthz", "test/bench"}},
}

// maxFiles is how many source files a reader takes in at a glance.
const maxFiles = 15

// crowded are the folders that hold more, with the most that they may. The list only
// shrinks: a folder of maxFiles or fewer has no business in it.
var crowded = map[string]int{
	"internal/config": 21,
	"pkg/extauthz":    17,
	"pkg/policy":      41,
	"pkg/tenants":     19,
}

// pkg is a package as go list describes it: without its tests, and with the files of
// this system alone.
type pkg struct {
	ImportPath        string
	GoFiles, CgoFiles []string
	Imports           []string
}

// folder is where the package stands in the module.
func (p pkg) folder() string { return folder(p.ImportPath) }

func folder(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func list(t *testing.T) []pkg {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,GoFiles,CgoFiles,Imports", "./...")
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			if len(packages) < 20 {
				t.Fatalf("go list found %d packages", len(packages))
			}
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// within reports whether a folder is the place, or below it.
func within(folder, place string) bool {
	return folder == place || strings.HasPrefix(folder, place+"/")
}

// place returns the innermost place that a folder belongs to, and its layer; -1 where
// it belongs to none.
func place(folder string) (name string, layer int) {
	layer = -1
	for i, places := range layers {
		for _, p := range places {
			if within(folder, p) && len(p) > len(name) {
				name, layer = p, i
			}
		}
	}
	return name, layer
}

// directions returns the imports that run against the layers.
func directions(packages []pkg) (wrong []string) {
	for _, p := range packages {
		from, layer := place(p.folder())
		if layer < 0 {
			wrong = append(wrong, fmt.Sprintf("%s is in no layer: give it one in test/layout", p.folder()))
			continue
		}
		for _, path := range p.Imports {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			to, below := place(folder(path))
			if to != from && below >= layer {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which is not below it", p.folder(), folder(path)))
			}
		}
	}
	return wrong
}

func TestImportsRunOneWay(t *testing.T) {
	for _, wrong := range directions(list(t)) {
		t.Error(wrong)
	}
}

// The check itself finds what it is there for.
func TestWrongDirectionsAreFound(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		right    bool
	}{
		{"cmd/ussoauthz", "internal/service", true},
		{"pkg/tenants", "pkg/jwtverify/jwks", true},
		{"pkg/jwtverify/jwks", "pkg/jwtverify", true},
		{"pkg/policy", "pkg/policy/scopes", true},
		{"pkg/policy/scopes", "pkg/policy", true}, // within one place Go itself refuses circles
		{"pkg/extauthz", "", true},
		{"pkg/jwtverify", "pkg/jwtverify/jwks", false},
		{"pkg/jwtverify/jwks", "pkg/jwtverify/jwttest", false},
		{"pkg/tenants", "pkg/policy", false},
		{"pkg/extauthz", "internal/config", false},
		{"internal/service", "internal/observe/metrics", true},
		{"internal/service", "internal/dev/upstream", false},
		{"internal/dev/stack", "internal/config", false},
		{"cmd/ussodev", "internal/dev/stack", true},
		{"internal/service", "cmd/ussoauthz", false},
		{"pkg/answers", "pkg/fairshare", false},
		{"tools/new", "pkg/answers", false},
	} {
		got := directions([]pkg{{ImportPath: module + "/" + tt.from, Imports: []string{"fmt", strings.TrimSuffix(module+"/"+tt.to, "/")}}})
		if (len(got) == 0) != tt.right {
			t.Errorf("%s imports %s: %q", tt.from, tt.to, got)
		}
	}
}

// Nothing that signs tokens for development, or that only tests use, is linked into the
// service.
func TestServiceHasNoDevelopmentTools(t *testing.T) {
	imports := map[string][]string{}
	for _, p := range list(t) {
		imports[p.ImportPath] = p.Imports
	}
	linked := map[string]bool{}
	for next := []string{module + "/cmd/ussoauthz"}; len(next) > 0; next = next[1:] {
		if !linked[next[0]] {
			linked[next[0]] = true
			next = append(next, imports[next[0]]...)
		}
	}
	if !linked[module+"/pkg/extauthz"] {
		t.Fatal("cmd/ussoauthz links no pkg/extauthz: is the service another package now?")
	}
	for path := range linked {
		if within(path, module+"/internal/dev") || within(path, module+"/internal/testkit") {
			t.Errorf("cmd/ussoauthz links %s", folder(path))
		}
	}
}

func TestLibrariesHaveOneHome(t *testing.T) {
	packages := list(t)
	for _, home := range homes {
		found := false
		for _, p := range packages {
			if !slices.ContainsFunc(p.Imports, func(path string) bool { return within(path, home.library) }) {
				continue
			}
			found = true
			if !slices.ContainsFunc(home.places, func(place string) bool { return within(p.folder(), place) }) {
				t.Errorf("%s imports %s, which only %q should", p.folder(), home.library, home.places)
			}
		}
		if !found {
			t.Errorf("nobody imports %s: is its name another now?", home.library)
		}
	}
}

func TestFoldersAreNotCrowded(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t) {
		files := len(p.GoFiles) + len(p.CgoFiles)
		bound, listed := crowded[p.folder()]
		seen[p.folder()] = true
		switch {
		case listed && files <= maxFiles:
			t.Errorf("%s holds %d files now: take it off the list of crowded folders", p.folder(), files)
		case listed && files > bound:
			t.Errorf("%s holds %d files, more than the %d that it held: split it, or merge small files that are one idea", p.folder(), files, bound)
		case !listed && files > maxFiles:
			t.Errorf("%s holds %d files: split it, or merge small files that are one idea (%d is the most)", p.folder(), files, maxFiles)
		}
	}
	for folder := range crowded {
		if !seen[folder] {
			t.Errorf("%s is listed as crowded, and is no package", folder)
		}
	}
}
