package policies_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/ussoio/ussoauthz/policies"
)

// regoFiles returns every .rego file below this folder, tests included.
func regoFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*/*.rego")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no .rego file: %v", err)
	}
	return files
}

func TestEmbedded(t *testing.T) {
	var served []string
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			served = append(served, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range regoFiles(t) {
		if !strings.HasSuffix(file, "_test.rego") {
			want = append(want, filepath.ToSlash(file))
		}
	}
	if !slices.Equal(served, want) {
		t.Errorf("embedded are %v; the policies of this folder are %v", served, want)
	}
}

// TestRego runs what `opa test .` runs, and asks for every line of authz.rego.
func TestRego(t *testing.T) {
	ctx := context.Background()
	modules, store, err := tester.Load(regoFiles(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	coverage := cover.New()
	results, err := tester.NewRunner().
		SetStore(store).
		SetModules(modules).
		SetTimeout(time.Minute).
		SetCoverageQueryTracer(coverage).
		RunTests(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for result := range results {
		ran++
		if !result.Pass() {
			t.Errorf("%s: %s.%s: %v", result.Location, result.Package, result.Name, result)
		}
	}
	if ran == 0 {
		t.Fatal("no Rego test ran")
	}
	t.Logf("%d Rego tests", ran)

	report := coverage.Report(modules)
	for _, file := range []string{"authz/authz.rego", "usso/usso.rego", "usso/routes.rego", "usso/scopes.rego"} {
		covered, ok := report.Files[file]
		if !ok {
			t.Errorf("%s: nothing is covered", file)
			continue
		}
		for _, part := range covered.NotCovered {
			t.Errorf("%s:%d: no test reaches this line, to line %d", file, part.Start.Row, part.End.Row)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, file := range regoFiles(t) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := format.Source(file, source)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if !bytes.Equal(source, formatted) {
			t.Errorf("%s: not formatted, run opa fmt --write", file)
		}
	}
}

func TestStrict(t *testing.T) {
	modules := map[string]*ast.Module{}
	for _, file := range regoFiles(t) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		module, err := ast.ParseModuleWithOpts(file, string(source), ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		modules[file] = module
		if !strings.HasSuffix(file, "_test.rego") && len(module.Annotations) == 0 {
			t.Errorf("%s: no METADATA", file)
		}
	}
	compiler := ast.NewCompiler().WithStrict(true)
	if compiler.Compile(modules); compiler.Failed() {
		t.Errorf("strict mode: %v", compiler.Errors)
	}
}

// publicRules are the rules of data.usso that authors may call; all others are ours
// to change.
var publicRules = []string{
	"access", "access_to", "fnmatch", "has_all_roles", "has_all_scopes", "has_any_role", "has_any_scope",
	"has_role", "has_scope", "is_authenticated", "match", "same_workspace", "version",
}

// TestMetadata holds the library to what editors and `opa inspect -a` show: the
// package and each public rule have a title, a description and a scope.
func TestMetadata(t *testing.T) {
	var named []string
	packages := 0
	for _, file := range regoFiles(t) {
		if filepath.Dir(file) != "usso" || strings.HasSuffix(file, "_test.rego") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		module, err := ast.ParseModuleWithOpts(file, string(source), ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range module.Annotations {
			if a.Title == "" || a.Description == "" || a.Scope == "" {
				t.Errorf("%s: title %q, description %q, scope %q", a.Location, a.Title, a.Description, a.Scope)
			}
			switch a.Scope {
			case "package":
				packages++
			case "document":
				named = append(named, string(a.GetTargetPath()[len(a.GetTargetPath())-1].Value.(ast.String)))
			}
		}
	}
	slices.Sort(named)
	if packages != 1 || !slices.Equal(named, publicRules) {
		t.Errorf("%d packages and the rules %v are described, want one and %v", packages, named, publicRules)
	}
}

func TestLibraryVersion(t *testing.T) {
	raw, err := policies.FS.ReadFile("usso/usso.rego")
	if err != nil {
		t.Fatal(err)
	}
	if want := "version := \"" + policies.LibraryVersion + "\"\n"; !strings.Contains(string(raw), want) {
		t.Errorf("usso.rego does not hold %s", want)
	}
	// A library that is not what its version says would fool who compares it
	// with a copy of theirs.
	sum := sha256.New()
	for _, name := range []string{"usso/usso.rego", "usso/routes.rego", "usso/scopes.rego"} {
		raw, err := policies.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(raw)
	}
	const version, want = "1.1.1", "0d5562424d90f4a0418d6cc683a630ceba83d2f3464a86b4c1e103b9b3f02195"
	if got := hex.EncodeToString(sum.Sum(nil)); policies.LibraryVersion != version || got != want {
		t.Errorf("the library has changed: give it a new LibraryVersion (and in usso.rego), and write that and %s here", got)
	}
}
