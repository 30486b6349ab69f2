package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

func TestLint(t *testing.T) {
	for _, tt := range []struct {
		name, rego string
		want       []string // line and words of each finding
	}{
		{"clean", "package test\n\ndecision := true\n", nil},
		{"unused", "package test\n\nimport data.usso\n\ndecision if {\n\tx := 1\n\ttrue\n}\n", []string{"3 import data.usso unused", "6 assigned var x unused"}},
		{"library", "package usso.authz\n\ndecision := true\n", []string{"1 data.usso.authz replaces"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := policy.Lint(policy.Config{Paths: []string{write(t, "test.rego", tt.rego)}})
			if err != nil || len(found) != len(tt.want) {
				t.Fatalf("%v, %v", found, err)
			}
			for i, f := range found {
				line, words, _ := strings.Cut(tt.want[i], " ")
				if line != string(rune('0'+f.Line)) || !strings.Contains(f.Text, words) || !strings.HasSuffix(f.File, "test.rego") {
					t.Errorf("%+v, want %s", f, tt.want[i])
				}
			}
		})
	}
}

func TestFindings(t *testing.T) {
	for _, tt := range []struct {
		name, rego string
		lines      []int
	}{
		{"compile", "package test\n\ndecision if x\n\nother if y\n", []int{3, 5}},
		{"parse", "package test\n\ndecision := {\n", []int{4, 4}},
		{"none", "package test\n\nother := 1\n", nil}, // no place: the entrypoint is missing
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.New(t.Context(), policy.Config{Entrypoint: "test/decision", Paths: []string{write(t, "test.rego", tt.rego)}})
			if err == nil {
				t.Fatal("accepted")
			}
			var lines []int
			for _, f := range policy.Findings(err) {
				lines = append(lines, f.Line)
				if !strings.HasPrefix(f.Text, "rego_") || !strings.HasSuffix(f.File, "test.rego") {
					t.Errorf("%+v", f)
				}
			}
			if !slices.Equal(lines, tt.lines) {
				t.Errorf("lines %v, want %v: %v", lines, tt.lines, err)
			}
		})
	}
}
