package envoycheck_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/envoycheck"
)

// broken is a file with the findings that it is to have: `# want KIND…` at the end
// of their line, or `# want-next KIND…` in the line before.
type broken struct {
	name, text string
	cfg        *config.Config // `# against FILE` in the first line
	want       []string       // LINE KIND, sorted
}

var wanted = regexp.MustCompile(`# want(-next)? ([a-z0-9_ ]+)$`)

func readBroken(t *testing.T) (all []broken) {
	t.Helper()
	names, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(names) < 40 {
		t.Fatalf("%d files: %v", len(names), err)
	}
	for _, name := range names {
		b := broken{name: name, text: read(t, name)}
		for i, line := range strings.Split(b.text, "\n") {
			if against, ok := strings.CutPrefix(line, "# against "); ok {
				b.cfg = load(t, filepath.Join("testdata", against))
			}
			m := wanted.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			at := i + 1
			if m[1] != "" {
				at++
			}
			for _, kind := range strings.Fields(m[2]) {
				b.want = append(b.want, fmt.Sprintf("%d %s", at, kind))
			}
		}
		if len(b.want) == 0 {
			t.Fatalf("%s wants nothing", name)
		}
		slices.Sort(b.want)
		all = append(all, b)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func load(t *testing.T, name string) *config.Config {
	t.Helper()
	cfg, err := config.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// lines are the findings as `want` comments have them.
func lines(findings []envoycheck.Finding) []string {
	all := make([]string, len(findings))
	for i, f := range findings {
		all[i] = fmt.Sprintf("%d %s", f.Line, f.Kind)
	}
	slices.Sort(all)
	return all
}

// kindsOf are the kinds of findings, sorted, one for each finding.
func kindsOf(found []string) []string {
	all := make([]string, len(found))
	for i, line := range found {
		_, all[i], _ = strings.Cut(line, " ")
	}
	slices.Sort(all)
	return all
}

// Each broken file has exactly its findings, and each says what to write.
func TestBrokenFiles(t *testing.T) {
	for _, b := range readBroken(t) {
		findings := envoycheck.Check("envoy.yaml", []byte(b.text), b.cfg)
		if got := lines(findings); !slices.Equal(got, b.want) {
			t.Errorf("%s:\n got %q\nwant %q", b.name, got, b.want)
		}
		for _, f := range findings {
			advises := strings.Contains(f.Problem, "write") || strings.Contains(f.Problem, "remove") || f.Kind == envoycheck.UnknownTenant || f.Kind == envoycheck.RouteWithoutBody
			if f.File != "envoy.yaml" || f.Severity == "" || !advises && !strings.Contains(f.Problem, "neither YAML nor JSON") {
				t.Errorf("%s: %+v", b.name, f)
			}
		}
	}
}

// There is a broken file for every kind.
func TestEveryKindIsBroken(t *testing.T) {
	seen := map[envoycheck.Kind]bool{}
	for _, b := range readBroken(t) {
		for _, kind := range kindsOf(b.want) {
			seen[envoycheck.Kind(kind)] = true
		}
	}
	for _, kind := range envoycheck.Kinds() {
		if !seen[kind] {
			t.Errorf("no file of testdata/broken has %s", kind)
		}
		delete(seen, kind)
	}
	for kind := range seen {
		t.Errorf("%s is no kind", kind)
	}
}

// docs/envoy.md has every kind with its severity, and no other.
func TestKindsAreDocumented(t *testing.T) {
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (error|warning) \\| .+ \\|$").FindAllStringSubmatch(read(t, "../../docs/envoy.md"), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	for _, b := range readBroken(t) {
		for _, f := range envoycheck.Check(b.name, []byte(b.text), b.cfg) {
			want = append(want, fmt.Sprint(f.Kind, " ", f.Severity))
		}
	}
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("the page has\n%q, want\n%q", got, want)
	}
}

// What ships has nothing to be found, and neither has what is good in testdata.
func TestGoodFiles(t *testing.T) {
	demo := load(t, "../../demo/ussoauthz.yaml")
	claims := load(t, "testdata/claims.yaml")
	count := 0
	for _, pattern := range []string{"testdata/good/*.yaml", "../../envoy/*.yaml", "../../envoy/*/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			count++
			for _, cfg := range []*config.Config{nil, demo, claims} {
				for _, f := range envoycheck.Check(name, []byte(read(t, name)), cfg) {
					if cfg != claims || f.Kind != envoycheck.UnknownTenant { // two samples name the demo's
						t.Errorf("%s: %v", f.Kind, f)
					}
				}
			}
		}
	}
	if count < 12 {
		t.Errorf("%d files", count)
	}
}

// camel writes names as protobuf's JSON does, but for those that are data.
func camel(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, member := range v {
			if regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(key) {
				parts := strings.Split(key, "_")
				for i := 1; i < len(parts); i++ {
					if parts[i] != "" {
						parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
					}
				}
				key = strings.Join(parts, "")
			}
			out[key] = camel(member)
		}
		return out
	case []any:
		for i := range v {
			v[i] = camel(v[i])
		}
	}
	return value
}

// The spelling of names and the form of the file do not matter.
func TestJSON(t *testing.T) {
	for _, b := range readBroken(t) {
		var value any
		if err := yaml.Unmarshal([]byte(b.text), &value); err != nil || strings.Contains(b.text, "\n---\n") || strings.Contains(b.text, "unreadable") {
			continue
		}
		for name, v := range map[string]any{"as it is": value, "camel case": camel(value)} {
			text, err := json.MarshalIndent(v, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			if got := kindsOf(lines(envoycheck.Check("envoy.json", text, b.cfg))); !slices.Equal(got, kindsOf(b.want)) {
				t.Errorf("%s, %s: %q, want %q", b.name, name, got, kindsOf(b.want))
			}
		}
	}
}

// notDumped are the kinds that a dump can't have: what it lacks may come from
// elsewhere, and who wrote a mesh's manifests has no field for it.
var notDumped = []string{"cluster_missing", "validate_mutations"}

// The same listeners, routes and clusters in a config_dump.
func TestConfigDump(t *testing.T) {
	dumped := 0
	for _, b := range readBroken(t) {
		var bootstrap struct {
			Static struct {
				Listeners, Clusters []map[string]any
			} `yaml:"static_resources"`
		}
		if err := yaml.Unmarshal([]byte(b.text), &bootstrap); err != nil || len(bootstrap.Static.Listeners) == 0 {
			continue
		}
		dumped++
		var listeners, clusters, routes []any
		for _, l := range bootstrap.Static.Listeners {
			for _, c := range l["filter_chains"].([]any) {
				hcm := c.(map[string]any)["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
				if config, ok := hcm["route_config"].(map[string]any); ok { // as one that a control plane sent
					config["name"] = fmt.Sprint(l["name"])
					hcm["rds"] = map[string]any{"route_config_name": config["name"]}
					routes = append(routes, map[string]any{"route_config": config})
					delete(hcm, "route_config")
				}
			}
			listeners = append(listeners, map[string]any{"name": l["name"], "active_state": map[string]any{"listener": l}})
		}
		for _, c := range bootstrap.Static.Clusters {
			clusters = append(clusters, map[string]any{"cluster": c})
		}
		text, err := json.MarshalIndent(map[string]any{"configs": []any{
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": listeners},
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": routes},
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters": clusters},
		}}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(kindsOf(b.want), func(kind string) bool { return slices.Contains(notDumped, kind) })
		if got := kindsOf(lines(envoycheck.Check("dump.json", text, b.cfg))); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", b.name, got, want)
		}
	}
	if dumped < 30 {
		t.Errorf("%d files", dumped)
	}
}

// Files that are made to be read for ever are not.
func TestHostileFiles(t *testing.T) {
	bomb := "a0: &a0 {name: x}\n"
	for i := range 30 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), ", "))
	}
	for name, text := range map[string]string{
		"nothing":               "",
		"an alias bomb":         bomb,
		"an alias of itself":    "static_resources: &a {listeners: [*a]}",
		"deep":                  strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"deep and named":        strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000),
		"a scalar":              "envoy",
		"no member is a string": "static_resources: {listeners: {filter_chains: 1}, clusters: 7}",
		"NUL":                   "a: \x00",
	} {
		findings := envoycheck.Check("envoy.yaml", []byte(text), nil)
		if len(findings) != 1 || findings[0].Kind != envoycheck.Unreadable {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.yaml", "testdata/good/*.yaml", "../../envoy/*/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %d files: %v", pattern, len(names), err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, finding := range envoycheck.Check("envoy.yaml", text, nil) {
			if finding.Severity == "" || finding.Line < 1 || finding.Problem == "" {
				t.Errorf("%+v", finding)
			}
		}
	})
}
