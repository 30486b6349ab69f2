package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// Each of these bodies is refused for one reason alone: without its check another
// reader's mistake would be read.
func TestReasonsOfRefusedBodies(t *testing.T) {
	const (
		form = "multipart/form-data; boundary=x"
		name = "Content-Disposition: form-data; name=\"a\""
	)
	part := func(header string) string { return "--x\r\n" + header + "\r\n\r\n1\r\n--x--" }
	disposition := func(rest string) string { return part("Content-Disposition: form-data; " + rest) }
	var files strings.Builder
	for i, text := range testkit.Colliding(fewTexts+1, 1<<40) {
		fmt.Fprintf(&files, "--x\r\nContent-Disposition: form-data; name=n%d; filename=f\r\n\r\n%s\r\n", i, text)
	}
	for _, tt := range []struct{ name, kind, body, want string }{
		{"objects as deep as may be", jsonType, strings.Repeat(`{"a":`, maxBodyDepth) + "1" + strings.Repeat("}", maxBodyDepth), ""},
		{"deeper objects", jsonType, strings.Repeat(`{"a":`, maxBodyDepth+1) + "1" + strings.Repeat("}", maxBodyDepth+1), errDepth.Error()},
		{"a list without a comma", jsonType, `[1 []]`, "invalid character '['"},
		{"an object without a comma", jsonType, `[1 {}]`, "invalid character '{'"},
		{"the type in another's parameter", `text/plain; a="multipart/form-data"; boundary=x`, part(name), errBoundary.Error()},
		{"the word in a parameter", `multipart/form-data; a="boundary"; boundary=x`, part(name), errBoundary.Error()},
		{"a parameter that is none", `multipart/form-data; boundary=x; a`, part(name), errBoundary.Error()},
		{"a part", form, part(name), ""},
		{"no delimiter", form, "--", errDelimiter.Error()},
		{"no line end behind the boundary", form, "--x" + name + "\r\n\r\n1\r\n--x--", errDelimiter.Error()},
		{"no line end before the boundary", form, "--x\r\n" + name + "\r\n\r\n1--x--", errDelimiter.Error()},
		{"a part that is a header", form, "--x\r\n" + name + "\r\n--x--", errPartHeader.Error()},
		{"a line that is no header", form, part(name + "\r\nx"), errPartHeader.Error()},
		{"a name of a header that is none", form, part(name + "\r\nx y: 1"), errPartHeader.Error()},
		{"a header that is no UTF-8", form, part(name + "\r\nx: \xff"), errPartHeader.Error()},
		{"a line that is no header, alone", form, part("x"), errPartHeader.Error()},
		{"no name", form, disposition("filename=a"), errDisposition.Error()},
		{"an empty name", form, disposition(`name=""`), errDisposition.Error()},
		{"no disposition", form, part("x: 1"), errDisposition.Error()},
		{"an escape", form, disposition(`name="a\b"`), errDisposition.Error()},
		{"no semicolon", form, disposition(`name="a"filename=b`), errDisposition.Error()},
		{"a file that is no UTF-8", form, strings.Replace(disposition("name=a; filename=b"), "1", "\xff", 1), ""},
		{"files that collide", form, files.String() + "--x--", errCollide.Error()},
	} {
		b := Body{ContentType: tt.kind, Bytes: []byte(tt.body)}
		_, _, err := b.term(nil, nil, &bounds{objectNames: 1000, queryNames: 1000})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestSmallNumbersAreShared(t *testing.T) {
	if term, err := (&jsonReader{}).read([]byte("7")); err != nil || term != ast.InternedTerm(7) {
		t.Errorf("%v %v", term, err)
	}
}

func TestFold(t *testing.T) {
	for text, want := range map[string]string{"Role_9[é": "role_9[É", "\u212aey": "key", "i\u017f": "is", "É": "É"} {
		if got := fold(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
