package tenants_test

import (
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// A path that is not canonical matches nothing, whatever stands at its beginning.
func TestMatchOfOddPaths(t *testing.T) {
	r := mustRoutes(t, "/a/", "GET /a/{$}", "/b/c")
	for _, path := range [][]string{nil, {}, {"", "a"}, {"", "b"}, {"b", "", "c"}, {"b", ""}, {"a", "", "b"}, {"a", "", ""}} {
		if m, found := r.Match("GET", path); found {
			t.Errorf("%q matches %q", path, m.Route.Match)
		}
		if m, found, ambiguous := r.Find("GET", path); found || ambiguous {
			t.Errorf("%q: found %v, ambiguous %v", path, m.Route, ambiguous)
		}
	}
}

func TestNothingToMisread(t *testing.T) {
	r := mustRoutes(t, "GET /a").WithReadings(tenants.AllReadings)
	if m, found := r.Misreading("GET", []string{"b;x"}); found {
		t.Errorf("no route matches, and another server takes %+v", m)
	}
	if r.Ambiguous("GET", []string{"b;x"}) {
		t.Error("no route matches, and the path is ambiguous")
	}
	if _, found, ambiguous := r.Find("GET", []string{"b"}); found || ambiguous {
		t.Errorf("found %v, ambiguous %v", found, ambiguous)
	}
}

// A slash at the end is another path where the server behind tells them apart.
func TestReadingsWithoutSlash(t *testing.T) {
	list := []tenants.Route{{Match: "/{page}", Public: true}, {Match: "/admin/", Roles: []string{"admin"}}}
	routes, faults := tenants.NewRoutes(list)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for readings, want := range map[tenants.Readings]bool{
		tenants.CaseReading: false, tenants.CaseReading | tenants.TrailingReading: false,
		tenants.SlashReading: true, tenants.SlashReading | tenants.CaseReading: true,
	} {
		if got := routes.WithReadings(readings).Ambiguous("GET", []string{"Admin"}); got != (want && readings&tenants.CaseReading != 0) {
			t.Errorf("a server that %s: /Admin ambiguous: %v", readings, got)
		}
		if got := routes.WithReadings(readings).Ambiguous("GET", []string{"admin"}); got != want {
			t.Errorf("a server that %s: /admin ambiguous: %v", readings, got)
		}
	}
}

// What is wrong with a pattern is told once: its wildcards are not known.
func TestWorkspaceOfBadPattern(t *testing.T) {
	_, faults := tenants.NewRoutes([]tenants.Route{{Match: "GET posts/{id}", Workspace: "{id}"}})
	if len(faults) != 1 || faults[0].Field != "[0].match" {
		t.Errorf("got %v", faults)
	}
}

// A route may be reached by no path that has no slash at its end, and by none
// with one.
func TestReachedByNothing(t *testing.T) {
	r := mustRoutes(t, "/a/{x...}", "/a/{$}", "/a/{p}/{y...}")
	if list := r.Unreachable(); len(list) != 1 || list[0].Index != 0 {
		t.Errorf("unreachable: %v", list)
	}
}

// Of two patterns that conflict, ServeMux tells which paths both match: in the
// words of the configuration.
func TestConflictNamesPaths(t *testing.T) {
	_, faults := tenants.NewRoutes([]tenants.Route{{Match: "/admin/"}, {Match: "/{page}/{$}"}})
	expectFaults(t, faults, fault{"[1].match", `(/{page}/{$} and /admin/ both match some paths, like "/admin/".`})
}

// A wildcard stands for no empty segment, whatever the server ignores.
func TestWildcardOfNothing(t *testing.T) {
	r, faults := tenants.NewRoutes([]tenants.Route{{Match: "/a/", Public: true}, {Match: "/a/{p}/", Roles: []string{"admin"}}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for readings := range tenants.AllReadings + 1 {
		if r.WithReadings(readings).Ambiguous("GET", []string{"a", ""}) {
			t.Errorf("/a/ is ambiguous where a server %s", readings)
		}
	}
}

// A long segment that no pattern has is not folded: that would cost its length
// in memory.
func TestLongSegmentIsNotFolded(t *testing.T) {
	r, faults := tenants.NewRoutes([]tenants.Route{{Match: "/a", Public: true}, {Match: "/{page}", Roles: []string{"admin"}}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	r = r.WithReadings(tenants.CaseReading)
	allocations := func(segment string) float64 {
		return testing.AllocsPerRun(100, func() {
			if r.Ambiguous("GET", []string{segment}) {
				t.Fatal("ambiguous")
			}
		})
	}
	if short, long := allocations("B"), allocations(strings.Repeat("B", 5000)); long > short {
		t.Errorf("%v allocations, and %v for a long one", short, long)
	}
}
