package config

import (
	"testing"

	"go.yaml.in/yaml/v3"
)

// RedactScalar is redactURL.
var RedactScalar = redactURL

// RedactYAML redacts a text.
func RedactYAML(t *testing.T, text string) string {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	redact(&n, false)
	out, err := yaml.Marshal(&n)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
