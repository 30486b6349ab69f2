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
	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// The overview and the navigation of the site lead to every page, and the README
// to the overview.
func TestSiteMap(t *testing.T) {
	overview, navigation := page(t, "docs/index.md"), page(t, "mkdocs.yml")
	for _, file := range documents(t) {
		name, err := filepath.Rel(filepath.Join(root(t), "docs"), file)
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.ToSlash(name)
		if strings.HasPrefix(name, "../") {
			continue
		}
		if name != "index.md" && !strings.Contains(overview, "]("+name+")") {
			t.Errorf("docs/index.md does not lead to %s", name)
		}
		if !strings.Contains(navigation, ": "+name+"\n") {
			t.Errorf("the navigation of mkdocs.yml does not lead to %s", name)
		}
	}
	if !strings.Contains(readme(t), "](docs/index.md)") {
		t.Error("the README does not lead to docs/index.md")
	}
	examples, err := filepath.Glob(filepath.Join(root(t), "policies", "examples", "*"))
	if err != nil || len(examples) != 11 || !strings.Contains(readme(t), "[eleven examples with their tests]") {
		t.Errorf("the README counts policies/examples wrong: there are %d (%v)", len(examples), err)
	}
}

// The README names the versions that the tests run.
func TestVersions(t *testing.T) {
	versions := map[string]string{"Envoy": envoybin.Version}
	for _, m := range regexp.MustCompile(`(?m)^(EGCTL|ISTIOCTL) *:= (\S+)$`).FindAllStringSubmatch(page(t, "Makefile"), -1) {
		versions[map[string]string{"EGCTL": "Envoy Gateway", "ISTIOCTL": "Istio"}[m[1]]] = m[2]
	}
	rows := tables(t, readme(t), "Versions")[0]
	if len(rows) != 3 || len(versions) != 3 {
		t.Fatalf("%d rows, %d versions", len(rows), len(versions))
	}
	for _, row := range rows {
		want := versions[row[0]]
		if row[0] == "Istio" { // a version of no release: v0.0.0-20260827124520-eed52ebb66ad
			parts := strings.Split(want, "-")
			day := parts[1]
			want = "source of " + day[:4] + "-" + day[4:6] + "-" + day[6:8] + " (`" + parts[2] + "`)"
		}
		if row[1] != want {
			t.Errorf("%s: the README says %q, tested is %q", row[0], row[1], want)
		}
	}
}

// What the README says of the installation holds: the command that it names, the
// image's file and the chart are there.
func TestInstall(t *testing.T) {
	_, section, _ := strings.Cut(readme(t), "\n## Install\n")
	section, _, _ = strings.Cut(section, "\n## ")
	commands := 0
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(section, -1) {
		words := strings.Fields(m[1])
		commands++
		switch {
		case len(words) == 3 && words[0] == "go" && words[1] == "install":
			checkGoInstall(t, words[2])
		case strings.HasPrefix(m[1], "docker build -t ussoauthz ."):
			if dockerStages(t) == nil {
				t.Error("the Dockerfile has no stage")
			}
		case len(words) == 4 && words[0] == "helm" && words[1] == "install":
			if _, err := os.Stat(filepath.Join(root(t), words[3], "Chart.yaml")); err != nil {
				t.Error(err)
			}
		default:
			t.Errorf("nobody checks %q", m[1])
		}
	}
	if commands < 3 {
		t.Errorf("%d commands were found", commands)
	}
	if version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(page(t, "go.mod")); version == nil || !strings.Contains(section, "need Go "+version[1]+".") {
		t.Errorf("the README names another Go than go.mod: %v", version)
	}
}

// checkGoInstall finds the program of a package path with a version.
func checkGoInstall(t *testing.T, target string) {
	t.Helper()
	m := regexp.MustCompile(`^github\.com/ussoio/ussoauthz/(\S+)@latest$`).FindStringSubmatch(target)
	if m == nil {
		t.Fatalf("%s is no program of this module", target)
	}
	if _, err := os.Stat(filepath.Join(root(t), m[1], "main.go")); err != nil {
		t.Error(err)
	}
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readme(t *testing.T) string { return page(t, "README.md") }

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
	for _, row := range tables(t, page(t, "docs/answers.md"), "Deny")[0] {
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
	var list [][][]string
	for _, section := range []string{"The service", "Tenants", "Routes"} {
		found := tables(t, page(t, "docs/configuration.md"), section)
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
	shown, _, _ = strings.Cut(shown, "```")
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
