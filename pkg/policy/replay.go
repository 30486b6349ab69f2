package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Replay evaluates the entrypoint for an input document that AppendInput wrote,
// perhaps for another version of the policy, and tells how the decision comes
// about. The document is as large as its caller allows. What the policy reads
// of the time, of its data or of the network is that of now. The error says why
// the document is none.
func (e *Engine) Replay(ctx context.Context, recorded []byte) (Decision, Explanation, error) {
	x := Explanation{Entrypoint: ruleName(e.entrypoint)}
	if e.unloaded {
		return Decision{}, x, errNotLoaded
	}
	decoder := json.NewDecoder(bytes.NewReader(recorded))
	decoder.UseNumber()
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		return Decision{}, x, fmt.Errorf("reading the recorded input: %w", err)
	}
	if document == nil {
		return Decision{}, x, errors.New("reading the recorded input: it is null")
	}
	shown, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return Decision{}, x, fmt.Errorf("reading the recorded input: %w", err)
	}
	x.Input = string(shown)
	if e.reads.hidden() {
		restoreHidden(document)
	}
	input, err := ast.InterfaceToValue(document)
	if err != nil {
		return Decision{}, x, fmt.Errorf("reading the recorded input: %w", err)
	}
	tenant, _ := member(document, "tenant")["id"].(string)
	decision := e.decideOn(ctx, tenant, input, e.slow)
	e.trace(ctx, input, &x)
	return decision, x, nil
}

// hidden tells whether the documents have the member that people are not shown.
func (r *reads) hidden() bool {
	for i := range r.objects {
		for _, l := range r.objects[i].leaves {
			if l.hidden {
				return true
			}
		}
	}
	return false
}

// restoreHidden adds the member that only the embedded rules know, and that no
// document for people has: the workspace that the route names.
func restoreHidden(document map[string]any) {
	route, request := member(document, "route"), member(document, "request")
	delete(route, "permitted") // the rules decide
	workspace, _ := route["workspace"].(string)
	if workspace == "" {
		return
	}
	in := Input{
		Route:   NewRoute(RouteFields{Workspace: workspace}),
		Params:  headersOf(member(route, "params")),
		Headers: headersOf(member(request, "headers")),
	}
	query := url.Values{}
	for name, values := range member(request, "query") {
		list, _ := values.([]any)
		for _, value := range list {
			text, _ := value.(string)
			query.Add(name, text)
		}
	}
	in.RawQuery = query.Encode()
	if id, ok := in.namedWorkspace(); ok {
		route["named_workspace"] = id
	}
}

// member is an object in an object, nil where there is none.
func member(object map[string]any, name string) map[string]any {
	m, _ := object[name].(map[string]any)
	return m
}

func headersOf(object map[string]any) (list []Header) {
	for name, value := range object {
		if text, ok := value.(string); ok {
			list = append(list, Header{Name: name, Value: text})
		}
	}
	return list
}
