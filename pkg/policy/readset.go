package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Analysis tells what a policy can read, and with that what can be known of its
// decisions before they are made.
//
// A compiled policy sees the input only where it names it. So every rule that
// the entrypoint may reach is walked: a reference to input counts with the
// names that are constant, a reference to data reaches every rule that it may
// mean. What the walk does not know makes the policy one that reads everything
// and is never cached. Data is no part of a decision's key: it changes with the
// Engine alone, and its cache with it.
type Analysis struct {
	Library Library `json:"library"`
	// Reads are the paths of input that a decision may depend on, sorted:
	// "input.identity.scopes". "input" is all of it.
	Reads []string `json:"reads"`

	// Cacheable: equal values of what is read give equal decisions, so that one
	// may serve for the other.
	Cacheable bool `json:"cacheable"`

	// Reasons are why not, each with the place in the policy.
	Reasons []Position `json:"reasons"`

	// Slow are the calls whose cost nothing bounds, and which no time limit
	// interrupts. The evaluation of a policy with one runs beside the request,
	// which is answered in time without it.
	Slow []Position `json:"slow"`
}

// analyze walks what an entrypoint may reach.
func analyze(compiler *ast.Compiler, entrypoint ast.Ref, builtins builtins) (*Analysis, reads) {
	a := &analysis{builtins: builtins, seen: map[*ast.Rule]bool{}, paths: map[string]path{}}
	for _, name := range slices.Sorted(maps.Keys(compiler.Modules)) {
		for _, rule := range compiler.Modules[name].Rules {
			a.rules = append(a.rules, rule)
			a.prefixes = append(a.prefixes, constantPrefix(rule.Ref()))
		}
	}
	a.data(entrypoint)
	for len(a.work) > 0 {
		rule := a.work[len(a.work)-1]
		a.work = a.work[:len(a.work)-1]
		a.rule(rule)
	}
	return a.result()
}

type analysis struct {
	builtins builtins

	rules    []*ast.Rule
	prefixes []ast.Ref
	seen     map[*ast.Rule]bool
	work     []*ast.Rule // seen, and not yet walked

	at      *ast.Location // what is walked
	paths   map[string]path
	reasons []Position
	slow    []Position
}

// path is a read path with the place that reads it first.
type path struct {
	steps []string
	at    Position
}

func (a *analysis) result() (*Analysis, reads) {
	paths := a.minimal()
	steps := make([][]string, len(paths))
	names := make([]string, len(paths))
	whole := false
	for i, p := range paths {
		steps[i], names[i] = p.steps, strings.Join(append([]string{"input"}, p.steps...), ".")
		if why := perRequest(p.steps); why != "" {
			a.reasons = append(a.reasons, Position{File: p.at.File, Line: p.at.Line, Text: fmt.Sprintf("reads %s: %s", names[i], why)})
		}
		whole = whole || len(p.steps) == 0
	}
	plan := chosenBy(steps)
	plan.whole = whole
	order := func(list []Position) []Position {
		slices.SortFunc(list, func(x, y Position) int {
			return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Text, y.Text))
		})
		return slices.Compact(list)
	}
	return &Analysis{
		Reads: names, Cacheable: len(a.reasons) == 0,
		Reasons: order(a.reasons), Slow: order(a.slow),
	}, plan
}

// perRequest says why a path makes every request another one.
func perRequest(steps []string) string {
	if len(steps) == 0 {
		return "it holds the time and the id of the request"
	}
	for i := range leaves {
		l := &leaves[i]
		rest, ok := l.below(steps)
		if ok && l.perRequest != "" && (len(rest) == 0 || l.name == "attributes" && onlyOnce(rest)) {
			return l.perRequest
		}
	}
	return ""
}

// onlyOnce tells whether a path below attributes holds the time or the id.
func onlyOnce(rest pick) bool {
	for _, own := range []pick{{"request", "time"}, {"request", "http", "id"}} {
		n := min(len(rest), len(own))
		if slices.Equal(rest[:n], own[:n]) {
			return true
		}
	}
	return false
}

// minimal drops the paths below others, but for those of hidden leaves, which
// are no part of what is around them.
func (a *analysis) minimal() []path {
	var kept []path
	for _, key := range slices.Sorted(maps.Keys(a.paths)) { // a prefix comes first
		p := a.paths[key]
		if hiddenPath(p.steps) || !slices.ContainsFunc(kept, func(k path) bool {
			return len(k.steps) <= len(p.steps) && slices.Equal(k.steps, p.steps[:len(k.steps)])
		}) {
			kept = append(kept, p)
		}
	}
	slices.SortFunc(kept, func(x, y path) int { return slices.Compare(x.steps, y.steps) })
	return kept
}

func (a *analysis) reject(format string, args ...any) {
	a.reasons = append(a.reasons, position(a.at, fmt.Sprintf(format, args...)))
}

// constantPrefix ends a reference before the first part that is not constant.
func constantPrefix(ref ast.Ref) ast.Ref {
	for i := 1; i < len(ref); i++ {
		switch ref[i].Value.(type) {
		case ast.String, ast.Number, ast.Boolean, ast.Null:
		default:
			return ref[:i]
		}
	}
	return ref
}

// input counts a reference to input.
func (a *analysis) input(ref ast.Ref) {
	var steps []string
	for _, term := range ref[1:] {
		step, ok := stepOf(term)
		if !ok {
			break
		}
		steps = append(steps, step)
	}
	if len(steps) > 0 && !knownPath(steps) { // the schema allows no such path
		steps = nil
	}
	key := string(stepsKey(steps))
	if _, ok := a.paths[key]; !ok {
		a.paths[key] = path{steps, position(a.at, "")}
	}
}

// stepsKey of a path begins with that of each path around it.
func stepsKey(steps []string) (key []byte) {
	for _, step := range steps {
		key = appendString(key, step)
	}
	return key
}

// stepOf is a member's name, or an element's index.
func stepOf(term *ast.Term) (string, bool) {
	switch v := term.Value.(type) {
	case ast.String:
		return string(v), true
	case ast.Number:
		_, ok := index(string(v))
		return string(v), ok
	}
	return "", false
}

// data reaches every rule that the reference may mean, or be a part of.
func (a *analysis) data(ref ast.Ref) {
	constant := constantPrefix(ref)
	for i, rule := range a.rules {
		if !a.seen[rule] && (constant.HasPrefix(a.prefixes[i]) || a.prefixes[i].HasPrefix(constant)) {
			a.seen[rule] = true
			a.work = append(a.work, rule)
		}
	}
}

func (a *analysis) rule(rule *ast.Rule) {
	for ; rule != nil; rule = rule.Else {
		a.at = rule.Location
		if head := rule.Head; head != nil {
			a.terms(head.Args)
			if len(head.Reference) > 0 {
				a.terms(head.Reference[1:]) // the first is the rule's own name
			}
			a.term(head.Key)
			a.term(head.Value)
		}
		a.body(rule.Body)
	}
}

func (a *analysis) body(body ast.Body) {
	for _, expr := range body {
		a.expr(expr)
	}
}

func (a *analysis) expr(expr *ast.Expr) {
	if expr.Location != nil {
		a.at = expr.Location
	}
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		a.term(terms)
	case []*ast.Term:
		a.call(terms)
	case *ast.SomeDecl:
		a.terms(terms.Symbols)
	case *ast.Every:
		a.terms([]*ast.Term{terms.Key, terms.Value, terms.Domain})
		a.body(terms.Body)
	case *ast.Not:
		a.body(terms.Body)
	case *ast.LogicalAnd:
		a.body(terms.Lhs)
		a.body(terms.Rhs)
	case *ast.LogicalOr:
		a.body(terms.Lhs)
		a.body(terms.Rhs)
	default:
		a.unknown(terms)
	}
	for _, with := range expr.With {
		a.with(with)
	}
}

// unknown fails closed: the policy reads all, and no decision is kept.
func (a *analysis) unknown(node any) {
	a.reject("has a %T, which the analysis does not know", node)
	a.input(ast.InputRootRef)
}

// with counts what a replacement shows of the input. To merge a value into the
// input looks at what is there, so that it counts as read; a whole new one
// shows nothing. A replaced function is another function than the one that was
// looked at.
func (a *analysis) with(with *ast.With) {
	a.term(with.Value)
	target, ok := with.Target.Value.(ast.Ref)
	switch {
	case ok && target.HasPrefix(ast.InputRootRef):
		if len(target) > 1 {
			a.input(ast.InputRootRef)
		}
	case ok && target.HasPrefix(ast.DefaultRootRef):
		constant := constantPrefix(target)
		for i, rule := range a.rules {
			if len(rule.Head.Args) > 0 && (constant.HasPrefix(a.prefixes[i]) || a.prefixes[i].HasPrefix(constant)) {
				a.reject("replaces the function %v by with", target)
			}
		}
		a.data(target)
	default:
		a.reject("replaces the builtin %v by with", with.Target)
	}
}

func (a *analysis) call(terms []*ast.Term) {
	if len(terms) == 0 {
		return
	}
	a.operator(terms[0])
	a.terms(terms[1:])
}

func (a *analysis) operator(term *ast.Term) {
	ref, ok := term.Value.(ast.Ref)
	if !ok {
		a.unknown(term.Value)
		return
	}
	if ref.HasPrefix(ast.DefaultRootRef) {
		if len(constantPrefix(ref)) != len(ref) {
			a.reject("calls %v, which is not one function", ref)
		}
		a.data(ref)
		return
	}
	b := a.builtins.about(ref.String())
	if b.impure != "" {
		a.reject("calls %v, which %s", ref, b.impure)
	}
	if b.slow {
		a.slow = append(a.slow, position(a.at, ref.String()))
	}
}

func (a *analysis) terms(terms []*ast.Term) {
	for _, term := range terms {
		a.term(term)
	}
}

func (a *analysis) term(term *ast.Term) {
	if term == nil {
		return
	}
	switch v := term.Value.(type) {
	case nil, ast.Null, ast.Boolean, ast.Number, ast.String:
	case ast.Var:
		a.ref(ast.Ref{term})
	case ast.Ref:
		a.ref(v)
	case *ast.Array:
		v.Foreach(a.term)
	case ast.Object:
		v.Foreach(func(key, value *ast.Term) { a.term(key); a.term(value) })
	case ast.Set:
		v.Foreach(a.term)
	case *ast.ArrayComprehension:
		a.term(v.Term)
		a.body(v.Body)
	case *ast.SetComprehension:
		a.term(v.Term)
		a.body(v.Body)
	case *ast.ObjectComprehension:
		a.term(v.Key)
		a.term(v.Value)
		a.body(v.Body)
	case ast.Call:
		a.call(v)
	case *ast.TemplateString:
		a.template(v)
	default:
		a.unknown(v)
	}
}

func (a *analysis) ref(ref ast.Ref) {
	if len(ref) == 0 {
		return
	}
	switch head := ref[0]; {
	case head.Equal(ast.InputRootDocument):
		a.input(ref)
	case head.Equal(ast.DefaultRootDocument):
		a.data(ref)
	default:
		if _, ok := head.Value.(ast.Var); !ok { // {…}[x], f(x)[y]
			a.term(head)
		}
	}
	a.terms(ref[1:])
}

func (a *analysis) template(t *ast.TemplateString) {
	for _, part := range t.Parts {
		switch part := part.(type) {
		case *ast.Term:
			a.term(part)
		case *ast.Expr:
			a.expr(part)
		default:
			a.unknown(part)
		}
	}
}
