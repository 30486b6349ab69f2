package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// maxErrors bounds a report: a file with more faults than that is not a
// configuration file, and a message of its size helps nobody.
const maxErrors = 1000

// FieldError is one thing wrong in a configuration: where it is and what to write
// instead. Its text never holds key material.
type FieldError struct {
	File    string `json:"file"`
	Line    int    `json:"line"`  // 0: no line, as for a variable of the environment
	Field   string `json:"field"` // dotted: "tenants.acme.routes[2].match"; "" is the file as a whole
	Problem string `json:"problem"`
}

// Error returns the fault as one line: "ussoauthz.yaml:12: tenants.acme.jwks_url: …".
func (f FieldError) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(f.Line))
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field)
		b.WriteString(": ")
	}
	b.WriteString(f.Problem)
	return b.String()
}

// Errors is every fault of a configuration, sorted by file and line. It is an
// error only where it is not empty; Load never returns an empty one.
type Errors []FieldError

// Error returns the faults, one per line.
func (f Errors) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single faults, so that errors.As finds a Fault.
func (f Errors) Unwrap() []error {
	list := make([]error, len(f))
	for i := range f {
		list[i] = f[i]
	}
	return list
}

func (f Errors) sort() {
	slices.SortStableFunc(f, func(a, b FieldError) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// asError returns the sorted faults as an error, or nil where there is none.
func (f Errors) asError() error {
	if len(f) == 0 {
		return nil
	}
	f.sort()
	return f
}
