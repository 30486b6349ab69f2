package policy

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// builtins is what the engine knows about the functions that a policy can call.
type builtins map[string]aboutBuiltin

type aboutBuiltin struct {
	impure string // why equal arguments may give another value, or ""; "which …"
	slow   bool   // a call may outlive the time of its evaluation, and nothing interrupts it
}

// about fails closed for a function that is not known.
func (b builtins) about(name string) aboutBuiltin {
	if known, ok := b[name]; ok {
		return known
	}
	return aboutBuiltin{impure: "is not known to depend on its arguments alone", slow: true}
}

func newBuiltins(declared []*ast.Builtin) builtins {
	b := builtins{}
	for _, decl := range declared {
		about := aboutBuiltin{slow: slowBuiltin(decl.Name)}
		switch {
		case decl.Nondeterministic:
			about.impure = "depends on more than its arguments"
		case clocks[decl.Name]: // OPA does not say so
			about.impure = "looks at the clock"
		}
		b[decl.Name] = about
	}
	return b
}

var clocks = names(
	ast.CryptoX509ParseAndVerifyCertificates.Name,
	ast.CryptoX509ParseAndVerifyCertificatesWithOptions.Name,
)

// withheld are the functions that a policy doesn't get, and why.
var withheld = map[string]string{
	ast.HTTPSend.Name:        "it reaches the network: list the hosts it may ask in policy.allow_net",
	ast.NetLookupIPAddr.Name: "it reaches the network: list the hosts it may ask in policy.allow_net",
	ast.RenderTemplate.Name:  "a template can write without an end, which would end the service: use sprintf, or an interpolated string",
	ast.RegoParseModule.Name: "a text nested deep enough would end the service",
}

func networkBuiltin(name string) bool {
	return name == ast.HTTPSend.Name || name == ast.NetLookupIPAddr.Name
}

// capabilities are OPA's without what is withheld, with our own. The network is
// reached where the configuration allows hosts.
func capabilities(allowNet []string) *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = append([]string{}, allowNet...)
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool {
		return withheld[b.Name] != "" && !(len(allowNet) > 0 && networkBuiltin(b.Name))
	})
	c.Builtins = append(c.Builtins, accessBuiltin)
	return c
}

// implementations are the functions of ours that an evaluation can call.
func implementations() map[string]*topdown.Builtin {
	m := map[string]*topdown.Builtin{accessBuiltin.Name: {Decl: accessBuiltin, Func: access}}
	for name, limit := range limits {
		decl := *ast.BuiltinMap[name]
		decl.Name = limitedName(name)
		m[decl.Name] = &topdown.Builtin{Decl: &decl, Func: limitedBuiltin(name, limit)}
	}
	return m
}

func isLimited(ref ast.Ref) bool {
	_, ok := limits[ref.String()]
	return ok
}

func limitedName(name string) string { return "limited." + name }

// limitCalls puts the limited functions in the place of OPA's own, in compiled
// modules. OPA knows one implementation of a function for the whole process,
// and finds it before any of a query's own.
func limitCalls(modules map[string]*ast.Module) error {
	renamed := func(term *ast.Term) *ast.Term {
		ref, _ := term.Value.(ast.Ref)
		if !isLimited(ref) {
			return term
		}
		return &ast.Term{Value: ast.MustParseRef(limitedName(ref.String())), Location: term.Location}
	}
	for _, module := range modules {
		ast.WalkExprs(module, func(expr *ast.Expr) bool {
			if terms, ok := expr.Terms.([]*ast.Term); ok && len(terms) > 0 {
				terms[0] = renamed(terms[0])
			}
			for _, with := range expr.With {
				with.Target, with.Value = renamed(with.Target), renamed(with.Value)
			}
			return false
		})
		var left ast.Ref
		ast.WalkRefs(module, func(ref ast.Ref) bool {
			if isLimited(ref) {
				left = ref
			}
			return false
		})
		if left != nil {
			return fmt.Errorf("%v: the call of %v can't be limited", left[0].Location, left)
		}
	}
	return nil
}

func names(list ...string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, name := range list {
		m[name] = true
	}
	return m
}
