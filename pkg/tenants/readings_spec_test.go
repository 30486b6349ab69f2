package tenants_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// guardedRoutes are many routes of which some need other things than those
// beside them, so that readings matter.
func guardedRoutes(t testing.TB, n int) *tenants.Routes {
	t.Helper()
	list := []tenants.Route{{Match: "/"}, {Match: "/admin/", Roles: []string{"admin"}}}
	for i := range n {
		list = append(list,
			tenants.Route{Match: fmt.Sprintf("GET /r%d/{id}", i), Scopes: []string{"read"}},
			tenants.Route{Match: fmt.Sprintf("GET /r%d/special", i), Scopes: []string{"special"}},
			tenants.Route{Match: fmt.Sprintf("/r%d/{id}/files/{path...}", i), Scopes: []string{"files"}})
	}
	routes, faults := tenants.NewRoutes(list)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return routes
}

// What readings cost: nothing for most paths, no memory where case alone
// matters, and as many slices as there are readings of a path with a dot.
func TestFindAllocations(t *testing.T) {
	r := guardedRoutes(t, 50)
	for path, most := range map[string]float64{
		"/r7/42": 1, "/nowhere/at/all": 0, "/r7/AbC-42": 1, "/No/Where": 0, "/r7/a.b": 3, "/r7/a.b.c": 5, "/r7/J.Smith@example.com": 5, "/r7/x/files/a/b": 2, "/r7/x/files/a/B.PDF": 4, "/r7/a;b": 3,
	} {
		of := segments(path)
		n := testing.AllocsPerRun(100, func() {
			if _, found, _ := r.Find("GET", of); !found {
				t.Fatalf("%s has no route", path)
			}
		})
		if n > most {
			t.Errorf("%s: %v allocations, more than %v", path, n, most)
		}
	}
}

// Hostile paths cost no more than their bounds: see maxReadings.
func TestReadingsAreBounded(t *testing.T) {
	r := guardedRoutes(t, 50)
	for name, last := range map[string]string{
		"dots": strings.Repeat("a.", 4000), "dots alone": strings.Repeat(".", 8000) + "a", "parameters": strings.Repeat(";a", 4000), "all": strings.Repeat("A.;. ", 1600),
		"spaces": strings.Repeat(" .", 4000), "capitals": strings.Repeat("A", 8000), "long letters": strings.Repeat("\u212a", 2600),
	} {
		for _, path := range [][]string{{"r7", last}, {last, "x"}, append(slices.Repeat([]string{"A."}, 2000), "a.b;c", "")} {
			n := testing.AllocsPerRun(3, func() { r.Find("GET", path) })
			if n > 300 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	}
	// More readings than anybody means: no route.
	if _, found, ambiguous := r.Find("GET", []string{"nowhere", strings.Repeat("a.", 100)}); found || !ambiguous {
		t.Error("a path of a hundred readings has a route")
	}
}

func BenchmarkFind(b *testing.B) {
	r := guardedRoutes(b, 1000)
	for _, path := range []string{"/r3/42", "/r3/AbC-42", "/r3/report.pdf", "/r3/J.Smith@example.com", "/r3/42;v=1"} {
		of := segments(path)
		b.Run("as it is "+path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Match("GET", of)
			}
		})
		b.Run("read "+path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Find("GET", of)
			}
		})
	}
}

// specification is Ambiguous, short and slow: every order of the readings on the
// text of a path, and the most specific of all patterns by comparing each pair.
// It shares nothing with the tree.
type specification struct {
	matches  []string
	readings tenants.Readings
}

var (
	itsParameters = regexp.MustCompile(`;[^/]*`)
	itsTrailing   = regexp.MustCompile(`[. ]+(/|$)`)
	itsExtension  = regexp.MustCompile(`\.[^./]*$`)
	manySlashes   = regexp.MustCompile(`//+`)
)

func (s specification) variants(path string) map[string]bool {
	all := map[string]bool{}
	var add func(string, bool)
	add = func(path string, parameters bool) {
		path = manySlashes.ReplaceAllString(path, "/")
		if path == "" {
			path = "/"
		}
		if was, seen := all[path]; seen && (was || !parameters) {
			return
		}
		all[path] = parameters
		if s.readings&tenants.SlashReading != 0 && strings.HasSuffix(path, "/") {
			add(path[:len(path)-1], parameters)
		}
		if s.readings&tenants.ParametersReading != 0 && strings.Contains(path, ";") {
			add(itsParameters.ReplaceAllString(path, ""), true)
		}
		if s.readings&tenants.TrailingReading != 0 {
			add(itsTrailing.ReplaceAllString(path, "$1"), parameters)
		}
		if s.readings&tenants.ExtensionReading != 0 {
			add(itsExtension.ReplaceAllString(path, ""), parameters)
		}
	}
	add(path, false)
	return all
}

// fits tells whether a pattern matches; slashed, that it does for the path with
// a slash at its end, and describes no more than that.
func fits(match, path string, fold, slashed bool) bool {
	_, pattern, _ := strings.Cut(match, " ")
	want, have := strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/")
	for i, part := range want {
		switch {
		case part == "" || strings.HasSuffix(part, "...}"):
			return len(have) > i && !slashed || slashed && len(have) == i
		case part == "{$}":
			return !slashed && len(have) == i+1 && have[i] == "" || slashed && len(have) == i
		case i >= len(have) || have[i] == "":
			return false
		case part[0] == '{':
		case part != have[i] && !(fold && strings.EqualFold(part, have[i])):
			return false
		}
	}
	return !slashed && len(want) == len(have)
}

func (s specification) best(path string, fold, slashed bool) (best []string) {
	var all []string
	for _, match := range s.matches {
		if fits(match, path, fold, slashed) {
			all = append(all, match)
		}
	}
	for _, match := range all {
		if !slices.ContainsFunc(all, func(other string) bool { return below(other, match, fold) && !below(match, other, fold) }) {
			best = append(best, match)
		}
	}
	return best
}

// below tells whether each path of a is one of b.
func below(a, b string, fold bool) bool {
	_, a, _ = strings.Cut(a, " ")
	_, b, _ = strings.Cut(b, " ")
	x, y := strings.Split(a[1:], "/"), strings.Split(b[1:], "/")
	for i, part := range y {
		switch {
		case part == "" || strings.HasSuffix(part, "...}"):
			return len(x) > i
		case i >= len(x):
			return false
		case part == "{$}" || x[i] == "{$}" || x[i] == "" || strings.HasSuffix(x[i], "...}"):
			return part == x[i]
		case part[0] == '{':
		case part != x[i] && !(fold && strings.EqualFold(part, x[i])):
			return false
		}
	}
	return len(x) == len(y)
}

// routes are those that a server could find: where /tree is nothing of its own,
// the route of /tree/.
func (s specification) routes(path string, fold bool) []string {
	best := s.best(path, fold, false)
	if strings.HasSuffix(path, "/") {
		return best
	}
	exact := slices.ContainsFunc(best, func(match string) bool { return !strings.HasSuffix(match, "/") && !strings.HasSuffix(match, "...}") })
	slashed := s.best(path, fold, true)
	if !exact {
		if len(slashed) > 0 {
			return slashed
		}
		return best
	}
	if s.readings&tenants.SlashReading == 0 {
		return best
	}
	for _, match := range slashed {
		bare := match[:strings.LastIndexByte(match, '/')]
		if !slices.ContainsFunc(best, func(b string) bool { return below(b, bare, fold) }) {
			best = append(best, match)
		}
	}
	return best
}

func (s specification) ambiguous(match, path string) bool {
	for variant, parameters := range s.variants(path) {
		for _, fold := range []bool{false, s.readings&tenants.CaseReading != 0} {
			found := s.routes(variant, fold)
			if len(found) == 0 && parameters && !strings.Contains(match, ";") {
				return true
			}
			if slices.ContainsFunc(found, func(other string) bool { return need(other) != need(match) }) {
				return true
			}
		}
	}
	return false
}

func need(match string) string { need, _, _ := strings.Cut(match, " "); return need }

func FuzzReadings(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed, uint8(seed*7))
	}
	f.Fuzz(func(t *testing.T, seed uint64, readings uint8) {
		compareReadings(t, rand.New(rand.NewPCG(seed, 14)), tenants.Readings(readings)&tenants.AllReadings)
	})
}

func TestReadingsAreTheSpecification(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 14))
	ambiguous := 0
	for range 1500 {
		rs := tenants.AllReadings
		if random.IntN(2) == 0 {
			rs = tenants.Readings(random.IntN(int(tenants.AllReadings) + 1))
		}
		ambiguous += compareReadings(t, random, rs)
	}
	if ambiguous < 2000 {
		t.Errorf("only %d paths were ambiguous", ambiguous)
	}
}

func compareReadings(t *testing.T, random *rand.Rand, rs tenants.Readings) (ambiguous int) {
	t.Helper()
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	var list []string
	var table []tenants.Route
	for range 2 + random.IntN(6) {
		match := ""
		for range random.IntN(3) {
			match += "/" + pick("a", "A", "b", "a.b", "k;x", "{x}", "K")
		}
		match += pick("", "/", "/{$}", "/{rest...}")
		match = strings.Replace(match, "{x}", "{y}", 1)
		if match == "" {
			match = "/"
		}
		route := tenants.Route{Match: match, Scopes: []string{pick("one", "two")}}
		if _, faults := tenants.NewRoutes(append(slices.Clone(table), route)); len(faults) > 0 {
			continue
		}
		table, list = append(table, route), append(list, route.Scopes[0]+" "+match)
	}
	all, _ := tenants.NewRoutes(table)
	routes, s := all.WithReadings(rs), specification{list, rs}
	for range 30 {
		path := ""
		for range 1 + random.IntN(3) {
			path += "/" + pick("a", "A", "b", "B", "a", "k", "\u212a", "k;x", ";x", "a;b.c", "...", "a", "b", "a.b") + pick("", "", "", ".", " ", ".json", ".a.b", ";v=1.0", "..x", " .")
		}
		path += pick("", "", "/")
		of := segments(path)
		m, found := routes.Match("GET", of)
		_, is, doubtful := routes.Find("GET", of)
		if is == doubtful && found || is && !found {
			t.Fatalf("%s of %q: %v, %v, %v", path, list, found, is, doubtful)
		}
		if !found {
			continue
		}
		if want := s.ambiguous(list[m.Index], path); want != doubtful {
			misreading, _ := routes.Misreading("GET", of)
			t.Fatalf("%q of %q under %q: ambiguous %v, want %v (%+v)", path, list, letters(rs), doubtful, want, misreading)
		}
		if doubtful {
			ambiguous++
		}
	}
	return ambiguous
}
