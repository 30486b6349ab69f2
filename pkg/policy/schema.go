package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/agnivade/levenshtein"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/policies"
)

// inputSchema is what a policy can read of input, in two readings: OPA's, for
// its type checker, and ours, for what OPA can't check. OPA has no type for "an
// object or null", so that input.identity and input.route are anything to it.
type inputSchema struct {
	opa     *ast.SchemaSet
	members *shape
}

// shape is the part of a JSON schema that says which members an object has.
type shape struct {
	AnyOf      []*shape          `json:"anyOf"`
	Properties map[string]*shape `json:"properties"` // nil: any member
}

func loadInputSchema() (*inputSchema, error) {
	text, err := policies.Schemas.ReadFile(policies.InputSchema)
	if err != nil {
		return nil, fmt.Errorf("reading the input's schema: %w", err)
	}
	var raw any
	s := &inputSchema{opa: ast.NewSchemaSet(), members: &shape{}}
	for _, v := range []any{&raw, s.members} {
		if err := json.Unmarshal(text, v); err != nil {
			return nil, fmt.Errorf("reading the input's schema: %w", err)
		}
	}
	s.opa.Put(ast.SchemaRootRef, raw)
	return s, nil
}

// properties returns the members of an object, or of the one alternative that
// has some; nil where it may have any.
func (s *shape) properties() map[string]*shape {
	if s.Properties != nil {
		return s.Properties
	}
	for _, alternative := range s.AnyOf {
		if alternative.Properties != nil {
			return alternative.Properties
		}
	}
	return nil
}

// check finds references to members that input never has. Imports are already
// written out in compiled modules.
func (s *inputSchema) check(modules map[string]*ast.Module) ast.Errors {
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		ast.WalkRefs(modules[name], func(ref ast.Ref) bool {
			if ref.HasPrefix(ast.InputRootRef) {
				if err := s.checkRef(ref); err != nil {
					errs = append(errs, err)
				}
			}
			return false
		})
	}
	return errs
}

func (s *inputSchema) checkRef(ref ast.Ref) *ast.Error {
	at := s.members
	for _, term := range ref[1:] {
		name, ok := term.Value.(ast.String)
		known := at.properties()
		if !ok || known == nil { // a variable, or anything goes from here
			return nil
		}
		if at = known[string(name)]; at == nil {
			if slices.ContainsFunc(hiddenRefs, func(r ast.Ref) bool { return r.Equal(ref) }) {
				return nil // the policy of ours alone knows of it
			}
			err := ast.NewError(ast.TypeErr, ref[0].Location, "undefined ref: %v", ref)
			names := slices.Sorted(maps.Keys(known))
			suggest(err, string(name), names)
			return err
		}
	}
	return nil
}

// explainTypes adds the nearest name to OPA's errors about unknown members, and
// the errors of ours that OPA does not have.
func (s *inputSchema) explainTypes(errs ast.Errors, modules map[string]*ast.Module) ast.Errors {
	told := map[string]bool{}
	for _, err := range errs {
		detail, ok := err.Details.(*ast.RefErrInvalidDetail)
		if !ok || detail.Pos >= len(detail.Ref) {
			continue
		}
		told[err.Location.String()] = true
		name, ok := detail.Ref[detail.Pos].Value.(ast.String)
		var names []string
		for _, known := range detail.OneOf {
			if known, ok := known.(ast.String); ok {
				names = append(names, string(known))
			}
		}
		if ok {
			suggest(err, string(name), names)
		}
	}
	for _, err := range s.check(modules) {
		if !told[err.Location.String()] {
			told[err.Location.String()] = true
			errs = append(errs, err)
		}
	}
	errs.Sort()
	return errs
}

func suggest(err *ast.Error, name string, known []string) {
	best, distance := "", 3 // two typing errors
	for _, candidate := range known {
		if d := levenshtein.ComputeDistance(name, candidate); d < distance && d < len(candidate) {
			best, distance = candidate, d
		}
	}
	if best != "" {
		err.Message += fmt.Sprintf(" (did you mean %q?)", best)
	}
}
