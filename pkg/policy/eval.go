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

func newQuery(ctx context.Context, compiler *ast.Compiler, store storage.Store, entrypoint ast.Ref) (*query, error) {
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

// deadline cancels an evaluation without a timer: an evaluation asks at each of
// its steps whether it is cancelled. It is for one goroutine.
type deadline struct {
	at    time.Time
	asked uint
	over  bool
}

// clockEvery is how many steps go by between two looks at the clock. A step
// takes about as long as a look.
const clockEvery = 16

func (d *deadline) Cancel() { d.over = true }

func (d *deadline) Cancelled() bool {
	if d.asked++; d.asked%clockEvery == 0 && !d.over {
		d.over = time.Now().After(d.at)
	}
	return d.over
}

var errTooLong = errors.New("the evaluation took too long")

// limit is the time that an evaluation has, not more than its caller.
func (e *Engine) limit(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(e.timeout, time.Until(deadline))
	}
	return e.timeout
}

// eval evaluates within the time limit.
func (e *Engine) eval(ctx context.Context, limit time.Duration, input ast.Value) (ast.Value, error) {
	if limit <= 0 {
		return nil, context.DeadlineExceeded
	}
	cancel := &deadline{at: time.Now().Add(limit)}
	if e.network { // http.send looks at the context
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
	}
	value, err := e.query.run(ctx, input, cancel)
	// What was found after the time is as late as what was cancelled: a call
	// that nothing interrupts may have been the last.
	if cancel.over || time.Now().After(cancel.at) {
		return nil, fmt.Errorf("%w, more than %v", errTooLong, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("evaluating the policy: %w", err)
	}
	return value, nil
}
