package tenants_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

func TestUnreachable(t *testing.T) {
	for _, tt := range []struct {
		name    string
		matches []string
		want    []string
	}{
		{"none", []string{"/", "GET /posts/{id}", "/posts/", "GET /posts/{id}/{$}"}, nil},
		{"one pattern", []string{"/a/{$}"}, nil},
		{"a broad one covered by three", []string{"/b/", "/b/{$}", "/b/{x}", "/b/{x}/"}, []string{"/b/"}},
		{"covered but for what lies deeper", []string{"/b/", "/b/{$}", "/b/{x}", "/b/{x}/{y}"}, nil},
		{"covered but for the end", []string{"/b/{rest...}", "/b/{x}", "/b/{x}/"}, nil},
		{"for one method alone", []string{"/b/", "GET /b/{$}", "GET /b/{x}", "GET /b/{x}/"}, nil},
		{"covered by every method's own", []string{"GET /b/", "/b/", "GET /b/{$}", "GET /b/{x}", "GET /b/{x}/"}, []string{"GET /b/"}},
		{"GET where HEAD has its own", []string{"GET /a", "HEAD /a"}, nil},
		{"a slash that is ambiguous", []string{"/{x}", "b /b/{$}"}, []string{"b /b/{$}"}},
		{"a slash that was meant", []string{"/b", "/b/{$}", "/{x}"}, nil},
		{"literals beside wildcards", []string{"/{x}/{y}", "/a/{y}", "/{x}/b/c", "/a/b"}, nil},
		{"a file that is its page to some", []string{"/", "page /{page}", "file /about.html"}, []string{"file /about.html"}},
		{"two that differ by case alone", []string{"/", "big /A/{id}", "small /a/{id}"}, []string{"big /A/{id}", "small /a/{id}"}},
		{"two that differ by case, and need the same", []string{"/", "one /A/{id}", "one /a/{id}"}, nil},
		{"a pair that differs by the slash", []string{"/", "one /a/{id}", "two /a/{id}/{$}"}, []string{"two /a/{id}/{$}"}},
		{"all of it", []string{"/", "/{$}", "/{x}", "/{x}/"}, []string{"/"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			routes := needing(t, tt.matches...)
			var got []string
			for _, u := range routes.Unreachable() {
				got = append(got, tt.matches[u.Index])
			}
			if !slices.Equal(got, tt.want) {
				t.Fatalf("unreachable: %q, want %q", got, tt.want)
			}
			// Every path of a few names agrees.
			reached := map[string]bool{}
			for _, method := range []string{"GET", "HEAD", "PUT"} {
				for _, path := range paths(4) {
					if m, ok := routes.Match(method, path); ok && !routes.Ambiguous(method, path) {
						reached[tt.matches[m.Index]] = true
					}
				}
			}
			for _, match := range tt.matches {
				if reached[match] == slices.Contains(got, match) {
					t.Errorf("%s: a path reaches it: %v", match, reached[match])
				}
			}
		})
	}
}

// paths are all of up to depth segments.
func paths(depth int) (all [][]string) {
	last := [][]string{{}}
	for range depth {
		var next [][]string
		for _, path := range last {
			all = append(all, append(slices.Clip(path), ""))
			for _, name := range []string{"posts", "a", "A", "b", "c", "x", "about.html"} {
				next = append(next, append(slices.Clip(path), name))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

func TestPatternsThatNoRequestHas(t *testing.T) {
	for match, words := range map[string]string{
		strings.Repeat("M", 33) + " /":  "at most 32 letters",
		"/" + strings.Repeat("a", 8192): "at most 8192 bytes",
		"/%C2%85":                       "control bytes",
		"/%zz%41":                       "percent-encoding is broken",
		"/%25zz%2541":                   "encoded twice",
		"/a/../b":                       "dot segments",
		"/a//b":                         "empty segment",
		"CONNECT /":                     "CONNECT requests are always refused",
		"TRACE /":                       "TRACE requests are always refused",
		"TRACK /":                       "TRACK requests are always refused",
	} {
		_, faults := tenants.NewRoutes([]tenants.Route{{Match: match}})
		if len(faults) != 1 || !strings.Contains(faults[0].Problem, words) {
			t.Errorf("%.40s: %v, want %s", match, faults, words)
		}
	}
	for _, match := range []string{strings.Repeat("M", 32) + " /", "/" + strings.Repeat("a", 8191), "/100%25", "/{" + strings.Repeat("a", 9000) + "}"} {
		if _, faults := tenants.NewRoutes([]tenants.Route{{Match: match}}); len(faults) > 0 {
			t.Errorf("%.40s: %.200v", match, faults)
		}
	}
}
