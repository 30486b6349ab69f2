package policy

import "github.com/open-policy-agent/opa/v1/ast"

// reads says which of the costly parts of the input a policy can look at.
type reads struct {
	attributes bool
	body       bool
}

// findReads looks at every reference to input in the compiled modules. What it
// can't tell counts as read: a bare input (a reference of one term), or input[x].
func findReads(modules map[string]*ast.Module) reads {
	var r reads
	for _, module := range modules {
		ast.WalkRefs(module, func(ref ast.Ref) bool {
			if !ref.HasPrefix(ast.InputRootRef) {
				return false
			}
			var first ast.String
			if len(ref) > 1 {
				first, _ = ref[1].Value.(ast.String)
			}
			switch first {
			case "":
				r.attributes, r.body = true, true
			case "attributes":
				r.attributes = true
			case "parsed_body", "truncated_body":
				r.body = true
			}
			return false
		})
	}
	return r
}
