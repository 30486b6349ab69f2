package policy

import (
	"errors"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// OPA adds up the hashes of a list's elements, and cuts the fraction off a
// number to hash it: [1, 2] and [2, 1] share one, and so do all numbers between
// 0 and 1, the client's and honest ones. A set tries one hash after the other
// until it finds a free one, so a function that fills one with such elements
// takes the square of their number.
const (
	fewElements = 128     // are not worth a look
	maxProbes   = 1 << 18 // of a set that one call fills
	textProbes  = 8       // for each text: honest ones share no hash
	longNumber  = 18      // digits: longer ones are compared digit by digit,
	longProbes  = 16      // which takes so many times as long
)

var errCrowded = errors.New("too many elements share a hash")

// elementHashes collects what a function puts into one set, or looks up there.
type elementHashes struct {
	list  []int
	mixed bool // not texts alone
	long  bool // numbers of many digits among them
}

func (h *elementHashes) add(term *ast.Term) {
	switch v := term.Value.(type) {
	case ast.String:
	case ast.Number:
		h.mixed, h.long = true, h.long || len(v) > longNumber
	default:
		h.mixed = true
	}
	h.list = append(h.list, term.Value.Hash())
}

func (h *elementHashes) addAll(value ast.Value) {
	switch v := value.(type) {
	case *ast.Array:
		v.Foreach(h.add)
	case ast.Set:
		v.Foreach(h.add)
	case ast.Object:
		v.Foreach(func(key, _ *ast.Term) { h.add(key) })
	}
}

// check fills a set in thought, in the order of the hashes: the number of probes
// is the same in every order. An element that stands there twice counts as two,
// as it does if it is looked up.
func (h *elementHashes) check() error {
	n := len(h.list)
	if n <= fewElements {
		return nil
	}
	slices.Sort(h.list)
	budget := maxProbes
	switch {
	case !h.mixed:
		budget = textProbes*n + fewElements
	case h.long:
		budget /= longProbes
	}
	last := h.list[0] - 1
	for _, hash := range h.list {
		last = max(last+1, hash)
		if budget -= last - hash; budget < 0 {
			return errCrowded
		}
	}
	return nil
}

func sizeOf(value ast.Value) int {
	switch v := value.(type) {
	case *ast.Array:
		return v.Len()
	case ast.Set:
		return v.Len()
	case ast.Object:
		return v.Len()
	}
	return 0
}

// limitSets is for a function that fills a set with what all its arguments hold.
func limitSets(operands []*ast.Term) error {
	n := 0
	for _, operand := range operands {
		n += sizeOf(operand.Value)
	}
	if n <= fewElements {
		return nil
	}
	h := elementHashes{list: make([]int, 0, n)}
	for _, operand := range operands {
		h.addAll(operand.Value)
	}
	return h.check()
}

// limitSetOfSets is for a function of a set or list of sets or objects.
func limitSetOfSets(operands []*ast.Term) error {
	var h elementHashes
	add := func(term *ast.Term) { h.addAll(term.Value) }
	switch v := operands[0].Value.(type) {
	case *ast.Array:
		v.Foreach(add)
	case ast.Set:
		v.Foreach(add)
	}
	return h.check()
}

// limitSubset: a list is searched in a list by trying each place.
func limitSubset(operands []*ast.Term) error {
	steps := 0
	countSubset(operands[0].Value, operands[1].Value, &steps)
	if err := limitSteps(steps); err != nil {
		return err
	}
	return limitSets(operands)
}

func countSubset(super, sub ast.Value, steps *int) {
	switch super := super.(type) {
	case *ast.Array:
		if sub, ok := sub.(*ast.Array); ok {
			*steps += product(16*super.Len(), sub.Len()) // steps of a comparison
		}
	case ast.Object:
		sub, ok := sub.(ast.Object)
		if !ok {
			return
		}
		sub.Until(func(key, value *ast.Term) (stop bool) {
			if member := super.Get(key); member != nil {
				countSubset(member.Value, value.Value, steps)
			}
			return *steps > maxSteps
		})
	}
}

// limitPointers is for a function that makes a tree of JSON pointers: to put a
// name there again takes the time of reading the tree's other names.
func limitPointers(operands []*ast.Term) error {
	n := sizeOf(operands[1].Value)
	if n <= fewElements {
		return nil
	}
	if err := limitSteps(product(n, n/4)); err != nil {
		return err
	}
	return limitSets(operands)
}

// limitPatch: an operation on a list moves all behind it, a test compares, and a
// copy of all into a part of it doubles it.
func limitPatch(operands []*ast.Term) error {
	operations, ok := operands[1].Value.(*ast.Array)
	if !ok {
		return nil
	}
	nodes := nodesOf(operands[0].Value, maxSteps) + nodesOf(operations, maxSteps)
	copies := 0
	operations.Foreach(func(term *ast.Term) {
		if o, ok := term.Value.(ast.Object); ok {
			if op := o.Get(ast.InternedTerm("op")); op != nil && op.Equal(ast.InternedTerm("copy")) {
				copies++
			}
		}
	})
	if copies > 16 || nodes<<copies > maxElements {
		return limitElements(maxElements + 1)
	}
	return limitSteps(product(8*operations.Len(), nodes))
}

// nodesOf counts values, those in others too, and stops above most.
func nodesOf(value ast.Value, most int) (n int) {
	visit := func(term *ast.Term) (stop bool) {
		n += nodesOf(term.Value, most-n)
		return n > most
	}
	n = 1
	switch v := value.(type) {
	case *ast.Array:
		v.Until(visit)
	case ast.Set:
		v.Until(visit)
	case ast.Object:
		v.Until(func(key, member *ast.Term) bool { return visit(key) || visit(member) })
	case ast.String:
		n += len(v) / 64
	}
	return n
}

// containsMatches is net.cidr_contains_matches, which stops in time: it compares
// each with each, and the pairs of their indexes share few hashes.
func containsMatches(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	contains := topdown.GetBuiltin(ast.NetCIDRContains.Name)
	var pairs []*ast.Term
	err := eachCIDR(operands[0], func(cidr, index *ast.Term) error {
		return eachCIDR(operands[1], func(other, otherIndex *ast.Term) error {
			if cancelled(bctx) {
				return errCancelled
			}
			return contains(bctx, []*ast.Term{cidr, other}, func(found *ast.Term) error {
				if found.Equal(ast.InternedTerm(true)) {
					pairs = append(pairs, ast.ArrayTerm(index, otherIndex))
				}
				return nil
			})
		})
	})
	if err != nil {
		return err
	}
	var h elementHashes
	for _, pair := range pairs {
		h.add(pair)
	}
	if err := h.check(); err != nil {
		return refuse(ast.NetCIDRContainsMatches.Name, err)
	}
	return iter(ast.SetTerm(pairs...))
}

// eachCIDR visits a text, or the texts of a collection with what leads to each.
func eachCIDR(term *ast.Term, visit func(cidr, index *ast.Term) error) error {
	element := func(t, index *ast.Term) error {
		if list, ok := t.Value.(*ast.Array); ok && list.Len() > 0 {
			t = list.Elem(0)
		} else if _, ok := t.Value.(ast.String); !ok {
			return errors.New("element must be string or non-empty array")
		}
		return visit(t, index)
	}
	switch v := term.Value.(type) {
	case ast.String:
		return visit(term, term)
	case *ast.Array:
		i := -1
		return v.Iter(func(t *ast.Term) error { i++; return element(t, ast.InternedTerm(i)) })
	case ast.Set:
		return v.Iter(func(t *ast.Term) error { return element(t, t) })
	case ast.Object:
		return v.Iter(func(k, t *ast.Term) error { return element(t, k) })
	}
	return nil
}

// limitMerge: each network that is merged moves all behind it.
func limitMerge(operands []*ast.Term) error {
	n := sizeOf(operands[0].Value)
	return limitSteps(product(n, n/32))
}

var errCancelled = topdown.Halt{Err: &topdown.Error{Code: topdown.CancelErr, Message: "the call was cancelled"}}

func cancelled(bctx topdown.BuiltinContext) bool {
	return bctx.Cancel != nil && bctx.Cancel.Cancelled()
}

// walk is OPA's, which stops in time: a path is copied at each value, and a
// value that is not asked for goes by without a step of the evaluation.
func walk(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	return topdown.GetBuiltin(ast.WalkBuiltin.Name)(bctx, operands, func(value *ast.Term) error {
		if cancelled(bctx) {
			return errCancelled
		}
		return iter(value)
	})
}

// reachable is graph.reachable. OPA's puts a node into its queue once for each
// way that leads there, and each time all nodes behind it: their number doubles
// with each layer of two.
func reachable(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
	graph, ok := operands[0].Value.(ast.Object)
	if !ok || sizeOf(operands[1].Value) == 0 { // OPA says what is wrong
		return topdown.GetBuiltin(ast.ReachableBuiltin.Name)(bctx, operands, iter)
	}
	reached := ast.NewSet()
	var queue []*ast.Term
	visit := func(node *ast.Term) {
		if graph.Get(node) != nil && !reached.Contains(node) {
			reached.Add(node)
			queue = append(queue, node)
		}
	}
	for next := operands[1]; ; next, queue = graph.Get(queue[0]), queue[1:] {
		if cancelled(bctx) {
			return errCancelled
		}
		switch edges := next.Value.(type) {
		case *ast.Array:
			edges.Foreach(visit)
		case ast.Set:
			edges.Foreach(visit)
		}
		if len(queue) == 0 {
			return iter(ast.NewTerm(reached))
		}
	}
}

// limitPaths walks the paths as the function does, without keeping them: their
// number grows with the factorial of the graph's size.
func limitPaths(operands []*ast.Term) error {
	graph, ok := operands[0].Value.(ast.Object)
	if !ok {
		return nil
	}
	w := pathWalk{graph: graph, room: maxPaths}
	if !w.each(operands[1].Value, nil) {
		return errors.New("the graph has too many paths, or too long ones")
	}
	return nil
}

type pathWalk struct {
	graph ast.Object
	room  int
}

// each returns false where there is no more room.
func (w *pathWalk) each(nodes ast.Value, path []*ast.Term) bool {
	visit := func(node *ast.Term) (stop bool) {
		w.room -= 1 + len(path) // the function copies the path at each of its steps
		if w.room < 0 {
			return true
		}
		edges := w.graph.Get(node)
		if edges == nil || slices.ContainsFunc(path, node.Equal) {
			return false
		}
		return !w.each(edges.Value, append(slices.Clip(path), node))
	}
	switch v := nodes.(type) {
	case *ast.Array:
		return !v.Until(visit)
	case ast.Set:
		return !v.Until(visit)
	}
	return true
}
