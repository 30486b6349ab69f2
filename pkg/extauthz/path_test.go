package extauthz_test

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"unicode/utf8"
)

// requireCanonical holds a path that was accepted against the standard
// library's readings of it.
func requireCanonical(t *testing.T, target string, segments []string) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("%q: net/url refuses it: %v", target, err)
	}
	decoded := "/" + strings.Join(segments, "/")
	if strings.Contains(target, "?") {
		return // SplitPath takes the part before it
	}
	if u.Path != decoded {
		t.Fatalf("%q: net/url reads %q, we read %q", target, u.Path, decoded)
	}
	cleaned := path.Clean(decoded)
	if strings.HasSuffix(decoded, "/") && cleaned != "/" {
		cleaned += "/"
	}
	if cleaned != decoded {
		t.Fatalf("%q: cleaning changes it to %q", target, cleaned)
	}
	if twice, err := url.PathUnescape(decoded); err == nil && twice != decoded {
		t.Fatalf("%q: it decodes twice, to %q", target, twice)
	}
	if !utf8.ValidString(decoded) || strings.ContainsAny(decoded, "\\\x00\r\n\x7f") {
		t.Fatalf("%q: bytes that no path has: %q", target, decoded)
	}
}
