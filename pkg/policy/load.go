package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/ussoio/ussoauthz/policies"
)

// sources is what a policy is made of.
type sources struct {
	modules   map[string]*ast.Module // by file name
	documents map[string]any         // data; not to be changed, parts of it are shared
	store     storage.Store          // a copy of the data, of this policy alone
	revision  string                 // equal text for equal sources
	replaced  []string               // packages of the files that a bundle holds instead
	permitted bool                   // the embedded decision asks nativePermitted first
}

// holds reports whether there is data at path, or in its way: a rule there
// would hide it.
func (s *sources) holds(path []string) (bool, error) {
	var at any = s.documents
	for _, name := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return true, nil
		}
		if at, ok = object[name]; !ok {
			return false, nil
		}
	}
	return true, nil
}

// readFiles reads the user's files.
func readFiles(paths []string) (*loader.Result, error) {
	if len(paths) == 0 {
		return &loader.Result{}, nil
	}
	files, err := loader.NewFileLoader().WithFollowSymlinks(true).Filtered(paths, skip)
	if err != nil {
		return nil, fmt.Errorf("loading policies: %w", err)
	}
	if len(files.Modules) == 0 {
		return nil, fmt.Errorf("loading policies: no .rego file in %s", strings.Join(paths, ", "))
	}
	return files, nil
}

// Parse finds what New would refuse in the files without looking at them
// together: a bundle may hold the rest.
func Parse(paths []string) error {
	_, err := readFiles(paths)
	return err
}

// readSources reads files, for an engine without bundles.
func readSources(paths []string) (*sources, error) {
	files, err := readFiles(paths)
	if err != nil {
		return nil, err
	}
	return assemble(files, nil)
}

// assemble puts the sources together: what the bundles hold, what the files
// hold outside the bundles' roots, and the embedded packages that neither
// writes anew. So data.usso is there whatever the user's policy is, and that
// policy may extend the embedded one by using its value.
func assemble(files *loader.Result, bundles map[string]*held) (*sources, error) {
	s := &sources{modules: map[string]*ast.Module{}, documents: map[string]any{}}
	packages, sum := map[string]bool{}, sha256.New()
	add := func(name string, raw []byte, module *ast.Module) {
		s.modules[name], packages[module.Package.Path.String()] = module, true
		fmt.Fprintf(sum, "%d:%s", len(raw), raw)
	}
	roots, err := rootsOf(bundles)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		for _, file := range bundles[name].modules {
			add(file.Path, file.Raw, file.Parsed)
		}
		if err := merge(s.documents, bundles[name].Data, "", nil); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files.Modules)) {
		file := files.Modules[name]
		if bundle.RootPathsContain(roots, packagePath(file.Parsed)) {
			s.replaced = append(s.replaced, file.Parsed.Package.Path.String())
			continue
		}
		add(name, file.Raw, file.Parsed)
	}
	s.replaced = unique(s.replaced)
	if err := merge(s.documents, files.Documents, "", roots); err != nil {
		return nil, err
	}
	own, plain := maps.Clone(packages), replaces(s.modules)
	err = eachEmbedded(func(name string, raw []byte, module *ast.Module) error {
		if own[module.Package.Path.String()] {
			return nil
		}
		add(name, raw, module)
		if plain {
			return nil
		}
		if err := replaceRule(module, nativeWorkspace); err != nil || own[library.String()] { // whose has_scope may mean something else
			return err
		}
		s.permitted = s.permitted || packagePath(module)+"/decision" == DefaultEntrypoint
		return precedeRule(module, nativePermitted)
	})
	if err != nil {
		return nil, err
	}
	documents, err := json.Marshal(s.documents) // maps are written in the order of their keys
	if err != nil {
		return nil, fmt.Errorf("loading data: %w", err)
	}
	sum.Write(documents)
	s.store = inmem.NewFromObjectWithOpts(s.documents, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
	s.revision = revisionOf(bundles, hex.EncodeToString(sum.Sum(nil)[:8]))
	return s, nil
}

// packagePath is a module's package as a manifest writes a root: a/b.
func packagePath(module *ast.Module) string {
	var names []string
	for _, term := range module.Package.Path[1:] {
		if name, ok := term.Value.(ast.String); ok {
			names = append(names, string(name))
		}
	}
	return strings.Join(names, "/")
}

// merge adds to into what from holds outside of the roots. It makes maps of its
// own and changes none of from's.
func merge(into, from map[string]any, at string, roots []string) error {
	for name, value := range from {
		path := strings.TrimPrefix(at+"/"+name, "/")
		if bundle.RootPathsContain(roots, path) {
			continue
		}
		object, isObject := value.(map[string]any)
		there, exists := into[name]
		below, wasObject := there.(map[string]any)
		switch {
		case exists && (!isObject || !wasObject):
			return fmt.Errorf("loading data: data.%s comes from two places", strings.ReplaceAll(path, "/", "."))
		case isObject:
			if !exists {
				below = make(map[string]any, len(object))
				into[name] = below
			}
			if err := merge(below, object, path, roots); err != nil {
				return err
			}
		default:
			into[name] = value
		}
	}
	return nil
}

// skip leaves out tests, and names with a leading dot: Kubernetes keeps a
// second copy of every mounted file under ..data.
func skip(path string, info fs.FileInfo, _ int) bool {
	name := filepath.Base(path)
	if strings.HasPrefix(name, ".") && name != "." && name != ".." {
		return true
	}
	return !info.IsDir() && strings.HasSuffix(name, "_test.rego")
}

func eachEmbedded(f func(name string, raw []byte, module *ast.Module) error) error {
	return fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(policies.FS, name)
		if err != nil {
			return err
		}
		module, err := ast.ParseModule("embedded/"+name, string(raw))
		if err != nil {
			return fmt.Errorf("parsing an embedded policy: %w", err)
		}
		if err := replaceRule(module, nativeAccess); err != nil {
			return fmt.Errorf("preparing an embedded policy: %w", err)
		}
		return f("embedded/"+name, raw, module)
	})
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
