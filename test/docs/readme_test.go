package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// The map of the README leads to every page.
func TestSiteMap(t *testing.T) {
	_, section, _ := strings.Cut(readme(t), "\n## Where to look\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, file := range documents(t) {
		name, err := filepath.Rel(root(t), file)
		if err != nil {
			t.Fatal(err)
		}
		if name != "README.md" && !strings.Contains(section, "]("+filepath.ToSlash(name)+")") {
			t.Errorf("%s is not on the map of the README", name)
		}
	}
	examples, err := filepath.Glob(filepath.Join(root(t), "policies", "examples", "*"))
	if err != nil || len(examples) != 11 || !strings.Contains(readme(t), "\neleven policies with their tests") {
		t.Errorf("the README counts policies/examples wrong: there are %d (%v)", len(examples), err)
	}
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tables returns the tables of a section, as rows of cells, without the two
// lines of the head.
func tables(t *testing.T, text, section string) [][][]string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n## "+section+"\n")
	if !found {
		t.Fatalf("no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var all [][][]string
	inside := false
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		if !inside {
			all, inside = append(all, nil), true
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		all[len(all)-1] = append(all[len(all)-1], cells)
	}
	for i, table := range all {
		if len(table) < 3 {
			t.Fatalf("section %q, table %d: no rows", section, i+1)
		}
		all[i] = table[2:]
	}
	return all
}

// The table of answers has every reason, with what it answers, and no other.
func TestAnswersTable(t *testing.T) {
	want := reasons(t)
	var got []string
	for _, row := range tables(t, readme(t), "Answers")[0] {
		name := strings.Trim(row[0], "`")
		got = append(got, name)
		r := answers.Reason(name).Row()
		if row[1] != strconv.Itoa(r.Status) || row[2] != r.Title {
			t.Errorf("%s: the table says %s %q, the service %d %q", name, row[1], row[2], r.Status, r.Title)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%v\nand the service\n%v", got, want)
	}
}

// reasons reads the denials from the source, so that a new one is not forgotten.
func reasons(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), "pkg", "answers", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if ok && len(spec.Values) == 1 && fmt.Sprint(spec.Type) == "Reason" {
				value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, value)
			}
			return true
		})
	}
	list = slices.DeleteFunc(list, func(s string) bool { return s == string(answers.Allowed) })
	if len(list) < 10 {
		t.Fatalf("only %v were found", list)
	}
	slices.Sort(list)
	return list
}

// The tables of the configuration have every key, and no other.
func TestConfigurationTables(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	var list [][][]string
	for _, section := range []string{"The service", "Tenants", "Routes"} {
		found := tables(t, string(page), section)
		if len(found) != 1 {
			t.Fatalf("section %q has %d tables", section, len(found))
		}
		list = append(list, found...)
	}
	for i, kind := range []reflect.Type{reflect.TypeFor[config.Config](), reflect.TypeFor[tenants.Config](), reflect.TypeFor[tenants.Route]()} {
		want := yamlKeys(kind)
		if i == 0 {
			want = append(want, "tenants", "defaults")
		}
		var got []string
		for _, row := range list[i] {
			got = append(got, keysOf(row[0])...)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("table %d has the keys\n%v\nand %v has\n%v", i+1, got, kind, want)
		}
	}
}

// keysOf returns the keys of a first cell: "`key` with `type`", "`admin.listen`",
// "`public: true`".
func keysOf(cell string) []string {
	var keys []string
	for _, m := range regexp.MustCompile("`([a-z_]+)[^`]*`").FindAllStringSubmatch(cell, -1) {
		keys = append(keys, m[1])
	}
	return keys
}

func yamlKeys(kind reflect.Type) []string {
	var keys []string
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			keys = append(keys, name)
		}
	}
	if kind == reflect.TypeFor[tenants.Route]() { // the text above the table is about it
		keys = slices.DeleteFunc(keys, func(key string) bool { return key == "match" })
	}
	return keys
}

// The tour that the README shows is the tour that the demo takes, whose
// answers the end-to-end tests expect.
func TestTour(t *testing.T) {
	steps := tour.Steps()
	_, shown, _ := strings.Cut(readme(t), "$ make demo\n")
	shown, _, _ = strings.Cut(shown, "$ make test\n")
	row := regexp.MustCompile(`^ *(\d+)  (\S.*?)  +(\S+) +(\d{3}) +(\S+) +(.*)$`)
	found := 0
	for line := range strings.Lines(shown) {
		m := row.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		found++
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 || n > len(steps) {
			t.Errorf("the tour has no step %s", m[1])
			continue
		}
		s := steps[n-1]
		reason := s.Reason
		if reason == "" {
			reason = string(answers.Allowed)
		}
		if want := []string{s.Title, s.Tenant, strconv.Itoa(s.Status), reason}; !slices.Equal(m[2:6], want) {
			t.Errorf("step %d: the README shows %q, the tour has %q", n, m[2:6], want)
		}
		for _, header := range regexp.MustCompile(`(x-[a-z-]+): ([^,]+)`).FindAllStringSubmatch(m[6], -1) {
			if got := s.Identity[header[1]]; got != header[2] {
				t.Errorf("step %d: the README shows %s: %s, the tour has %q", n, header[1], header[2], got)
			}
		}
	}
	if found < 5 {
		t.Errorf("%d rows were found", found)
	}
	if want := fmt.Sprintf("\n%d requests, %[1]d as expected, 0 not\n", len(steps)); !strings.Contains(shown, want) {
		t.Errorf("the README does not end the tour with %q", want)
	}
	if curl := "\n     " + steps[0].Curl("http://127.0.0.1:10000") + "\n"; !strings.Contains(shown, curl) {
		t.Errorf("the README does not show%s", curl)
	}
}
