// Package httpfield is the one shape that a name and a value have in every
// package: what one of them read, another takes without copying it over.
package httpfield

import (
	"maps"
	"slices"
)

// Field is a header line, a path parameter or a query parameter.
type Field struct{ Name, Value string }

// FromMap returns the fields of m in the order of their names.
func FromMap(m map[string]string) []Field {
	fields := make([]Field, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fields = append(fields, Field{Name: name, Value: m[name]})
	}
	return fields
}
