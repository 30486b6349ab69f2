package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/internal/config"
)

const schemaFile = "../../config.schema.json"

var update = flag.Bool("update", false, "write config.schema.json anew")

// The file that editors read is the one that the types make: `make schema`.
func TestSchemaIsFresh(t *testing.T) {
	want, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(schemaFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("config.schema.json is stale (%v): run make schema", err)
	}
}

// judge says what the schema has against a YAML text; yaml says that it is none.
func judge(t *testing.T, s *jsonschema.Schema, text []byte) (fault error, isYAML bool) {
	t.Helper()
	var value any
	if yaml.Unmarshal(text, &value) != nil {
		return nil, false
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, false
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(document), true
}

// The schema takes what the decoder takes, and refuses what a schema can: keys
// that are unknown, and values of the wrong kind.
func TestSchemaAgreesWithDecoder(t *testing.T) {
	compiled, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, "testdata/good/*.yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if fault, isYAML := judge(t, compiled, text); fault != nil || !isYAML {
			t.Errorf("%s: %v", path, fault)
		}
	}
	refused := 0
	for _, path := range files(t, "testdata/bad/*.yaml") {
		if strings.HasPrefix(filepath.Base(path), "alias_") {
			continue // no JSON at all
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fault, isYAML := judge(t, compiled, text)
		if !isYAML || !ofKind(wants(t, path)) {
			continue
		}
		if refused++; fault == nil {
			t.Errorf("the schema takes %s, the decoder says\n%s", path, strings.Join(wants(t, path), "\n"))
		}
	}
	if refused < 20 {
		t.Errorf("only %d files have faults that a schema can find", refused)
	}
}

// Every sample names the schema in its first line, by a path that leads there,
// and is what it says.
func TestSamplesNameTheSchema(t *testing.T) {
	samples := append(files(t, "../../policies/examples/*/ussoauthz.yaml"), "../../demo/ussoauthz.yaml")
	for _, path := range samples {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		name, ok := strings.CutPrefix(line, "# yaml-language-server: $schema=")
		if !ok {
			t.Errorf("%s begins with %q", path, line)
			continue
		}
		compiled, err := jsonschema.NewCompiler().Compile(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if fault, isYAML := judge(t, compiled, text); fault != nil || !isYAML {
			t.Errorf("%s: %v", path, fault)
		}
	}
}

// ofKind tells whether a fault is one of a key or of a value's kind.
func ofKind(faults []string) bool {
	for _, f := range faults {
		// OPA's sections are OPA's; to YAML, True is true.
		if strings.Contains(f, ": policy.bundles.") || strings.Contains(f, "is True:") {
			continue
		}
		for _, words := range []string{": unknown key", "write a section of keys", "write a list, like", "write true or false", "write a whole number, like", "write the unit too", "write a number from 0 to 1, like"} {
			if strings.Contains(f, words) {
				return true
			}
		}
	}
	return false
}
