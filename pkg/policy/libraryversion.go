package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/policies"
)

// Library tells which data.usso is in force.
type Library struct {
	Version  string   `json:"version"` // "": it does not say
	Files    []string `json:"files"`
	Embedded string   `json:"embedded"` // the version that comes with this program
}

// String is "1.0.0, the embedded one", or what the files replace.
func (l Library) String() string {
	version := l.Version
	if version == "" {
		version = "of no version"
	}
	if len(l.Files) == 0 || strings.HasPrefix(l.Files[0], "embedded/") {
		return version + ", the embedded one"
	}
	return fmt.Sprintf("%s, from %s, in place of the embedded %s", version, strings.Join(l.Files, ", "), l.Embedded)
}

// libraryOf finds the library among the modules of a policy.
func libraryOf(modules map[string]*ast.Module) Library {
	l := Library{Embedded: policies.LibraryVersion}
	for name, module := range modules {
		if module.Package.Path.String() != "data.usso" {
			continue
		}
		l.Files = append(l.Files, name)
		for _, rule := range module.Rules {
			if version, ok := versionOf(rule); ok {
				l.Version = version
			}
		}
	}
	slices.Sort(l.Files)
	return l
}

func versionOf(rule *ast.Rule) (string, bool) {
	if rule.Head.Name != "version" || rule.Head.Value == nil {
		return "", false
	}
	version, ok := rule.Head.Value.Value.(ast.String)
	return string(version), ok
}
