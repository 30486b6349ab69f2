package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

func TestColliding(t *testing.T) {
	const hash = 0x0123456789abcdef
	seen := map[string]bool{}
	for _, text := range testkit.Colliding(20, hash) {
		if got := ast.String(text).Hash(); uint64(got) != hash || seen[text] {
			t.Errorf("%q has the hash %#x", text, got)
		}
		seen[text] = true
	}
}

// beside makes n texts with hashes one after the other: none share one, and a
// set of them with one more of the first is full of neighbours.
func beside(n int) (list []string) {
	for i := range n {
		list = append(list, testkit.Colliding(1, 0x0123456789a00000+uint64(i))...)
	}
	return list
}

func usual(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("a name like %d", i))
	}
	return list
}

func TestCollisions(t *testing.T) {
	same, few := testkit.Colliding(fewTexts+1, 42), usual(fewTexts)
	for name, tt := range map[string]struct {
		texts []string
		want  error
	}{
		"nothing":                        {},
		"usual texts":                    {texts: usual(100_000)},
		"one text often":                 {texts: strings.Split(strings.Repeat("a,", 100_000), ",")},
		"so few that it does not matter": {texts: same[2:]},
		"one more":                       {texts: same, want: errCollide},
		"as many as may, among others":   {texts: slices.Concat(few, same[:maxColliding], same[:maxColliding])},
		"one more, among others":         {texts: slices.Concat(same[:8], few, same[8:maxColliding+1]), want: errCollide},
		"the last of a hundred thousand": {texts: slices.Concat(usual(100_000), same[:maxColliding+1]), want: errCollide},
		"beside each other":              {texts: slices.Concat(few, beside(maxColliding+1)), want: errCollide},
		"beside each other, but few":     {texts: slices.Concat(few, beside(maxColliding))},
	} {
		t.Run(name, func(t *testing.T) {
			list, object, terms := []any{}, map[string]any{}, []*ast.Term{}
			for _, text := range tt.texts {
				list, object[text], terms = append(list, text), true, append(terms, ast.StringTerm(text))
			}
			for kind, document := range map[string]any{"list": list, "names": object, "below": []any{nil, 1, map[string]any{"a": list}}} {
				if err := screen(document); !errors.Is(err, tt.want) {
					t.Errorf("%s: %v, want %v", kind, err, tt.want)
				}
			}
			for kind, value := range map[string]ast.Value{
				"list": ast.NewArray(terms...), "set": ast.NewSet(terms...), "below": ast.NewObject(item("a", ast.ArrayTerm(terms...))),
			} {
				if err := screenValue(value); !errors.Is(err, tt.want) {
					t.Errorf("OPA's %s: %v, want %v", kind, err, tt.want)
				}
			}
		})
	}
}

func TestNumbersWithinFloat64(t *testing.T) {
	nines := strings.Repeat("9", 126)
	for text, ok := range map[string]bool{
		"0": true, "-1": true, "12.50": true, "1e0": true, "1E+2": true, "-0": true, "0e5": true, "0.0E-400": true, "0e19000": true,
		"1e308": true, "1.7976931348623157e308": true, "-1.7976931348623157e308": true, "5e-324": true, "-5e-324": true, nines: true, "0." + nines: true,
		nines + "9": true, "1e309": false, "-1e400": false, "1e19000": false, "1.7976931348623159e308": false, nines[:100] + "e209": false,
		"1e-324": false, "-1e-19000": false, "0." + strings.Repeat("0", 100) + "1e-300": false, nines + "999": false, "0." + nines + "9": false,
		"1e99999999999999999999": false, "1e-99999999999999999999": false, "1" + strings.Repeat("0", 100) + "e-420": true,
	} {
		if err := checkNumber(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
		if err := screen([]any{map[string]any{"a": json.Number(text)}}); (err == nil) != ok {
			t.Errorf("in a document: %s: %v", text, err)
		}
		if err := screenValue(ast.NewArray(ast.NewTerm(ast.Number(text)))); (err == nil) != ok {
			t.Errorf("as a value: %s: %v", text, err)
		}
	}
	var texts []any
	for _, text := range usual(fewTexts + 1) {
		texts = append(texts, text)
	}
	if err := screen(append(texts, json.Number("1e400"))); !errors.Is(err, errNumber) {
		t.Errorf("among many texts: %v", err)
	}
}

// A text that a request has often is one text.
func TestTextsOfARequest(t *testing.T) {
	var texts textSet
	for _, text := range usual(fewTexts + 1) {
		if _, err := texts.term([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := texts.term([]byte("often"))
	for range 2 * maxColliding {
		if term, err := texts.term([]byte("often")); err != nil || term != first {
			t.Fatalf("%p %v, want %p", term, err, first)
		}
	}
}
