package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// held is one bundle that was read and verified. It is never changed: several
// engines may be built from it.
type held struct {
	*bundle.Bundle
	modules []bundle.ModuleFile // with the bundle's name before the path, in the order of their paths
	raw     []byte              // the archive, to be kept on disk; nil: it is there, or must not be
}

// hold checks a bundle for what can't be run here, and names its files so that
// an error or a trace tells which bundle they come from.
func hold(name string, b *bundle.Bundle, raw []byte) (*held, error) {
	if len(b.Manifest.WasmResolvers) > 0 || len(b.WasmModules) > 0 || len(b.PlanModules) > 0 {
		return nil, fmt.Errorf("the bundle holds wasm or a plan, which is not run here: build it as Rego (opa build without -t)")
	}
	h := &held{Bundle: b, raw: raw}
	for _, file := range b.Modules {
		version, err := b.RegoVersionForFile(file.RelativePath, ast.DefaultRegoVersion)
		if err != nil {
			return nil, err
		}
		file.Path = name + "/" + strings.TrimPrefix(file.Path, "/")
		file.Parsed, err = ast.ParseModuleWithOpts(file.Path, string(file.Raw), ast.ParserOptions{RegoVersion: version, ProcessAnnotation: true})
		if err != nil {
			return nil, err
		}
		h.modules = append(h.modules, file)
	}
	slices.SortFunc(h.modules, func(a, b bundle.ModuleFile) int { return strings.Compare(a.Path, b.Path) })
	return h, nil
}

func (h *held) roots() []string {
	if h.Manifest.Roots == nil {
		return []string{""}
	}
	return *h.Manifest.Roots
}

// rootsOf returns the roots of all bundles. Two bundles can't own one place:
// which of them would be right?
func rootsOf(bundles map[string]*held) ([]string, error) {
	var roots []string
	owners := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		for _, root := range bundles[name].roots() {
			for other, owner := range owners {
				if owner != name && bundle.RootPathsOverlap(root, other) {
					return nil, fmt.Errorf("the root %q of bundle %s overlaps the root %q of bundle %s: give each bundle roots of its own in its manifest", root, name, other, owner)
				}
			}
			owners[root] = name
			roots = append(roots, root)
		}
	}
	return roots, nil
}

// Bounds on what a revision tells of bundles: it goes into every answer.
const (
	maxBundlesTold  = 4
	maxRevisionTold = 32
)

// revisionOf puts the bundles' own revisions before the sum of all content:
// "main@v12,data@7,0123456789abcdef".
func revisionOf(bundles map[string]*held, sum string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		if len(parts) == maxBundlesTold {
			parts = append(parts, fmt.Sprintf("+%d", len(bundles)-maxBundlesTold))
			break
		}
		part := told(name)
		if revision := bundles[name].Manifest.Revision; revision != "" {
			part += "@" + told(revision)
		}
		parts = append(parts, part)
	}
	return strings.Join(append(parts, sum), ",")
}

// told makes text of a bundle fit a header or a log line.
func told(text string) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == ',' {
			return '_'
		}
		return r
	}, text)
	return text[:min(len(text), maxRevisionTold)]
}
