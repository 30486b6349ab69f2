package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
)

// Finding is something about a policy, and where it is.
type Finding struct {
	File string
	Line int // 0: no line
	Text string
}

// Findings takes the errors that New joined into one apart, where they have
// places in files; nil where they have none.
func Findings(err error) []Finding {
	var found []Finding
	var several loader.Errors
	if errors.As(err, &several) {
		for _, e := range several {
			found = append(found, Findings(e)...)
		}
		return found
	}
	var errs ast.Errors
	var single *ast.Error
	if errors.As(err, &single) {
		errs = ast.Errors{single}
	} else if !errors.As(err, &errs) {
		return nil
	}
	for _, e := range errs {
		f := Finding{Text: e.Code + ": " + e.Message}
		if e.Location != nil {
			f.File, f.Line = e.Location.File, e.Location.Row
		}
		found = append(found, f)
	}
	return found
}

// Lint finds what New accepts but is probably not meant in the policies on
// disk: all that OPA's strict mode refuses, such as unused imports, variables
// and arguments, and a package of the library written anew. It expects a policy
// that New has accepted.
func Lint(cfg Config) ([]Finding, error) {
	files, err := readFiles(cfg.Paths)
	if err != nil {
		return nil, err
	}
	sources, err := assemble(files, nil)
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities(cfg.AllowNet)).WithStrict(true).SetErrorLimit(0)
	compiler.Compile(sources.modules)
	found := slices.DeleteFunc(Findings(compiler.Errors), func(f Finding) bool { return strings.HasPrefix(f.File, "embedded/") })
	for i := range found {
		found[i].Text = "opa's strict mode refuses this: " + found[i].Text
	}
	replaced, err := replacedPackages(files)
	found = append(found, replaced...)
	slices.SortFunc(found, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return found, err
}

// replacedPackages tells which files write a package of ours anew: a copy of
// the library stays what it was when this version brings a newer one.
func replacedPackages(files *loader.Result) (found []Finding, err error) {
	embedded := map[string][][]byte{} // a package may have several files
	err = eachEmbedded(func(_ string, raw []byte, module *ast.Module) error {
		path := module.Package.Path.String()
		embedded[path] = append(embedded[path], raw)
		return nil
	})
	library := libraryOf(files.ParsedModules())
	for _, name := range slices.Sorted(maps.Keys(files.Modules)) {
		file := files.Modules[name]
		path := file.Parsed.Package.Path
		ours := embedded[path.String()]
		same := func(raw []byte) bool { return bytes.Equal(raw, file.Raw) }
		if len(ours) == 0 || slices.ContainsFunc(ours, same) {
			continue
		}
		versions := ""
		if path.String() == "data.usso" {
			versions = fmt.Sprintf(" (%s, not %s)", cmp.Or(library.Version, "of no version"), library.Embedded)
		}
		found = append(found, Finding{
			File: name, Line: file.Parsed.Package.Location.Row,
			Text: fmt.Sprintf("%s replaces the one that comes with this version, and differs from it%s: remove the copy, or give it a package of your own", path, versions),
		})
	}
	return found, err
}
