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
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/ussoio/ussoauthz/policies"
)

// sources is what was read: modules by file name, data in a store.
type sources struct {
	modules  map[string]*ast.Module
	store    storage.Store
	revision string
}

// load reads the user's files and adds the embedded packages that the user did
// not write anew: data.usso is there whatever the paths say, and a policy may
// extend the embedded one by using its value.
func load(cfg Config) (*sources, error) {
	loaded := &loader.Result{Modules: map[string]*loader.RegoFile{}, Documents: map[string]any{}}
	if len(cfg.Paths) > 0 {
		var err error
		loaded, err = loader.NewFileLoader().WithFollowSymlinks(true).Filtered(cfg.Paths, skip)
		if err != nil {
			return nil, fmt.Errorf("loading policies: %w", err)
		}
		if len(loaded.Modules) == 0 {
			return nil, fmt.Errorf("loading policies: no .rego file in %s", strings.Join(cfg.Paths, ", "))
		}
	}
	modules, packages, sum := map[string]*ast.Module{}, map[string]bool{}, sha256.New()
	add := func(name string, raw []byte, module *ast.Module) {
		modules[name], packages[module.Package.Path.String()] = module, true
		fmt.Fprintf(sum, "%d:%s", len(raw), raw)
	}
	for _, name := range slices.Sorted(maps.Keys(loaded.Modules)) {
		file := loaded.Modules[name]
		add(name, file.Raw, file.Parsed)
	}
	own := maps.Clone(packages)
	err := eachEmbedded(func(name string, raw []byte, module *ast.Module) {
		if !own[module.Package.Path.String()] {
			add(name, raw, module)
		}
	})
	if err != nil {
		return nil, err
	}
	documents, err := json.Marshal(loaded.Documents) // maps are written in the order of their keys
	if err != nil {
		return nil, fmt.Errorf("loading data: %w", err)
	}
	sum.Write(documents)
	return &sources{
		modules:  modules,
		store:    inmem.NewFromObjectWithOpts(loaded.Documents, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true)),
		revision: hex.EncodeToString(sum.Sum(nil)[:8]),
	}, nil
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

func eachEmbedded(f func(name string, raw []byte, module *ast.Module)) error {
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
		f("embedded/"+name, raw, module)
		return nil
	})
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
