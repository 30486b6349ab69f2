// Package policy asks Rego what to answer: it loads policies and data,
// compiles them once, and evaluates one entrypoint for each request. It is the
// only home of OPA.
package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy/grpcbody"
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
	// DecisionCache is how many bytes of decisions are kept, for policies whose
	// decisions can be; 0: none.
	DecisionCache int64

	// AllowNet names the hosts that http.send and net.lookup_ip_addr may ask.
	// Empty: a policy that calls them does not compile.
	AllowNet []string
	// ProtoDescriptor is a file with a descriptor set: the messages of gRPC
	// requests to its services appear in input.parsed_body. "": they are null.
	ProtoDescriptor string

	QueryNames  int // at most, of a query or a form that the policy reads; 0: DefaultQueryNames
	ObjectNames int // at most, of an object in a body that the policy reads; 0: DefaultObjectNames
}

// Engine is one compiled policy with its data. It is immutable and safe for
// concurrent use; a reload makes a new one.
type Engine struct {
	query    *query
	timeout  time.Duration
	network  bool
	analysis *Analysis
	reads    reads
	shown    reads             // for people: all that is not costly
	methods  *grpcbody.Methods // nil: no descriptor set
	bounds   bounds
	revision string
	unloaded bool           // no policy yet
	mask     *query         // of the decision log; nil: none
	cache    *decisionCache // nil: none
	guard    *guard         // nil: no policy
	slow     bool           // a call of the policy may outrun its time
	sized    clientSized
	turns    *turns // of large requests

	// permitted is the embedded policy's decision where Input.permitted says yes:
	// nothing else of the input has a part in it, so that one is kept for all.
	// nil: another policy, or no decision is kept.
	permitted *Decision

	entrypoint ast.Ref
}

// notLoaded is the engine of a service whose policy has not arrived yet.
func notLoaded() *Engine { return &Engine{revision: "none", unloaded: true, analysis: &Analysis{}} }

// Loaded reports whether there is a policy. Without one everything is denied,
// with the reason PolicyError and the status 503.
func (e *Engine) Loaded() bool { return !e.unloaded }

var errNotLoaded = errors.New("the policy is not loaded yet: its bundles have not arrived")

// New loads and compiles a policy. Its errors carry the file and the line.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	sources, err := readSources(cfg.Paths)
	if err != nil {
		return nil, err
	}
	return build(ctx, cfg, sources)
}

// build compiles what was read. The sources are the engine's from then on:
// nobody may write the store.
func build(ctx context.Context, cfg Config, sources *sources) (*Engine, error) {
	if cfg.Entrypoint == "" {
		cfg.Entrypoint = DefaultEntrypoint
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	schema, err := loadInputSchema()
	if err != nil {
		return nil, err
	}
	mask, modules, err := prepareMask(ctx, cfg, sources.modules, sources.store)
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities(cfg.AllowNet)).WithSchemas(schema.opa).
		WithPathConflictsCheck(sources.holds)
	compiler.Compile(modules)
	if errs := schema.explainTypes(compiler.Errors, compiler.Modules); len(errs) > 0 {
		return nil, explainCompile(errs)
	}
	ref, err := entrypoint(compiler, cfg.Entrypoint)
	if err != nil {
		return nil, err
	}
	var methods *grpcbody.Methods
	if cfg.ProtoDescriptor != "" {
		if methods, err = grpcbody.Load(cfg.ProtoDescriptor); err != nil {
			return nil, fmt.Errorf("descriptor set: %s: %w", cfg.ProtoDescriptor, err)
		}
	}
	analysis, reads := analyze(compiler, ref, newBuiltins(compiler.Capabilities().Builtins))
	analysis.Library = libraryOf(compiler.Modules)
	query, err := newQuery(ctx, compiler, sources.store, ref)
	if err != nil {
		return nil, fmt.Errorf("preparing the policy: %w", err)
	}
	e := &Engine{
		query:    query,
		timeout:  cfg.Timeout,
		network:  len(cfg.AllowNet) > 0,
		analysis: analysis,
		reads:    reads,
		shown:    reads.shown(),
		methods:  methods,
		bounds: bounds{
			queryNames:  cmp.Or(cfg.QueryNames, DefaultQueryNames),
			objectNames: cmp.Or(cfg.ObjectNames, DefaultObjectNames),
		},
		revision: sources.revision,
		mask:     mask,
		guard:    newGuard(runtime.GOMAXPROCS(0)),
		slow:     len(analysis.Slow) > 0,
		sized:    reads.clientSized(),
		turns:    newTurns(),

		entrypoint: ref,
	}
	if analysis.Cacheable {
		e.cache = newDecisionCache(cfg.DecisionCache)
	}
	if e.cache != nil && sources.permitted && cfg.Entrypoint == DefaultEntrypoint {
		// Where a busy machine takes longer than the time limit, that is no fault of
		// the configuration: each request asks then.
		if d := e.decideOn(ctx, "", permittedInput, false); d.Err == nil {
			e.permitted = d.clone()
		}
	}
	return e, nil
}

// Analysis tells what the policy can read, and whether its decisions are cached.
// It is shared: do not change it.
func (e *Engine) Analysis() *Analysis { return e.analysis }

// Revision names the loaded policy and data: equal text for equal files.
func (e *Engine) Revision() string { return e.revision }

// Decide evaluates the entrypoint for one request. It always returns a
// decision: what fails, takes too long or gives no decision is a denial with
// the reason PolicyError. A body that the policy reads and that is not what its
// type says is one with InvalidRequest, and a large request that had no time to be
// looked at is one with Overloaded.
func (e *Engine) Decide(ctx context.Context, in *Input) (d Decision) {
	// A builtin that panics denies one request; it doesn't end the process.
	defer func() {
		if r := recover(); r != nil {
			d = fault(fmt.Errorf("the evaluation panicked: %v", r))
		}
	}()
	if e.unloaded {
		return Decision{Reason: answers.PolicyError, Status: http.StatusServiceUnavailable, Headers: []Header{{Name: "retry-after", Value: "5"}}, Err: errNotLoaded}
	}
	if err := ctx.Err(); err != nil { // a cached decision is no faster than none
		return fault(err)
	}
	if e.permitted != nil && in.permitted() {
		return *e.permitted
	}
	q := questions.Get().(*question)
	q.in, q.methods, q.bounds = in, e.methods, &e.bounds
	defer q.release()
	if e.sized.of(in) > inlineBytes {
		// Its bytes alone are work: one that would be refused is not read.
		if err := e.guard.admit(in.TenantID); err != nil {
			return fault(err)
		}
		if err := e.enter(ctx, q); err != nil {
			return Decision{Reason: answers.Overloaded, Err: err}
		}
		defer q.leave()
	}
	if e.cache == nil {
		return e.evaluate(ctx, q)
	}
	return e.decideCached(ctx, q)
}

// decideCached looks for the decision of a request that the policy can't tell
// from this one. What failed is never kept: it may not fail the next time.
func (e *Engine) decideCached(ctx context.Context, q *question) Decision {
	key, ok := e.reads.key(appendString(q.key[:0], q.in.TenantID), q)
	q.key = key
	if !ok || len(key) > maxKey {
		return e.evaluate(ctx, q)
	}
	if d, ok := e.cache.find(key); ok {
		return *d
	}
	d := e.evaluate(ctx, q)
	if d.Err == nil {
		e.cache.keep(q.in.TenantID, key, &d)
	}
	d.Lookup = jwtverify.Miss
	return d
}

// evaluate asks the policy.
func (e *Engine) evaluate(ctx context.Context, q *question) Decision {
	beside := e.slow || q.turns != nil
	if beside {
		q.detach()
	}
	input, err := e.reads.document(q)
	if err != nil {
		return noInput(err)
	}
	if e.network { // it waits for others, not for a processor
		q.leave()
	}
	if q.waited > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, e.timeout-q.waited)
		defer stop()
	}
	return e.decideOn(ctx, q.in.TenantID, input, beside)
}

// enter waits for the turn of a large request. The time is its evaluation's.
func (e *Engine) enter(ctx context.Context, q *question) (err error) {
	if q.waited, err = e.turns.wait(ctx, q.in.TenantID, e.limit(ctx)); err == nil {
		q.turns = e.turns
	}
	return err
}

// leave ends the turn of a request that has one.
func (q *question) leave() {
	if q.turns != nil {
		q.turns.end()
		q.turns = nil
	}
}

// noInput is the decision where there is no input document.
func noInput(err error) Decision {
	if client := (*errInput)(nil); errors.As(err, &client) { // its fault, not the policy's
		return Decision{Reason: answers.InvalidRequest, Err: err}
	}
	return fault(fmt.Errorf("building the input: %w", err))
}

// decideOn evaluates the entrypoint for an input document of a tenant, beside
// the request or within it.
func (e *Engine) decideOn(ctx context.Context, tenant string, input ast.Value, beside bool) Decision {
	var value ast.Value
	var err error
	if beside {
		value, err = e.evalBeside(ctx, tenant, input)
	} else {
		value, err = e.eval(ctx, e.limit(ctx), input)
	}
	if err != nil {
		return fault(err)
	}
	return readDecision(value)
}

// explainCompile adds what to do to the errors about functions that a policy
// does not get.
func explainCompile(errs ast.Errors) error {
	err := fmt.Errorf("compiling the policy: %w", errs)
	for _, name := range slices.Sorted(maps.Keys(withheld)) {
		if strings.Contains(errs.Error(), "undefined function "+name) {
			err = fmt.Errorf("%w (no policy gets %s: %s)", err, name, withheld[name])
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
