package revocation_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/ussoio/ussoauthz/internal/revocation"
)

// FuzzParse: a line of a file, a member and a message are an entry or an error.
// An entry names a tenant and at most one of its tokens' names, and says the
// same when it is written and read again.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/lines.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	seeds := 0
	for line := range bytes.Lines(text) {
		f.Add(bytes.TrimSpace(line))
		seeds++
	}
	if seeds < 10 {
		f.Fatalf("%d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := revocation.Parse(line)
		if err != nil {
			if e != (revocation.Entry{}) {
				t.Fatalf("%+v and %v", e, err)
			}
			return
		}
		if e.Tenant == "" || e.Expires.IsZero() || e.ID != "" && e.Session+e.Subject != "" || e.Session != "" && e.Subject != "" {
			t.Fatalf("%+v", e)
		}
		again, err := e.Line()
		if err != nil {
			return // a time that RFC 3339 can't say in UTC, or more escapes than a line holds
		}
		if same, err := revocation.Parse(again); err != nil || same != e {
			t.Fatalf("%s: %+v, want %+v (%v)", again, same, e, err)
		}
	})
}
