package tenants_test

import (
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Each reading alone, and some together: which of them lead a path past the
// route that matches it.
func TestReadings(t *testing.T) {
	routes := needing(t, "any /", "admin /admin", "admin /admin/", "item GET /items/{id}", "special GET /items/special",
		"upper /API/keys", "page /en/pages/{page}", "page /en/pages/{page}/{$}", "file /files/{path...}", "secret /files/secret",
		"cafe /café", "greek /μενού", "key /key", "assets /assets/", "tree /tree/", "one /one", "one /ONE")
	for _, tt := range []struct {
		path string
		want string // the readings that it takes, by their first letters; "": none
	}{
		{"/admin", ""}, {"/admin/", ""}, {"/items/7", ""}, {"/items/Seven.9", ""}, {"/x", ""}, {"/X.y/z.", ""}, {"/files/a;b/c.d/", ""},
		{"/Admin", "c"}, {"/ADMIN", "c"}, {"/admiN/users", "c"}, {"/ADMIN/", "c"},
		{"/items/special", ""}, {"/items/Special", "c"}, {"/Items/7", "c"}, {"/items/special.json", "e"}, {"/items/SPECIAL.json", "ce"},
		{"/api/keys", "c"}, {"/API/keys", ""}, {"/API/keys.json", "e"}, {"/api/keys.xml/", "cse"}, {"/API/Keys", "c"},
		{"/admin.json", "e"}, {"/admin.", "t"}, {"/admin. . .", "t"}, {"/admin.a.b", "e"}, {"/admin.a.b ", "e"}, {"/admin.tar.gz;x/", "se"}, {"/admin.json.", "te"},
		{"/admin.;x", "e"}, {"/admin;x", "p"}, {"/admin;x.json", "p"}, {"/admin.json;x", "e"}, {"/admin;x/users", "p"}, {"/;x/admin", "p"}, {"/;x/admin/u", "p"},
		{"/admin ", "t"}, {"/admin /users", "t"}, {"/.../admin", "t"}, {"/Admin.JSON;v=1/", "sce"}, {"/Admin.JSON;v=1.0/", "scpe"}, {"/admin..json", "te"},
		{"/key", ""}, {"/\u212aey", "c"}, {"/a\u017f\u017fets/x", "c"}, {"/CAFÉ", "c"}, {"/ΜΕΝΟΎ", "c"}, {"/ıtems/7", "c"}, {"/ADMİN", "c"}, {"/admın", "c"},
		{"/en/pages/a", ""}, {"/en/pages/a/", ""}, {"/en/PAGES/a", "c"}, {"/files/secret", ""}, {"/files/secret/", "s"}, {"/files/Secret/", "sc"}, {"/files/secret/.txt", "se"},
		{"/tree.html", "e"}, {"/tree;x", "p"}, {"/Tree", "c"}, {"/tree/", ""}, {"/tree/a.b", ""},
		{"/items/.json", "e"}, {"/ONE", ""}, {"/one", ""}, {"/One", "c"},
		{"/", ""}, {"/;", ""}, {"/.x", ""},
	} {
		of := segments(tt.path)
		m, found := routes.Misreading("GET", of)
		if got := letters(m.Readings); found != (tt.want != "") || got != order(tt.want) {
			match, _ := routes.Match("GET", of)
			t.Errorf("%s, which matches %+v: read with %q, want %q", tt.path, match.Route, got, tt.want)
		}
		// It takes all of them and no other: without one there is no doubt.
		for rs := range tenants.AllReadings + 1 {
			_, _, ambiguous := routes.WithReadings(rs).Find("GET", of)
			if all := found && m.Readings&^rs == 0; all && !ambiguous || !found && ambiguous {
				t.Errorf("%s under %v: ambiguous %v", tt.path, rs, ambiguous)
			}
		}
	}
}

const readingLetters = "spcet" // in the order of the bits

func letters(rs tenants.Readings) (text string) {
	for i, c := range readingLetters {
		if rs&(1<<i) != 0 {
			text += string(c)
		}
	}
	return text
}

func order(text string) (ordered string) {
	for _, c := range readingLetters {
		if strings.ContainsRune(text, c) {
			ordered += string(c)
		}
	}
	return ordered
}

// What differs is anything of a route but its match.
func TestEqualRequirements(t *testing.T) {
	for _, tt := range []struct {
		a, b tenants.Route
		want bool
	}{
		{tenants.Route{}, tenants.Route{Public: true}, true},
		{tenants.Route{Scopes: []string{"a", "b"}}, tenants.Route{Scopes: []string{"b", "a", "b"}}, false},
		{tenants.Route{Scopes: []string{"a"}}, tenants.Route{AnyScope: []string{"a"}}, true},
		{tenants.Route{Roles: []string{"a"}}, tenants.Route{AllRoles: []string{"a"}}, true},
		{tenants.Route{Scopes: []string{}}, tenants.Route{}, false},
		{tenants.Route{Access: "read:a"}, tenants.Route{Access: "read:b"}, true},
		{tenants.Route{Workspace: "header:X-Org"}, tenants.Route{Workspace: "header:x-org"}, false},
		{tenants.Route{Workspace: "query:a"}, tenants.Route{Workspace: "query:A"}, true},
	} {
		tt.a.Match, tt.b.Match = "/", "/admin"
		routes, faults := tenants.NewRoutes([]tenants.Route{tt.a, tt.b})
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if got := routes.Ambiguous("GET", []string{"Admin"}); got != tt.want {
			t.Errorf("%+v and %+v: ambiguous %v", tt.a, tt.b, got)
		}
	}
}

// A server that reads another value for the parameter of the workspace serves
// another workspace.
func TestWorkspaceUnsure(t *testing.T) {
	routes, faults := tenants.NewRoutes([]tenants.Route{
		{Match: "/w/{ws}", Workspace: "{ws}"}, {Match: "/w/{ws}/x", Workspace: "{ws}"}, {Match: "/in/{ws}/{id}/{last}", Workspace: "{ws}"}, {Match: "/plain/{ws}"},
		{Match: "/search/{id}", Workspace: "query:ws"}, {Match: "/sent/{id}", Workspace: "header:X-Org"},
	})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for path, want := range map[string]bool{
		"/w/ws_1": false, "/w/WS_1": false, "/w/a.b": true, "/w/a;b": true, "/w/a.": true, "/w/a ": true, "/w/a.b/x": false,
		"/w/a;b/x": true, "/w/a.b./x": true, "/in/a.b/in/7.json": false, "/in/a/in/7;x": false, "/in/a;x/in/7": true, "/plain/a.b": false,
		"/search/7;ws=2": true, "/search/7;": true, "/search/7.json": false, "/sent/7;x": false,
	} {
		m, found, ambiguous := routes.Find("GET", segments(path))
		if !found || ambiguous || m.WorkspaceUnsure != want {
			t.Errorf("%s: found %v, ambiguous %v, unsure %v", path, found, ambiguous, m.WorkspaceUnsure)
		}
		if m, found, _ := routes.WithReadings(0).Find("GET", segments(path)); found && m.WorkspaceUnsure {
			t.Errorf("%s is unsure without a reading", path)
		}
	}
}

func TestParseReadings(t *testing.T) {
	if rs, faults := tenants.ParseReadings(tenants.ReadingNames()); rs != tenants.AllReadings || faults != nil {
		t.Errorf("%v, %v", rs, faults)
	}
	if rs, faults := tenants.ParseReadings(nil); rs != 0 || faults != nil {
		t.Errorf("%v, %v", rs, faults)
	}
	_, faults := tenants.ParseReadings([]string{"case", "Case", "", "case"})
	if len(faults) != 3 || faults[0].Field != "[1]" || faults[1].Field != "[2]" || !strings.Contains(faults[2].Problem, "twice") {
		t.Error(faults)
	}
}

// The same readings are the same routes: what others keep by them is kept once.
func TestWithReadings(t *testing.T) {
	r := mustRoutes(t, "/")
	if r.WithReadings(tenants.AllReadings) != r || r.WithReadings(0) == r || r.WithReadings(0) != r.WithReadings(tenants.CaseReading).WithReadings(0) {
		t.Error("the routes of the same readings are not the same")
	}
}
