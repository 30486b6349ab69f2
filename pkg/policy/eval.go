package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// query is the entrypoint, ready to be evaluated: what a rego.PreparedEvalQuery
// does for any query with any options, done for the one that there is.
type query struct {
	compiler *ast.Compiler
	body     ast.Body
	rewriter ast.QueryCompiler
	builtins map[string]*topdown.Builtin
	store    storage.Store

	// txn is one read transaction for all evaluations: nobody writes the store
	// of an engine.
	txn storage.Transaction
}

// result is the variable that the entrypoint's value is bound to.
const result = ast.Var("result")

// newQuery prepares the entrypoint of compiled modules. Their calls are within
// limits from then on, as what they look at is what a client sent.
func newQuery(ctx context.Context, compiler *ast.Compiler, store storage.Store, entrypoint ast.Ref) (*query, error) {
	if err := limitCalls(compiler.Modules); err != nil {
		return nil, err
	}
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	rewriter := compiler.QueryCompiler()
	body, err := rewriter.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(entrypoint), ast.NewTerm(result))))
	if err != nil {
		return nil, err
	}
	return &query{compiler: compiler, body: body, rewriter: rewriter, builtins: implementations(), store: store, txn: txn}, nil
}

// run returns the entrypoint's value, nil where it is undefined.
func (q *query) run(ctx context.Context, input ast.Value, cancel topdown.Cancel, trace ...topdown.QueryTracer) (value ast.Value, err error) {
	t := topdown.NewQuery(q.body).
		WithQueryCompiler(q.rewriter).
		WithCompiler(q.compiler).
		WithStore(q.store).
		WithTransaction(q.txn).
		WithBuiltins(q.builtins).
		WithMetrics(metrics.NoOp()).
		WithInput(ast.NewTerm(input)).
		WithCancel(cancel)
	for _, tracer := range trace {
		// Without the index every rule is tried, so that each that did not hold
		// leaves a trace.
		t = t.WithQueryTracer(tracer).WithIndexing(false)
	}
	err = t.Iter(ctx, func(found topdown.QueryResult) error {
		if term := found[result]; term != nil {
			value = term.Value
		}
		return nil
	})
	return value, err
}

var errTooLong = errors.New("the evaluation took too long")

// limit is the time that an evaluation has, not more than its caller.
func (e *Engine) limit(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(e.timeout, time.Until(deadline))
	}
	return e.timeout
}

// stackRoom is more than the evaluation of a usual policy takes of the stack:
// the evaluator calls itself for each step.
const stackRoom = 24 << 10

// makeRoom has the stack grow at once, while there is little on it. A request
// may be served by a new goroutine, whose small stack would double time after
// time below the evaluator, and each time all frames are copied and their
// pointers mended: that took longer than the evaluation.
//
//go:noinline
func makeRoom(use bool) (b byte) {
	if use { // never: the call alone makes the room, and to clear it would cost
		var room [stackRoom]byte
		for i := range room {
			room[i] = b + byte(i) // #nosec G115 -- any byte does: it is there to be written
			b = room[i/2]
		}
	}
	return b
}

// eval evaluates within the time limit.
func (e *Engine) eval(ctx context.Context, limit time.Duration, input ast.Value) (ast.Value, error) {
	if limit <= 0 {
		return nil, context.DeadlineExceeded
	}
	// A timer instead of a goroutine for each evaluation. To look at the clock
	// in Cancelled is cheaper only where it is rare, and then late where single
	// steps are slow.
	makeRoom(false)
	cancel := topdown.NewCancel()
	defer time.AfterFunc(limit, cancel.Cancel).Stop()
	if e.network { // http.send looks at the context
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
	}
	value, err := e.query.run(ctx, input, cancel)
	// What was found after the time is as late as what was cancelled: a call
	// that nothing interrupts may have been the last.
	if cancel.Cancelled() {
		return nil, fmt.Errorf("%w, more than %v", errTooLong, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("evaluating the policy: %w", err)
	}
	return value, nil
}
