package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/ussoio/ussoauthz/pkg/policy/scopes"
)

// A few rules of the embedded policies are written in Rego for stock tools, and
// have another body here; tests hold both to the same answers. A package that
// the user wrote anew is left as it is.

// nativeAccess asks a function in Go, at a fraction of the cost.
const nativeAccess = `package usso

access(required) if ussoauthz.access(input.identity.scopes, required)`

// nativeWorkspace takes what Input.namedWorkspace found. The rules that it
// replaces look up a name that the route gives, among all headers: a decision
// would depend on each of them.
const nativeWorkspace = `package usso.authz

named_workspace := input.route.named_workspace`

// nativePermitted stands before the rules of this name and spares them: a yes of
// Input.permitted is theirs. Where it says no they are asked, since they know
// what is missing, and so they are where a decision is explained. Where decisions
// are kept, the embedded one is asked for a yes once only, when it is loaded.
const nativePermitted = `package usso.authz

permitted if input.route.permitted`

// permittedInput is all that the embedded decision reads where it is permitted.
var permittedInput = ast.NewObject(item("route", object(item("permitted", ast.InternedTerm(true)))))

// hiddenRefs are known to the rules of ours alone.
var hiddenRefs = []ast.Ref{
	ast.MustParseRef("input.route.named_workspace"),
	ast.MustParseRef("input.route.permitted"),
}

// accessBuiltin tells whether one of the scopes grants what is required.
var accessBuiltin = &ast.Builtin{
	Name: "ussoauthz.access",
	Decl: types.NewFunction(types.Args(types.A, types.A), types.B),
}

func access(_ topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	return iter(ast.InternedTerm(granted(operands[0].Value, operands[1].Value)))
}

// accessFunction adds the function to a query of OPA's own kind.
func accessFunction() func(*rego.Rego) {
	call := func(_ rego.BuiltinContext, held, required *ast.Term) (*ast.Term, error) {
		return ast.InternedTerm(granted(held.Value, required.Value)), nil
	}
	return rego.Function2(&rego.Function{Name: accessBuiltin.Name, Decl: accessBuiltin.Decl}, call)
}

// granted is false for what is no scope, as the rule is.
func granted(held, required ast.Value) bool {
	text, ok := required.(ast.String)
	if !ok {
		return false
	}
	requirement := scopes.ParseRequirement(string(text))
	grants := func(term *ast.Term) bool {
		scope, ok := term.Value.(ast.String)
		return ok && requirement.Granted(scopes.Parse(string(scope)))
	}
	switch held := held.(type) {
	case *ast.Array:
		return held.Until(grants)
	case ast.Set:
		return held.Until(grants)
	case ast.Object:
		return held.Until(func(_, scope *ast.Term) bool { return grants(scope) })
	}
	return false
}

// replaceRule gives a rule of a module the body that it has in source. The
// rule's default stays. A module of another package is left as it is.
func replaceRule(module *ast.Module, source string) error {
	return rewriteRule(module, source, func(rules []*ast.Rule, native *ast.Rule, same func(*ast.Rule) bool) []*ast.Rule {
		return append(slices.DeleteFunc(rules, same), native)
	})
}

// precedeRule puts the rule in source before those of its name.
func precedeRule(module *ast.Module, source string) error {
	return rewriteRule(module, source, func(rules []*ast.Rule, native *ast.Rule, same func(*ast.Rule) bool) []*ast.Rule {
		native.Location = &ast.Location{} // nowhere that an author could look
		ast.WalkExprs(native, func(e *ast.Expr) bool { e.Location = native.Location; return false })
		return slices.Insert(rules, slices.IndexFunc(rules, same), native)
	})
}

func rewriteRule(module *ast.Module, source string, rewrite func(rules []*ast.Rule, native *ast.Rule, same func(*ast.Rule) bool) []*ast.Rule) error {
	quick, err := ast.ParseModule(module.Package.Location.File, source)
	if err != nil {
		return err
	}
	if !quick.Package.Equal(module.Package) {
		return nil
	}
	rule := quick.Rules[0]
	same := func(r *ast.Rule) bool { return !r.Default && r.Head.Ref().Equal(rule.Head.Ref()) }
	i := slices.IndexFunc(module.Rules, same)
	if i < 0 { // the package has several files
		return nil
	}
	at := module.Rules[i].Location
	rule.Module, rule.Location = module, at
	ast.WalkExprs(rule, func(e *ast.Expr) bool { e.Location = at; return false })
	module.Rules = rewrite(module.Rules, rule, same)
	return nil
}

// replaces tells whether a policy evaluates rules with another input than the
// request's, which has no more than the members that users know, or with other
// rules or functions than those that have a body in Go.
func replaces(modules map[string]*ast.Module) bool {
	found := false
	for _, module := range modules {
		ast.WalkWiths(module, func(with *ast.With) bool {
			target, ok := with.Target.Value.(ast.Ref)
			data := ok && target.HasPrefix(ast.DefaultRootRef)
			found = found || !data || target.HasPrefix(library) || library.HasPrefix(target)
			return found
		})
	}
	return found
}

// library is the package that the rules with a body in Go stand in, or below.
var library = ast.MustParseRef("data.usso")
