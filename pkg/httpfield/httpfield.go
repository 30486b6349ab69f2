// Package httpfield is the one shape that a name and a value have in every
// package: what one of them read, another takes without copying it over.
package httpfield

// Field is a header line, a path parameter or a query parameter.
type Field struct{ Name, Value string }
