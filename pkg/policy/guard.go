package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// guard bounds the evaluations that nobody waits for any more. A call that
// nothing interrupts (a regular expression over a long text) may run on after
// its request was answered: it holds a core, so there must not be many.
type guard struct {
	most     int // of the engine
	ofTenant int

	mu      sync.Mutex
	running int
	tenants map[string]int
	total   uint64
}

// newGuard leaves room for others: a tenant whose requests run into the limit is
// refused before it holds all that the engine may lose, or more than half of the
// processors: one request after the other would keep every processor busy.
func newGuard(processors int) *guard {
	return &guard{most: 2 * max(2, processors), ofTenant: min(2, max(1, processors/2)), tenants: map[string]int{}}
}

var errAbandoned = errors.New("too many evaluations of this policy run on after their time: a call that nothing interrupts is too slow for what requests bring")

// admit refuses an evaluation while too many are left behind.
func (g *guard) admit(tenant string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running >= g.most || g.tenants[tenant] >= g.ofTenant {
		return errAbandoned
	}
	return nil
}

func (g *guard) abandon(tenant string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running++
	g.total++
	g.tenants[tenant]++
}

func (g *guard) ended(tenant string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	if g.tenants[tenant]--; g.tenants[tenant] == 0 {
		delete(g.tenants, tenant)
	}
}

// Abandoned tells how many evaluations run on after their request was answered,
// and how many did so since the engine was made.
func (e *Engine) Abandoned() (running int, total uint64) {
	if e.guard == nil {
		return 0, 0
	}
	e.guard.mu.Lock()
	defer e.guard.mu.Unlock()
	return e.guard.running, e.guard.total
}

// outcome is what an evaluation gave.
type outcome struct {
	value ast.Value
	err   error
}

// inlineBytes is how much of a request's own size an evaluation within the
// request may read. A call takes some ten nanoseconds for a byte, or the square
// of a few: of so many it ends soon.
const inlineBytes = 16 << 10

// clientSized says which parts of a request, of the size that its client chose,
// a policy reads.
type clientSized struct{ body, query, headers, path bool }

func (r *reads) clientSized() (s clientSized) {
	for i := range r.objects {
		for _, l := range r.objects[i].leaves {
			switch l.name {
			case "parsed_body", "truncated_body":
				s.body = true
			case "query", "parsed_query":
				s.query = true
			case "headers":
				s.headers = true
			case "path", "segments", "plain_segments", "parsed_path", "params":
				s.path = true
			case "attributes":
				s = clientSized{true, true, true, true}
			}
		}
	}
	return s
}

// of is how many bytes of a request the policy may read.
func (s clientSized) of(in *Input) (n int) {
	if s.body {
		n += len(in.Body.Bytes)
	}
	if s.query {
		n += len(in.RawQuery)
	}
	if s.headers {
		for i := range in.Headers {
			n += len(in.Headers[i].Name) + len(in.Headers[i].Value)
		}
	}
	if s.path {
		for _, segment := range in.Segments {
			n += len(segment)
		}
	}
	return n
}

// evalBeside is eval for a policy that may call what nothing interrupts, and for
// a request of a size that makes any call long: it
// returns in time, with or without the value. Nothing of the request may be in
// the input, as the request may be gone before the evaluation is.
func (e *Engine) evalBeside(ctx context.Context, tenant string, input ast.Value) (ast.Value, error) {
	if err := e.guard.admit(tenant); err != nil {
		return nil, err
	}
	limit := e.limit(ctx)
	if limit <= 0 {
		return nil, context.DeadlineExceeded
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- outcome{err: fmt.Errorf("the evaluation panicked: %v", r)}
			}
		}()
		// One that can be interrupted ends a little earlier, and is not counted.
		value, err := e.eval(ctx, limit-limit/20, input)
		done <- outcome{value, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.value, o.err
	case <-timer.C:
	}
	e.guard.abandon(tenant)
	go func() {
		<-done
		e.guard.ended(tenant)
	}()
	return nil, fmt.Errorf("%w, more than %v: a call that nothing interrupts runs on", errTooLong, limit)
}

// detach takes copies of what a document would hold on to.
func (q *question) detach() {
	in := *q.in
	in.TenantID, in.Issuer = strings.Clone(in.TenantID), strings.Clone(in.Issuer)
	in.Method, in.Host, in.RawQuery = strings.Clone(in.Method), strings.Clone(in.Host), strings.Clone(in.RawQuery)
	in.Segments, in.Headers, in.Params = cloneTexts(in.Segments), cloneFields(in.Headers), cloneFields(in.Params)
	q.in, q.detached, q.plain = &in, true, nil
}
