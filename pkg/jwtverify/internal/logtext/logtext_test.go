package logtext_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

func TestQuote(t *testing.T) {
	long := strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"":                 `""`,
		"key-1":            `"key-1"`,
		"a\nlevel=ERROR b": `"a\nlevel=ERROR b"`,
		"\x1b[2J":          `"\x1b[2J"`,
		long:               `"` + long + `"`,
		long + "b":         `"` + long + `"…`,
		long[:63] + "é":    `"` + long[:63] + `\xc3"…`, // cut in the middle of a character
	} {
		if got := logtext.Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// The description has the kind of the error and its place, and nothing of the text.
func TestJSONError(t *testing.T) {
	for text, want := range map[string]string{
		`{"k": 1, "k": 2}`: "duplicate member",
		`{"k": SECRET}`:    "syntax error at byte 6",
		`{"k": "SECRET"}`:  "wrong type at byte 6",
		`{"k": "SECRET`:    "syntax error at byte 13",
	} {
		var into struct {
			K int `json:"k"`
		}
		err := json.Unmarshal([]byte(text), &into)
		if got := logtext.JSONError(err); err == nil || got != want {
			t.Errorf("%s: %q of %v, want %q", text, got, err, want)
		}
	}
	if got := logtext.JSONError(errors.New("SECRET")); got != "not JSON" {
		t.Errorf("another error: %q", got)
	}
}
