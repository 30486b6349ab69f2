package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The pages about the code name files and identifiers that exist, so that
// whoever moves or renames one corrects the page. A row of a table that names a
// Go file names only what is declared there.
func TestArchitectureNamesTheCode(t *testing.T) {
	code := readCode(t)
	pages, err := filepath.Glob(filepath.Join(root(t), "docs", "adr", "*.md"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d decisions: %v", len(pages), err)
	}
	names := 0
	for _, page := range append(pages, filepath.Join(root(t), "docs", "architecture.md"), filepath.Join(root(t), "CONTRIBUTING.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			terms := codeTerms(line)
			names += len(terms)
			for _, problem := range code.problems(terms, strings.HasPrefix(line, "|")) {
				t.Errorf("%s:%d: %s", filepath.Base(page), i+1, problem)
			}
		}
	}
	if names < 100 {
		t.Errorf("only %d names of code were found", names)
	}
}

// The check of the pages notices what it is there for.
func TestArchitectureNoticesRenames(t *testing.T) {
	code := readCode(t)
	for _, tt := range []struct {
		line string
		good bool
	}{
		{"`Directory.Select` in `pkg/tenants/directory.go`", true},
		{"`encode()`, `failure_mode_allow`, `Retry-After`, `GET /posts/{id}`, `http.ServeMux`", true},
		{"| `Directory.Select` | `pkg/tenants/directory.go` |", true},
		{"| `Directory.Select` | `pkg/tenants/host.go` |", false}, // it is declared elsewhere
		{"`Directory.Choose`", false},
		{"`chooseTenant()`", false},
		{"`Nobody.Select`", false},
		{"`tenants.Chooser`", false},
		{"`pkg/tenants/chooser.go`", false},
		{"`pkg/tenant`", false},
		{"`TestNothingOfTheKind`", false},
	} {
		if problems := code.problems(codeTerms(tt.line), strings.HasPrefix(tt.line, "|")); (len(problems) == 0) != tt.good {
			t.Errorf("%s: %q, want none: %t", tt.line, problems, tt.good)
		}
	}
}

var (
	codeSpan     = regexp.MustCompile("`([^`]+)`")
	identifier   = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?$`)
	majorVersion = regexp.MustCompile(`/v\d+$`)
	sourcePath   = regexp.MustCompile(`^(cmd|docs|envoy|internal|pkg|policies|test)(/[A-Za-z0-9_.-]+)+$`)
)

// unused are parts of libraries that a decision names since it is not to use
// them.
var unused = map[string]bool{"jwk.Cache": true, "jwk.Fetch": true, "jwt.Parse": true}

// codeTerms are the parts of a line that name code: paths of this repository, and
// identifiers that have a capital letter or end in "()". Others may be names of
// the configuration, of headers and of reasons.
func codeTerms(line string) (terms []string) {
	for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
		term := m[1]
		if sourcePath.MatchString(term) || identifier.MatchString(term) && (strings.ToLower(term) != term || strings.HasSuffix(term, "()")) {
			terms = append(terms, term)
		}
	}
	return terms
}

// source is what the Go files of the repository declare: "Select",
// "Directory.Select", "tenants.Directory" and "tenants.Directory.Select", each
// with the files that declare it; and what they use of other modules, as
// http.ServeMux and ServeMux.
type source struct {
	root     string
	declared map[string][]string
	used     map[string]bool
}

func (s *source) problems(terms []string, row bool) (problems []string) {
	var files []string
	for _, term := range terms {
		if !strings.Contains(term, "/") {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.root, term)); err != nil {
			problems = append(problems, "there is no "+term)
		}
		if strings.HasSuffix(term, ".go") {
			files = append(files, term)
		}
	}
	for _, term := range terms {
		name := strings.TrimSuffix(term, "()")
		at := s.declared[name]
		switch {
		case strings.Contains(term, "/"), unused[name]:
		case len(at) == 0 && !s.used[name]:
			problems = append(problems, "no Go file declares "+name)
		case row && len(files) > 0 && len(at) > 0 && !slices.ContainsFunc(at, func(file string) bool { return slices.Contains(files, file) }):
			problems = append(problems, name+" is not declared in "+strings.Join(files, ", ")+" but in "+strings.Join(at, ", "))
		}
	}
	return problems
}

func readCode(t *testing.T) *source {
	t.Helper()
	s := &source{root: root(t), declared: map[string][]string{}, used: map[string]bool{}}
	err := filepath.WalkDir(s.root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "node_modules") && file != s.root:
			return fs.SkipDir
		case !strings.HasSuffix(file, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.root, file)
		s.add(filepath.ToSlash(name), parsed)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// add reads the declarations of a file, and what it uses of the packages that
// it imports.
func (s *source) add(file string, parsed *ast.File) {
	declare := func(names ...string) {
		for i := range names { // each of its endings is a name of it, too
			name := strings.Join(names[i:], ".")
			s.declared[name] = append(s.declared[name], file)
		}
	}
	in := parsed.Name.Name
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				declare(in, d.Name.Name)
			} else {
				declare(in, receiver(d.Recv.List[0].Type), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						declare(in, name.Name)
					}
				case *ast.TypeSpec:
					declare(in, spec.Name.Name)
					for _, member := range members(spec.Type) { // never by its own name alone
						name := spec.Name.Name + "." + member
						s.declared[name] = append(s.declared[name], file)
					}
				}
			}
		}
	}
	foreign := map[string]bool{}
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		switch {
		case err != nil || strings.HasPrefix(name, "github.com/ussoio/ussoauthz/"):
		case spec.Name != nil:
			foreign[spec.Name.Name] = true
		default:
			foreign[path.Base(majorVersion.ReplaceAllString(name, ""))] = true
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok && foreign[x.Name] {
				s.used[x.Name+"."+selector.Sel.Name] = true
				s.used[selector.Sel.Name] = true
			}
		}
		return true
	})
}

func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// members are the fields of a struct and the methods of an interface.
func members(expr ast.Expr) (names []string) {
	var list *ast.FieldList
	switch e := expr.(type) {
	case *ast.StructType:
		list = e.Fields
	case *ast.InterfaceType:
		list = e.Methods
	default:
		return nil
	}
	for _, field := range list.List {
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
	}
	return names
}
