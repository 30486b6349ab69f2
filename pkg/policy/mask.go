package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Mask is a change to a record of the decision log, in the form of OPA's rules
// data.system.log.mask.
type Mask struct {
	Op    string // remove or upsert
	Path  string // a JSON pointer into the event, like /input/request/path
	Value any    // of an upsert
}

// maskTimeout bounds one evaluation of the mask rules: they run behind the
// answers, not before them.
const maskTimeout = 5 * time.Second

// maskPackage is the one that OPA looks for mask rules in.
var maskPackage = ast.MustParseRef("data.system.log")

// prepareMask compiles data.system.log.mask; nil where no module has its
// package. Its input is an event of the decision log and not a request, so the
// modules of that package are taken out of the others and compiled without the
// request's schema.
func prepareMask(ctx context.Context, cfg Config, modules map[string]*ast.Module, store storage.Store) (*query, map[string]*ast.Module, error) {
	others := make(map[string]*ast.Module, len(modules))
	for name, module := range modules {
		if !module.Package.Path.HasPrefix(maskPackage) {
			others[name] = module
		}
	}
	if len(others) == len(modules) {
		return nil, modules, nil
	}
	compiler := ast.NewCompiler().WithCapabilities(capabilities(cfg.AllowNet))
	if compiler.Compile(modules); compiler.Failed() {
		return nil, nil, explainCompile(compiler.Errors)
	}
	query, err := newQuery(ctx, compiler, store, maskPackage.Append(ast.StringTerm("mask")))
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the mask of the decision log: %w", err)
	}
	return query, others, nil
}

// HasMask reports whether the policy has rules for the decision log.
func (e *Engine) HasMask() bool { return e.mask != nil }

// Mask evaluates data.system.log.mask for an event of the decision log. Without
// such a rule there is no mask. An error means that nobody knows what has to be
// hidden: the event must not be written.
func (e *Engine) Mask(ctx context.Context, event map[string]any) (masks []Mask, err error) {
	if e.mask == nil {
		return nil, nil
	}
	defer func() {
		if r := recover(); r != nil {
			masks, err = nil, fmt.Errorf("the evaluation panicked: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, maskTimeout)
	defer cancel()
	value, err := e.maskOf(ctx, event)
	if err != nil {
		return nil, fmt.Errorf("evaluating data.system.log.mask: %w", err)
	}
	if value == nil { // undefined, as OPA has it
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, errors.New("data.system.log.mask is no set")
	}
	for _, item := range list {
		mask, err := readMask(item)
		if err != nil {
			return nil, err
		}
		masks = append(masks, mask)
	}
	return masks, nil
}

// maskOf evaluates the rule until ctx ends.
func (e *Engine) maskOf(ctx context.Context, event map[string]any) (any, error) {
	input, err := ast.InterfaceToValue(event)
	if err != nil {
		return nil, err
	}
	cancel := topdown.NewCancel()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	value, err := e.mask.run(ctx, input, cancel)
	if err != nil || value == nil {
		return nil, err
	}
	return ast.JSON(value)
}

// readMask reads a path alone, which is a removal, or an object of op, path and
// value.
func readMask(item any) (Mask, error) {
	switch v := item.(type) {
	case string:
		return Mask{Op: "remove", Path: v}, nil
	case map[string]any:
		op, _ := v["op"].(string)
		path, _ := v["path"].(string)
		return Mask{Op: op, Path: path, Value: v["value"]}, nil
	}
	return Mask{}, fmt.Errorf("data.system.log.mask holds %T: write a path, or an object of op, path and value", item)
}

// Maskable reports whether Mask can be asked about an event with this part in
// it: texts or numbers that a client made to be expensive would hold the log up.
func Maskable(part any) bool { return screen(part) == nil }

// AppendInput appends the input document of a request as JSON. What looks like a
// credential is masked, and so are the values of the request's headers that secret
// names (in lower case), wherever they stand in it.
func (e *Engine) AppendInput(dst []byte, in *Input, secret func(name string) bool) ([]byte, error) {
	document, err := e.shown.plain(&question{in: in, methods: e.methods, bounds: &e.bounds})
	if err != nil {
		return dst, err
	}
	kind, _ := kindOf(strings.ToLower(in.Body.ContentType))
	hideCredentials(document, kind == formType || kind == multipartType, secret)
	text, err := json.Marshal(document)
	if err != nil {
		return dst, err
	}
	return append(dst, text...), nil
}
