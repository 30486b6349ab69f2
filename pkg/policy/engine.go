// Package policy asks Rego what to answer: it loads policies and data,
// compiles them once, and evaluates one entrypoint for each request. It is the
// only home of OPA.
package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

// DefaultEntrypoint is the rule of the embedded policy.
const DefaultEntrypoint = "usso/authz/decision"

// DefaultTimeout bounds one evaluation where the configuration says nothing.
// Envoy itself waits 200 ms by default.
const DefaultTimeout = 100 * time.Millisecond

// Config says which policy to load. The zero value is the embedded policy.
type Config struct {
	Entrypoint string        // a rule, as "usso/authz/decision"; "" is the embedded policy's
	Paths      []string      // Rego and data files and folders; empty: the embedded policy
	Timeout    time.Duration // for one evaluation; 0: DefaultTimeout
	// AllowNet names the hosts that http.send and net.lookup_ip_addr may ask.
	// Empty: a policy that calls them does not compile.
	AllowNet []string
}

// Engine is one compiled policy with its data. It is immutable and safe for
// concurrent use; a reload makes a new one.
type Engine struct {
	query    rego.PreparedEvalQuery
	timeout  time.Duration
	network  bool
	reads    reads
	revision string
}

// New loads and compiles a policy. Its errors carry the file and the line.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Entrypoint == "" {
		cfg.Entrypoint = DefaultEntrypoint
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	sources, err := load(cfg)
	if err != nil {
		return nil, err
	}
	schema, err := loadInputSchema()
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities(cfg.AllowNet)).WithSchemas(schema.opa)
	compiler.Compile(sources.modules)
	if errs := schema.explainTypes(compiler.Errors, compiler.Modules); len(errs) > 0 {
		return nil, explainCompile(errs)
	}
	ref, err := entrypoint(compiler, cfg.Entrypoint)
	if err != nil {
		return nil, err
	}
	query, err := rego.New(
		rego.Query(ref.String()),
		rego.Compiler(compiler),
		rego.Store(sources.store),
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t.Value, nil }),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing the policy: %w", err)
	}
	return &Engine{
		query:    query,
		timeout:  cfg.Timeout,
		network:  len(cfg.AllowNet) > 0,
		reads:    findReads(compiler.Modules),
		revision: sources.revision,
	}, nil
}

// Revision names the loaded policy and data: equal text for equal files.
func (e *Engine) Revision() string { return e.revision }

// Decide evaluates the entrypoint for one request. It always returns a
// decision: what fails, takes too long or gives no decision is a denial with
// the reason PolicyError. A body that the policy reads and that is not what its
// type says is one with InvalidRequest.
func (e *Engine) Decide(ctx context.Context, in *Input) (d Decision) {
	// A builtin that panics denies one request; it doesn't end the process.
	defer func() {
		if r := recover(); r != nil {
			d = fault(fmt.Errorf("the evaluation panicked: %v", r))
		}
	}()
	input, err := in.value(e.reads)
	if errors.Is(err, errBody) { // the client's fault, not the policy's
		return Decision{Reason: answers.InvalidRequest, Err: err}
	}
	if err != nil {
		return fault(fmt.Errorf("building the input: %w", err))
	}
	value, err := e.eval(ctx, input)
	if err != nil {
		return fault(err)
	}
	return readDecision(value)
}

// eval returns the entrypoint's value, nil where it is undefined.
func (e *Engine) eval(ctx context.Context, input ast.Value) (ast.Value, error) {
	limit := e.timeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	if limit <= 0 {
		return nil, context.DeadlineExceeded
	}
	// A timer instead of a goroutine for each evaluation.
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(limit, cancel.Cancel)
	defer timer.Stop()
	if e.network { // http.send looks at the context, not at the flag
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, limit)
		defer stop()
	}
	results, err := e.query.Eval(ctx,
		rego.EvalParsedInput(input),
		rego.EvalMetrics(metrics.NoOp()),
		rego.EvalExternalCancel(cancel),
	)
	if cancel.Cancelled() {
		return nil, fmt.Errorf("the evaluation took longer than %v", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("evaluating the policy: %w", err)
	}
	if len(results) == 0 || len(results[0].Expressions) == 0 {
		return nil, nil
	}
	value, ok := results[0].Expressions[0].Value.(ast.Value)
	if !ok {
		return nil, errors.New("the evaluation gave no value")
	}
	return value, nil
}

// capabilities are OPA's without the builtins that reach the network, or with
// them for the hosts that the configuration allows.
func capabilities(allowNet []string) *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = append([]string{}, allowNet...)
	if len(allowNet) > 0 {
		return c
	}
	kept := c.Builtins[:0:0]
	for _, b := range c.Builtins {
		if !networkBuiltin(b.Name) {
			kept = append(kept, b)
		}
	}
	c.Builtins = kept
	return c
}

func networkBuiltin(name string) bool {
	return name == ast.HTTPSend.Name || name == ast.NetLookupIPAddr.Name
}

// explainCompile adds what to do to the error that most authors will meet.
func explainCompile(errs ast.Errors) error {
	err := fmt.Errorf("compiling the policy: %w", errs)
	for _, name := range []string{ast.HTTPSend.Name, ast.NetLookupIPAddr.Name} {
		if strings.Contains(errs.Error(), "undefined function "+name) {
			return fmt.Errorf("%w (%s reaches the network: list the hosts it may ask in policy.allow_net)", err, name)
		}
	}
	return err
}

// entrypoint turns "a/b/c" into data.a.b.c and checks that such a rule exists.
func entrypoint(compiler *ast.Compiler, path string) (ast.Ref, error) {
	parts := strings.Split(path, "/")
	ref := ast.Ref{ast.DefaultRootDocument}
	for _, part := range parts {
		if part == "" {
			return nil, fmt.Errorf("entrypoint %q: write a rule's path as %q", path, DefaultEntrypoint)
		}
		ref = append(ref, ast.StringTerm(part))
	}
	// A rule, or the rules that make up an object: result["allowed"] := …
	for _, rule := range compiler.GetRulesWithPrefix(ref) {
		if len(rule.Module.Package.Path) < len(ref) { // and no package
			return ref, nil
		}
	}
	var rules []string
	for _, module := range compiler.Modules {
		if ref[:len(ref)-1].Equal(module.Package.Path) {
			for _, rule := range module.Rules {
				rules = append(rules, rule.Head.Ref().String())
			}
		}
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("entrypoint %q: no policy has the package %s", path, strings.Join(parts[:len(parts)-1], "."))
	}
	return nil, fmt.Errorf("entrypoint %q: no such rule; the package has %s", path, strings.Join(unique(rules), ", "))
}
