// Package logtext makes text from outside fit for log lines and errors: what a
// token, a key set or a server sent must neither forge a line nor fill a log.
package logtext

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxBytes is how much of a name is printed.
const maxBytes = 64

// Quote returns s as a quoted Go string, cut to its first 64 bytes; "…" stands for
// what was cut.
func Quote(s string) string {
	if len(s) > maxBytes {
		return strconv.Quote(s[:maxBytes]) + "…"
	}
	return strconv.Quote(s)
}

// JSONError describes an error of a JSON decoder by its kind and its offset in
// bytes, without quoting the text that was decoded: it may hold key material.
func JSONError(err error) string {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "duplicate member"
	case errors.As(err, &semantic):
		return fmt.Sprintf("wrong type at byte %d", semantic.ByteOffset)
	case errors.As(err, &syntax):
		return fmt.Sprintf("syntax error at byte %d", syntax.ByteOffset)
	}
	return "not JSON"
}
