package oracle

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is compared with the service must not come from it: neither its packages
// nor the libraries that it decides with.
func TestSharesNoCode(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := strings.Fields(string(out))
	if len(imports) != 2 {
		t.Errorf("the oracle is made of %q: itself and a YAML parser are enough", imports)
	}
	for _, path := range imports {
		if path != "go.yaml.in/yaml/v3" && !strings.HasSuffix(path, "/test/oracle") {
			t.Errorf("imports %s", path)
		}
	}
}

// The answers of USSO's own Python SDK.
func TestScopesAsTheSDK(t *testing.T) {
	files, err := filepath.Glob("../../pkg/policy/scopes/testdata/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("found %q: %v", files, err)
	}
	asked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Scopes   []string
			Action   *string
			Resource string
			Filters  any
			Strict   bool
			Granted  bool
		}
		if err := json.Unmarshal(text, &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			alternatives, ok := filtersOf(c.Filters)
			if !ok || c.Strict { // routes can't ask for these
				continue
			}
			asked++
			action := ""
			if c.Action != nil {
				action = *c.Action
			}
			if got := checkAccess(c.Scopes, levelOf(action), strings.Split(c.Resource, "/"), alternatives); got != c.Granted {
				t.Errorf("%s: %+v: got %v", file, c, got)
			}
		}
	}
	if asked < 300 {
		t.Errorf("only %d cases", asked)
	}
}

// filtersOf is what a request offers, where its values are texts.
func filtersOf(filters any) (all []map[string]string, ok bool) {
	var given []map[string]any
	switch filters := filters.(type) {
	case nil:
		given = []map[string]any{{}}
	case map[string]any:
		for name, value := range filters {
			given = append(given, map[string]any{name: value})
		}
	case []any:
		for _, element := range filters {
			members, _ := element.(map[string]any)
			given = append(given, members)
		}
	}
	for _, members := range given {
		texts := map[string]string{}
		for name, value := range members {
			text, isText := value.(string)
			if !isText {
				return nil, false
			}
			texts[name] = text
		}
		all = append(all, texts)
	}
	return all, true
}

func TestStrictJSON(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: true, ` {"a": [1, -0.5e+3, true, null, "\u00e9\ud83d\ude00\n"]} `: true, `"é"`: true, `[[]]`: true, `[[[]]]`: false,
		``: false, `{"a":1,"\u0061":2}`: false, `{"a":1,}`: false, `[1,]`: false, `[,1]`: false, `01`: false, `+1`: false, `1.`: false, `.5`: false, `1e`: false,
		`"\ud800"`: false, `"\ude00\ud83d"`: false, "\"\xff\"": false, "\"\n\"": false, `"\x"`: false, `"`: false, `nul`: false, `{} {}`: false,
		"\ufeff{}": false, `{"a"}`: false, `{a:1}`: false, `{1:1}`: false, `[1 2]`: false, `{"a":1 "b":2}`: false, `NaN`: false, `'a'`: false, `"\u12"`: false,
	} {
		if _, ok := parseJSON(text, 2); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}

func TestFnmatchAsPython(t *testing.T) {
	for _, c := range []struct {
		text, pattern string
		want          bool
	}{
		{"a", "[b-a!x]", true}, {"x", "[b-a!x]", false}, {"]", "[]]", true}, {"a", "[!]]", true}, {"^", "[^a]", true}, {"b", "[^a]", false},
		{"[", "[", true}, {"[a", "[a", true}, {"a/b\n", "a*", true}, {"-", "[a-]", true}, {"-", "[-a]", true}, {"c", "[a-cx-z]", true}, {"w", "[a-cx-z]", false},
		{"a", "[b-a]", false}, {"a", "[!b-a]", true}, {"&", "[a&&b]", true}, {`\`, `[\]`, true}, {"é", "?", true}, {"ab", "?", false},
	} {
		if got := fnmatch(c.text, c.pattern); got != c.want {
			t.Errorf("%q with %q: %v", c.text, c.pattern, got)
		}
	}
}
