package policy

import "github.com/open-policy-agent/opa/v1/ast"

// IndentJSON writes a value for people.
func IndentJSON(v ast.Value) string { return indentJSON(v) }

// Guarded returns a guard's answers: to a tenant that has a number of evaluations
// left behind, and to one without, beside others of other tenants.
func Guarded(processors, others, own int) (most int, busy, fresh error) {
	g := newGuard(processors)
	for i := range others {
		g.abandon(string(rune('a' + i)))
	}
	for range own {
		g.abandon("busy")
	}
	return g.most, g.admit("busy"), g.admit("fresh")
}
