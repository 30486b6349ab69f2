package tenants_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

func patterns(list ...string) []tenants.Route {
	var routes []tenants.Route
	for _, p := range list {
		routes = append(routes, tenants.Route{Match: p})
	}
	return routes
}

func mustRoutes(t testing.TB, list ...string) *tenants.Routes {
	t.Helper()
	r, faults := tenants.NewRoutes(patterns(list...))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return r
}

func segments(path string) []string { return strings.Split(path[1:], "/") }

func TestMatch(t *testing.T) {
	r := mustRoutes(t,
		"GET /posts/{id}", "GET /posts/latest", "POST /posts", "/posts/{id}/comments/{comment}",
		"/files/{path...}", "/tree/", "GET /exact/{$}", "HEAD /head", "GET /head", "/caf%C3%A9/a%20b", "/{$}", "/posts/")
	tests := []struct {
		method, path string
		want         string // "": no match
		params       []tenants.Param
	}{
		{"GET", "/posts/42", "GET /posts/{id}", []tenants.Param{{Name: "id", Value: "42"}}},
		{"HEAD", "/posts/42", "GET /posts/{id}", []tenants.Param{{Name: "id", Value: "42"}}},
		{"GET", "/posts/latest", "GET /posts/latest", nil},
		{"DELETE", "/posts/latest", "/posts/", nil},
		{"DELETE", "/posts/latest/x", "/posts/", nil},
		{"POST", "/posts", "POST /posts", nil},
		{"GET", "/posts", "", nil}, // ServeMux would redirect to /posts/
		{"GET", "/posts/", "/posts/", nil},
		{"PATCH", "/posts/1/comments/2", "/posts/{id}/comments/{comment}", []tenants.Param{{Name: "id", Value: "1"}, {Name: "comment", Value: "2"}}},
		{"GET", "/files/a/b", "/files/{path...}", []tenants.Param{{Name: "path", Value: "a/b"}}},
		{"GET", "/files/", "/files/{path...}", []tenants.Param{{Name: "path", Value: ""}}},
		{"GET", "/files", "", nil},
		{"GET", "/tree/a/b/", "/tree/", nil},
		{"GET", "/tree", "", nil},
		{"GET", "/exact/", "GET /exact/{$}", nil},
		{"GET", "/exact/a", "", nil},
		{"POST", "/exact/", "", nil},
		{"HEAD", "/head", "HEAD /head", nil},
		{"GET", "/café/a b", "/caf%C3%A9/a%20b", nil},
		{"GET", "/", "/{$}", nil},
		{"GET", "/nowhere", "", nil},
		{"get", "/posts/42", "/posts/", nil},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			m, ok := r.Match(test.method, segments(test.path))
			got := ""
			if ok {
				got = m.Route.Match
				if r.Route(m.Index) != m.Route {
					t.Errorf("index %d is not that of the route", m.Index)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.params, m.Params); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// needing are routes by what they need: "read GET /posts/{id}" needs the scope
// "read". Routes without a need of their own need the same.
func needing(t testing.TB, list ...string) *tenants.Routes {
	t.Helper()
	routes := make([]tenants.Route, len(list))
	for i, text := range list {
		if need, match, ok := strings.Cut(text, " "); ok && need == strings.ToLower(need) {
			routes[i].Scopes, text = []string{need}, match
		}
		routes[i].Match = text
	}
	r, faults := tenants.NewRoutes(routes)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return r
}

// What a broad pattern allows must not open what a narrower one guards, in a
// server behind that reads the path more loosely.
func TestAmbiguous(t *testing.T) {
	r := needing(t,
		"read GET /posts/{id}", "latest GET /posts/latest", "read GET /posts/{id}/{rest...}", "admin /admin", "page /{page...}",
		"both GET /both", "both /both/", "keys GET /users/{user}/keys/{$}", "alice GET /users/alice/keys", "page /v;1/x", "only /only/{$}")
	tests := []struct {
		method, path string
		want         bool
	}{
		{"GET", "/posts/42", false},
		{"GET", "/posts/latest", false},
		{"GET", "/posts/42/", false}, // the pair /posts/{id} and /posts/{id}/…
		{"GET", "/posts/latest/", true},
		{"GET", "/posts/latest;v=1", true},
		{"GET", "/posts/latest;v=1/", true},
		{"GET", "/posts/42;v=1", false},
		{"GET", "/posts;x/latest", true},
		{"GET", "/;x/posts/latest", true},
		{"GET", "/admin", false},
		{"GET", "/admin/", true},
		{"GET", "/admin;", true},
		{"GET", "/admin/;x", true},
		{"POST", "/Admin", true},
		{"GET", "/users/alice/keys", false},
		{"GET", "/page/", false},
		{"GET", "/page;x", false},
		{"GET", "/a/;x/b", false},
		{"GET", "/both/", false},
		{"GET", "/both", false},
		{"GET", "/both;x", true},
		{"GET", "/users/bob/keys/", false},
		{"GET", "/users/alice/keys/", true},
		{"HEAD", "/users/alice/keys/", true},
		{"GET", "/v;1/x", false},
		{"GET", "/only/", false},
		{"GET", "/", false},
	}
	for _, test := range tests {
		if got := r.Ambiguous(test.method, segments(test.path)); got != test.want {
			m, _ := r.Match(test.method, segments(test.path))
			t.Errorf("%s %s, which matches %+v: got %v", test.method, test.path, m.Route, got)
		}
	}
	shallow := mustRoutes(t, "/{tenant}/admin")
	if !shallow.Ambiguous("GET", segments("/;x/admin")) {
		t.Error("/;x/admin is /admin to some, and no route allows that")
	}
	if shallow.Ambiguous("GET", nil) || shallow.Ambiguous("GET", []string{""}) {
		t.Error("what nothing matches is not ambiguous")
	}
}

func TestMatchNothing(t *testing.T) {
	empty := mustRoutes(t)
	for _, path := range [][]string{nil, {}, {""}, {"a"}} {
		if m, ok := empty.Match("GET", path); ok {
			t.Errorf("%q: %v", path, m)
		}
	}
	all := mustRoutes(t, "/")
	for _, path := range [][]string{{""}, {"a"}, {"a", ""}, {"a", "b"}} {
		if _, ok := all.Match("GET", path); !ok {
			t.Errorf("%q: no match of /", path)
		}
	}
	if m, ok := all.Match("GET", nil); ok {
		t.Errorf("no segments at all: %v", m)
	}
}

func TestNewRoutesFaults(t *testing.T) {
	tests := []struct {
		name  string
		route tenants.Route
		field string
		want  string
	}{
		{"no pattern", tenants.Route{}, "match", "is missing"},
		{"host", tenants.Route{Match: "GET acme.example/x"}, "match", "a host part can't be in a pattern"},
		{"URL", tenants.Route{Match: "https://acme.example/x"}, "match", "write the path alone"},
		{"no slash", tenants.Route{Match: "GET posts"}, "match", `write "/posts"`},
		{"method alone", tenants.Route{Match: "GET "}, "match", `"GET " has no path; write "GET /"`},
		{"lower-case method", tenants.Route{Match: "get /x"}, "match", `write "GET"`},
		{"bad method", tenants.Route{Match: "G@T /x"}, "match", "is no method"},
		{"CONNECT", tenants.Route{Match: "CONNECT /x"}, "match", "CONNECT"},
		{"leading blank", tenants.Route{Match: " /x"}, "match", "starts with a blank"},
		{"trailing blank", tenants.Route{Match: "GET /x "}, "match", "write %20"},
		{"two slashes", tenants.Route{Match: "/a//b"}, "match", "'//'"},
		{"two slashes first", tenants.Route{Match: "//a"}, "match", "'//'"},
		{"dot", tenants.Route{Match: "/a/./b"}, "match", "dot segments"},
		{"dots", tenants.Route{Match: "/a/.."}, "match", "dot segments"},
		{"encoded dots", tenants.Route{Match: "/a/%2e%2E/b"}, "match", "dot segments"},
		{"dots and semicolon", tenants.Route{Match: "/a/..;x/b"}, "match", "dot segments"},
		{"encoded slash", tenants.Route{Match: "/a%2fb"}, "match", "encoded slash"},
		{"backslash", tenants.Route{Match: `/a\b`}, "match", "backslash"},
		{"NUL", tenants.Route{Match: "/a%00"}, "match", "control bytes"},
		{"bad escape", tenants.Route{Match: "/a%zz"}, "match", "broken"},
		{"double escape", tenants.Route{Match: "/a%2541"}, "match", "encoded twice"},
		{"not UTF-8", tenants.Route{Match: "/a%ff"}, "match", "not UTF-8"},
		{"query", tenants.Route{Match: "/a?b=c"}, "match", "a query is matched by nothing"},
		{"fragment", tenants.Route{Match: "/a#b"}, "match", "'#'"},
		{"half a wildcard", tenants.Route{Match: "/a{b}"}, "match", "bad wildcard segment"},
		{"open wildcard", tenants.Route{Match: "/{b"}, "match", "bad wildcard segment"},
		{"wildcard name", tenants.Route{Match: "/{a-b}"}, "match", "bad wildcard name"},
		{"wildcard twice", tenants.Route{Match: "/{a}/{a}"}, "match", "duplicate wildcard name"},
		{"rest not last", tenants.Route{Match: "/{a...}/b"}, "match", "not at end"},
		{"empty scope", tenants.Route{Match: "/", Scopes: []string{"a", ""}}, "scopes[1]", "is empty"},
		{"blank in scope", tenants.Route{Match: "/", AnyScope: []string{"a b"}}, "any_scope[0]", "one scope an entry"},
		{"control in scope", tenants.Route{Match: "/", Scopes: []string{"a\n"}}, "scopes[0]", "visible ASCII"},
		{"comma in role", tenants.Route{Match: "/", Roles: []string{"a,b"}}, "roles[0]", "one role an entry"},
		{"empty role", tenants.Route{Match: "/", AllRoles: []string{""}}, "all_roles[0]", "is empty"},
		{"unicode role", tenants.Route{Match: "/", Roles: []string{"é"}}, "roles[0]", "visible ASCII"},
		{"blank access", tenants.Route{Match: "/", Access: " "}, "access", "visible ASCII"},
		{"workspace of no wildcard", tenants.Route{Match: "/{id}", Workspace: "{ws}"}, "workspace", "match has no {ws}"},
		{"workspace of a literal", tenants.Route{Match: "/ws", Workspace: "{ws}"}, "workspace", "match has no {ws}"},
		{"workspace of the rest", tenants.Route{Match: "/{ws...}", Workspace: "{ws}"}, "workspace", "of one segment"},
		{"workspace syntax", tenants.Route{Match: "/{ws}", Workspace: "ws"}, "workspace", "is none of"},
		{"workspace header", tenants.Route{Match: "/", Workspace: "header:a b"}, "workspace", "is no header name"},
		{"workspace query", tenants.Route{Match: "/", Workspace: "query:"}, "workspace", "no query parameter"},
		{"public with scopes", tenants.Route{Match: "/", Public: true, Scopes: []string{"a"}}, "public", "remove public"},
		{"public with access", tenants.Route{Match: "/", Public: true, Access: "a"}, "public", "remove public"},
		{"public with workspace", tenants.Route{Match: "/", Public: true, Workspace: "query:ws"}, "public", "remove public"},
		{"public with roles", tenants.Route{Match: "/", Public: true, AllRoles: []string{"a"}}, "public", "remove public"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, faults := tenants.NewRoutes([]tenants.Route{{Match: "GET /fine"}, test.route})
			if r != nil || len(faults) != 1 {
				t.Fatalf("got %v, %v; want one fault", r, faults)
			}
			if want := "[1]." + test.field; faults[0].Field != want || !strings.Contains(faults[0].Problem, test.want) {
				t.Errorf("got %+v; want %s: …%s…", faults[0], want, test.want)
			}
		})
	}
}

func TestNewRoutesReportsAllFaults(t *testing.T) {
	_, faults := tenants.NewRoutes([]tenants.Route{
		{Match: "/a/{x}"},
		{Match: "nowhere", Scopes: []string{""}},
		{Match: "/{y}/b"},
		{Match: "/a/{z}"},
	})
	var fields []string
	for _, f := range faults {
		fields = append(fields, f.Field)
	}
	if diff := cmp.Diff([]string{"[1].match", "[1].scopes[0]", "[2].match", "[3].match"}, fields); diff != "" {
		t.Fatal(diff)
	}
	for _, f := range faults[2:] {
		if !strings.Contains(f.Problem, `conflicts with "/a/{x}" of routes[0]`) || strings.Contains(f.Problem, ".go:") || strings.Contains(f.Problem, "\n") {
			t.Errorf("conflict: %s", f.Problem)
		}
	}
}

func TestWorkspaceAt(t *testing.T) {
	tests := []struct {
		workspace string
		place     tenants.Place
		name      string
	}{
		{"", tenants.NoPlace, ""},
		{"{ws}", tenants.PathPlace, "ws"},
		{"header:X-Workspace-ID", tenants.HeaderPlace, "x-workspace-id"},
		{"query:workspace", tenants.QueryPlace, "workspace"},
		{"{}", tenants.NoPlace, ""},
	}
	for _, test := range tests {
		route := tenants.Route{Workspace: test.workspace}
		if place, name := route.WorkspaceAt(); place != test.place || name != test.name {
			t.Errorf("%q: %v, %q", test.workspace, place, name)
		}
	}
	if _, faults := tenants.NewRoutes([]tenants.Route{
		{Match: "/w/{ws}/{rest...}", Workspace: "{ws}"},
		{Match: "/x", Workspace: "header:X-Workspace-ID", Scopes: []string{"read:x"}},
		{Match: "/y", Workspace: "query:workspace", Access: "update:media/files?user_id=me"},
	}); len(faults) > 0 {
		t.Error(faults)
	}
}

// serveMux answers as http.ServeMux does: the pattern it serves and the values
// of its wildcards.
func serveMux(mux *http.ServeMux, method, path string) (pattern string, values map[string]string) {
	request := httptest.NewRequest(method, path, nil)
	recorder := httptest.NewRecorder()
	mux.ServeHTTP(recorder, request)
	if recorder.Header().Get("Served") == "" {
		return "", nil // a redirect, 404 or 405
	}
	values = map[string]string{}
	for _, name := range wildcardNames(request.Pattern) {
		values[name] = request.PathValue(name)
	}
	return request.Pattern, values
}

func wildcardNames(pattern string) (names []string) {
	for _, part := range strings.Split(pattern, "/") {
		if strings.HasPrefix(part, "{") && part != "{$}" {
			names = append(names, strings.TrimSuffix(part[1:len(part)-1], "..."))
		}
	}
	return names
}

// compare registers the patterns in both and walks the paths: both must take
// the same patterns and serve each request by the same one.
func compare(t *testing.T, list, paths []string) {
	t.Helper()
	mux := http.NewServeMux()
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Served", "yes") })
	var taken []string
	for _, p := range list {
		refused := func() (refused bool) {
			defer func() { refused = recover() != nil }()
			mux.Handle(p, served)
			return false
		}()
		_, faults := tenants.NewRoutes(patterns(append(taken, p)...))
		if refused != (len(faults) > 0) {
			t.Fatalf("after %q, ServeMux refuses %q: %v; we: %v", taken, p, refused, faults)
		}
		if !refused {
			taken = append(taken, p)
		}
	}
	r := mustRoutes(t, taken...)
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			want, values := serveMux(mux, method, path)
			m, ok := r.Match(method, segments(path))
			got := ""
			if ok {
				got = m.Route.Match
			}
			if got != want {
				t.Fatalf("%s %s of %q: got %q, ServeMux %q", method, path, taken, got, want)
			}
			if len(m.Params) != len(values) {
				t.Fatalf("%s %s of %q: got %v, ServeMux %v", method, path, taken, m.Params, values)
			}
			for _, p := range m.Params {
				if values[p.Name] != p.Value {
					t.Fatalf("%s %s of %q: got %v, ServeMux %v", method, path, taken, m.Params, values)
				}
			}
		}
	}
}

// randomTable draws patterns and paths over a small alphabet, so that they meet.
func randomTable(random *rand.Rand) (list, paths []string) {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	for range 2 + random.IntN(8) {
		var b strings.Builder
		b.WriteString(pick("", "", "GET ", "POST ", "HEAD "))
		for i := range random.IntN(4) {
			b.WriteString("/" + pick("a", "b", "a%20c", fmt.Sprintf("{x%d}", i)))
		}
		b.WriteString(pick("", "", "/", "/{$}", "/{rest...}"))
		if p := b.String(); strings.HasSuffix(p, " ") || p == "" {
			b.WriteString("/")
		}
		list = append(list, b.String())
	}
	for range 40 {
		var b strings.Builder
		for range random.IntN(5) {
			b.WriteString("/" + pick("a", "b", "c"))
		}
		b.WriteString(pick("", "/"))
		if b.Len() == 0 {
			b.WriteString("/")
		}
		paths = append(paths, b.String())
	}
	return list, paths
}

func TestRoutesAgreeWithServeMux(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		list, paths := randomTable(random)
		compare(t, list, paths)
	}
}

// verb is what a pattern of ours may have and one of ServeMux has not.
var verb = regexp.MustCompile(`\}:[A-Za-z0-9_-]+$`)

func FuzzRoutes(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, "/a/b/c")
	}
	f.Add(uint64(9), "/a/%2541/..;/x//")
	f.Fuzz(func(t *testing.T, seed uint64, path string) {
		list, paths := randomTable(rand.New(rand.NewPCG(seed, 0)))
		compare(t, list, paths)
		// Whatever a pattern says, it is judged without a panic, and what we
		// take ServeMux takes too.
		if r, faults := tenants.NewRoutes(patterns(path)); len(faults) == 0 {
			http.NewServeMux().Handle(verb.ReplaceAllString(path, "}"), http.NotFoundHandler())
			r.Match("GET", []string{"a", "b"})
		}
	})
}

func manyRoutes(t testing.TB, n int) *tenants.Routes {
	t.Helper()
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("GET /r%d/{id}", i), fmt.Sprintf("/r%d/{id}/files/{path...}", i))
	}
	return mustRoutes(t, append(list, "/")...)
}

func TestMatchAllocations(t *testing.T) {
	r := manyRoutes(t, 50)
	tests := []struct {
		path string
		most float64
	}{
		{"/r7/42", 1}, {"/nowhere/at/all", 0}, {"/r7/42/files/a", 1}, {"/r7/42/files/a/b", 2},
	}
	for _, test := range tests {
		path := segments(test.path)
		n := testing.AllocsPerRun(100, func() {
			if _, ok := r.Match("GET", path); !ok {
				t.Fatal("no match")
			}
		})
		if n > test.most {
			t.Errorf("%s: %v allocations, more than %v", test.path, n, test.most)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 5000} { // routes: the cost should not depend on it
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := manyRoutes(b, n/2)
			path := segments("/r3/42")
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := r.Match("GET", path); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkNewRoutes(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				manyRoutes(b, n/2)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/route")
		})
	}
}
