package policy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// brokenStore begins no transaction.
type brokenStore struct{ storage.Store }

var errBroken = errors.New("the store is broken")

func (brokenStore) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return nil, errBroken
}

// What can't be prepared gives no engine, and none that would answer without it.
func TestQueriesThatCannotBePrepared(t *testing.T) {
	sources, err := readSources(nil)
	if err != nil {
		t.Fatal(err)
	}
	sources.store = brokenStore{sources.store}
	if e, err := build(t.Context(), Config{}, sources); e != nil || !errors.Is(err, errBroken) {
		t.Errorf("a store that is broken: %v, %v", e, err)
	}
	schema, err := loadInputSchema()
	if err != nil {
		t.Fatal(err)
	}
	compiler := ast.NewCompiler().WithSchemas(schema.opa)
	compiler.Compile(sources.modules)
	if q, err := newQuery(t.Context(), compiler, brokenStore{}, ast.MustParseRef("data.a")); q != nil || !errors.Is(err, errBroken) {
		t.Errorf("a query of a store that is broken: %v, %v", q, err)
	}
	if q, err := newQuery(t.Context(), compiler, inmem.New(), ast.MustParseRef("input.nothing")); q != nil || err == nil {
		t.Errorf("a query of what the input never has: %v, %v", q != nil, err)
	}
}

// An evaluation whose time is over does not begin, on either way: begun, it could
// end before anybody looks at the clock, or be counted among those left behind.
func TestNoTimeLeft(t *testing.T) {
	e, err := New(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for range 1000 {
		if value, err := e.eval(t.Context(), 0, permittedInput); value != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("within the request: %v, %v", value, err)
		}
		if value, err := e.evalBeside(late, "acme", permittedInput); value != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("beside the request: %v, %v", value, err)
		}
	}
	if running, total := e.Abandoned(); running != 0 || total != 0 {
		t.Errorf("%d of %d run on", running, total)
	}
}

// A call that can't be limited ends the loading, not a request.
func TestCallsThatCannotBeLimited(t *testing.T) {
	parsed := ast.MustParseModule("package a\np := 1")
	compiler := ast.NewCompiler()
	compiler.Compile(map[string]*ast.Module{"a.rego": parsed})
	module := compiler.Modules["a.rego"]
	// The compiler makes an expression of every call in a term.
	sprintf := ast.NewTerm(ast.Sprintf.Ref()).SetLocation(module.Rules[0].Location)
	module.Rules[0].Head.Value = ast.CallTerm(sprintf, ast.StringTerm("%s"), ast.ArrayTerm())
	q, err := newQuery(t.Context(), compiler, inmem.New(), ast.MustParseRef("data.a.p"))
	if q != nil || err == nil || !strings.Contains(err.Error(), "the call of sprintf can't be limited") {
		t.Errorf("%v, %v", q != nil, err)
	}
}

// An evaluation that was cancelled or that failed is told as that, and its value
// is nobody's.
func TestEvaluationsThatFail(t *testing.T) {
	for rego, want := range map[string]string{
		`p if { some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a + b == -1 }`: errTooLong.Error(),
		`p := bits.lsh(1, 100000)`: "evaluating the policy: bits.lsh: a shift by more than",
	} {
		path := filepath.Join(t.TempDir(), "a.rego")
		if err := os.WriteFile(path, []byte("package a\n"+rego), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := New(t.Context(), Config{Entrypoint: "a/p", Paths: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		limit := time.Minute
		if want == errTooLong.Error() {
			limit = 20 * time.Millisecond
		}
		if value, err := e.eval(t.Context(), limit, permittedInput); value != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", rego, value, err, want)
		}
	}
}
