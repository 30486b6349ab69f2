package tenants_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// What other tools write for a wildcard is an error that says what to write.
func TestForeignWildcards(t *testing.T) {
	for match, want := range map[string]string{
		"/admin/*":                   "`*` is no wildcard here: write /admin/ for everything below, /admin/{name} for one segment",
		"/*":                         "`*` is no wildcard here: write / for everything below, /{name} for one segment",
		"GET /a/**":                  "`**` is no wildcard here: write /a/ for everything below",
		"/a/*/b":                     "`*` is no wildcard here: write /a/{name}/b for one segment",
		"/a/**/b/":                   "write /a/{name}/b/",
		"/static/*.js":               "a star itself is %2A",
		"/admin*":                    "a slash at the end is everything below",
		"/a/.*":                      "`.*` is no wildcard here",
		"/a/(.*)":                    "`(.*)` is no wildcard here",
		"/a/.+":                      "no regular expression here",
		"/a/(.+)":                    "no regular expression here",
		"^/admin":                    "the path must start with '/'",
		"/^admin":                    "no regular expression here",
		"/a|b":                       "a route for each alternative",
		`/a/\d+`:                     "no regular expression here",
		"/a/[0-9]+":                  "no regular expression",
		"/posts/[id]":                "write /posts/{id} for one segment",
		"/docs/[...slug]":            "write /docs/{slug} for one segment",
		"/admin$":                    "a pattern without a slash at its end is that path alone",
		"/admin/$":                   "/{$} that with a slash",
		"/shipments/:id":             "`:id` is no wildcard here: write /shipments/{id} for one segment",
		"/a/:from-:to/b":             "write /a/{from}/b",
		"/a/:":                       "write /a/{name} for one segment; a colon at the beginning is %3A",
		"/a/<id>":                    "write /a/{id}",
		"/a/<int:id>/b":              "write /a/{id}/b",
		"/a/<path:rest>":             "write /a/{rest...}",
		"/a/{id:[0-9]+}":             "write {id} for one segment, {id...} for all that is left",
		"/a/{id:int}":                "write {id} for one segment",
		"/a/{rest:path}":             "{rest...} for all that is left",
		"/a/{proxy+}":                "write {proxy...}, at the end of the pattern, for all that is left",
		"/a/{*rest}":                 "write {rest...}",
		"/a/{**rest}":                "write {rest...}",
		"/a/{rest*}":                 "write {rest...}",
		"/a/{**}":                    "write {name...}",
		"/v1/{name=shelves/*}":       "has a type, an expression or a template",
		"/a/{id}.json":               "bad wildcard segment",
		"/a/...":                     "write /a/ for everything below, or /a/{name...}",
		"/a/{id}:{verb}":             "is a word like :purge",
		"/a/{id}:":                   "is a word like :purge",
		"/a/{id}:a.b":                "is a word like :purge",
		"/a/{rest...}:purge":         "has no verb behind it; write the segments out, the last one as {id}:purge",
		"/a/{id}:purge/b":            "a verb stands at the end of a path",
		"/a/{$}:purge":               "bad wildcard",
		"* /a":                       "`*` is no method: write the path alone, it is every method",
		"ANY /z":                     "`ANY` is no method: write the path alone, it is every method",
		"any /z":                     "`any` is no method",
		"ALL /":                      "`ALL` is no method",
		"GET,POST /a":                "write a route for each of them",
		"GET|POST /a":                "write a route for each of them",
		"~ /a":                       "is no method",
		"~* ^/a":                     "is no method",
		"= /a":                       "is no method",
		"/a/" + `{id}` + `:` + "{x}": "is a word like :purge",
	} {
		_, faults := tenants.NewRoutes([]tenants.Route{{Match: match}})
		if len(faults) != 1 || faults[0].Field != "[0].match" || !strings.Contains(faults[0].Problem, want) {
			t.Errorf("%s: %v, want %s", match, faults, want)
		}
	}
	// What such a sign is in a path stays writable.
	for match, path := range map[string]string{
		"/a/%2A": "/a/*", "/%3Aid": "/:id", "/%3Cid%3E": "/<id>", "/%5Bid%5D": "/[id]", "/a%7Cb": "/a|b", "/a%24": "/a$", "/%5Ea": "/^a", "/.%2B": "/.+",
		"/$metadata": "/$metadata", "/Items(7)": "/Items(7)", "/c++": "/c++", "/items:batchGet": "/items:batchGet", "/a.b": "/a.b", "/@me": "/@me",
		"/%7Bid%7D": "/{id}", "M-SEARCH /a": "/a",
	} {
		routes, faults := tenants.NewRoutes([]tenants.Route{{Match: match}})
		if len(faults) > 0 {
			t.Errorf("%s: %v", match, faults)
			continue
		}
		method := "GET"
		if strings.HasPrefix(match, "M") {
			method = "M-SEARCH"
		}
		if _, ok := routes.Match(method, segments(path)); !ok {
			t.Errorf("%s does not match %s", match, path)
		}
	}
}

func TestVerbs(t *testing.T) {
	r := needing(t, "read GET /v1/items/{id}", "write POST /v1/items/{id}", "purge POST /v1/items/{id}:purge", "special POST /v1/items/all:purge",
		"batch POST /v1/items:batchGet", "every /v3/{kind}/{id}:export-data", "below /v2/")
	for _, tt := range []struct {
		method, path, want, id string
	}{
		{"POST", "/v1/items/7:purge", "POST /v1/items/{id}:purge", "7"},
		{"POST", "/v1/items/a:b:purge", "POST /v1/items/{id}:purge", "a:b"},
		{"POST", "/v1/items/all:purge", "POST /v1/items/all:purge", ""},
		{"POST", "/v1/items/7", "POST /v1/items/{id}", "7"},
		{"POST", "/v1/items/7:archive", "POST /v1/items/{id}", "7:archive"},
		{"POST", "/v1/items/:purge", "POST /v1/items/{id}", ":purge"},
		{"POST", "/v1/items/7:purge:x", "POST /v1/items/{id}", "7:purge:x"},
		{"GET", "/v1/items/7:purge", "GET /v1/items/{id}", "7:purge"},
		{"POST", "/v1/items:batchGet", "POST /v1/items:batchGet", ""},
		{"POST", "/v3/boxes/7:export-data", "/v3/{kind}/{id}:export-data", "7"},
		{"POST", "/v3/boxes/7", "", ""},
	} {
		m, _ := r.Match(tt.method, segments(tt.path))
		got, id := "", ""
		if m.Route != nil {
			got = m.Route.Match
		}
		for _, p := range m.Params {
			if p.Name == "id" {
				id = p.Value
			}
		}
		if got != tt.want || id != tt.id {
			t.Errorf("%s %s: %q with %q, want %q with %q", tt.method, tt.path, got, id, tt.want, tt.id)
		}
	}
	for path, want := range map[string]bool{
		"/v1/items/7:purge": false, "/v1/items/7:archive": false, "/v1/items/7:PURGE": true, "/v1/items/7:purge.json": true, "/v1/items/7:purge;x": true,
		"/v1/items/7;x:purge": true, "/v1/items/7:purge.": true, "/v1/items/All:purge": true, "/v1/items/A.b": false, "/v1/items/7:p\u016frge": false,
	} {
		if got := r.Ambiguous("POST", segments(path)); got != want {
			t.Errorf("POST %s: ambiguous %v", path, got)
		}
	}
	ws, faults := tenants.NewRoutes([]tenants.Route{{Match: "POST /w/{ws}:purge", Workspace: "{ws}"}, {Match: "POST /w/{ws}", Workspace: "{ws}"}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if m, ok, _ := ws.Find("POST", segments("/w/ws_1:purge")); !ok || m.WorkspaceUnsure || m.Params[0].Value != "ws_1" {
		t.Errorf("%+v", m)
	}
	if m, ok, _ := ws.Find("POST", segments("/w/ws_1:PURGE")); !ok || !m.WorkspaceUnsure {
		t.Errorf("%+v: a server that ignores case serves ws_1", m)
	}
}

// matches is what a pattern with verbs means, in few words.
func matches(match, method, path string) bool {
	its, pattern, _ := strings.Cut(match, " ")
	if its != method && (its != "GET" || method != "HEAD") && its != "*" {
		return false
	}
	want, have := strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/")
	for i, part := range want {
		if part == "" {
			return len(have) > i
		}
		if i >= len(have) || have[i] == "" {
			return false
		}
		name, verb, _ := strings.Cut(part, "}:")
		switch {
		case verb != "":
			if !strings.HasSuffix(have[i], ":"+verb) || len(have[i]) == len(verb)+1 {
				return false
			}
		case name[0] != '{' && name != have[i]:
			return false
		}
	}
	return len(want) == len(have)
}

// Two patterns conflict where some requests match both, and each matches others
// too: found with verbs as without them.
func TestVerbConflicts(t *testing.T) {
	var paths []string
	for _, first := range []string{"/a", "/b:p", "/c"} {
		paths = append(paths, first, first+"/")
		for _, second := range []string{"a", "b", "a:p", "b:p", "x:y:p", "a:q", "b:q", ":p", "z"} {
			paths = append(paths, first+"/"+second, first+"/"+second+"/", first+"/"+second+"/c", "/"+second)
		}
	}
	random := rand.New(rand.NewPCG(7, 7))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	conflicts := 0
	for range 4000 {
		var pair [2]string
		for i := range pair {
			pair[i] = pick("*", "*", "GET", "HEAD", "POST") + " " + pick("/a", "/{x}", "", "/b:p") + pick("/{y}:p", "/{y}:p", "/{z}:q", "/a:p", "/a:q", "/b", "/{y}", "/")
		}
		both, onlyA, onlyB := false, false, false
		for _, method := range []string{"GET", "HEAD", "POST", "PUT"} {
			for _, path := range paths {
				a, b := matches(pair[0], method, path), matches(pair[1], method, path)
				both, onlyA, onlyB = both || a && b, onlyA || a && !b, onlyB || b && !a
			}
		}
		want := both && onlyA == onlyB
		_, faults := tenants.NewRoutes(patterns(strings.TrimPrefix(pair[0], "* "), strings.TrimPrefix(pair[1], "* ")))
		if want != (len(faults) > 0) {
			t.Fatalf("%q: conflict %v, reported %v", pair, want, faults)
		}
		if want {
			conflicts++
		}
	}
	if conflicts < 200 {
		t.Errorf("only %d conflicts", conflicts)
	}
}

// Of the routes that match, the one that the others cover is found.
func TestVerbsAreMoreSpecific(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	for range 500 {
		var taken []string
		for range 6 {
			match := pick("*", "GET", "POST") + " " + pick("/a", "/{x}") + pick("/{y}:p", "/{z}:q", "/a:p", "/{y}", "/b")
			if _, faults := tenants.NewRoutes(patterns(plain(append(taken, match))...)); len(faults) == 0 {
				taken = append(taken, match)
			}
		}
		r := mustRoutes(t, plain(taken)...)
		for _, path := range []string{"/a/a:p", "/a/b:p", "/a/b:q", "/a/b", "/b/a:p", "/b/b:p", "/b/b:q", "/b/x", "/b/:p"} {
			for _, method := range []string{"GET", "POST", "PUT"} {
				want := []string{}
				for _, match := range taken {
					if matches(match, method, path) {
						want = append(want, match)
					}
				}
				m, ok := r.Match(method, segments(path))
				if ok != (len(want) > 0) {
					t.Fatalf("%s %s of %q: matches %v", method, path, taken, ok)
				}
				for _, other := range want {
					if diff := cmp.Diff(true, !narrower(other, taken[m.Index])); diff != "" {
						t.Fatalf("%s %s of %q: got %q, and %q is narrower", method, path, taken, taken[m.Index], other)
					}
				}
			}
		}
	}
}

func plain(list []string) (plain []string) {
	for _, match := range list {
		plain = append(plain, strings.TrimPrefix(match, "* "))
	}
	return plain
}

// narrower tells whether a matches less than b, over a few requests.
func narrower(a, b string) bool {
	less := false
	for _, method := range []string{"GET", "HEAD", "POST", "PUT"} {
		for _, first := range []string{"a", "b", "c"} {
			for _, second := range []string{"a:p", "b:p", "b:q", "b", "x", ":p"} {
				path := fmt.Sprintf("/%s/%s", first, second)
				switch x, y := matches(a, method, path), matches(b, method, path); {
				case x && !y:
					return false
				case y && !x:
					less = true
				}
			}
		}
	}
	return less
}
