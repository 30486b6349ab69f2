package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/config"
)

// lookup is the environment of every file of testdata.
func lookup(name string) (string, bool) {
	value, found := map[string]string{
		"ISSUER":     "https://sso.acme.example",
		"AUDIENCE":   "my-app",
		"FLIGHT":     "17",
		"HOST":       "127.0.0.1",
		"EMPTY":      "",
		"NOT_UTF8":   "\xff",
		"INJECTION":  "info\nformat: text",
		"CACHE_SIZE": "1MiB",
	}[name]
	return value, found
}

func parseFile(t *testing.T, path string) (*config.Config, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return config.Parse(path, data, lookup)
}

// wants returns the faults that a file of testdata/bad says it has, a line each
// at its top: "# want: 12: tenants.acme.jwks_url: …some words…".
func wants(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		want, found := strings.CutPrefix(line, "# want: ")
		if !found {
			break
		}
		list = append(list, strings.TrimSuffix(want, "\n"))
	}
	if len(list) == 0 {
		t.Fatalf("%s begins with no line \"# want: LINE: FIELD: words\"", path)
	}
	return list
}

// matches reports whether got begins with the first part of want, cut at "…",
// and holds the other parts after it.
func matches(got, want string) bool {
	parts := strings.Split(want, "…")
	if !strings.HasPrefix(got, parts[0]) {
		return false
	}
	for _, part := range parts {
		_, rest, found := strings.Cut(got, part)
		if !found {
			return false
		}
		got = rest
	}
	return true
}

func files(t testing.TB, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("no files match %s (%v)", pattern, err)
	}
	return list
}

func TestBadFiles(t *testing.T) {
	for _, path := range files(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want := wants(t, path)
			c, err := parseFile(t, path)
			if c != nil {
				t.Error("a file with faults gave a configuration")
			}
			var got config.Errors
			if !errors.As(err, &got) {
				t.Fatalf("error is %v, want config.Faults", err)
			}
			for i, f := range got {
				text, found := strings.CutPrefix(f.Error(), path+":")
				if strings.ContainsAny(text, "\n\r") {
					t.Errorf("more than one line: %q", text)
				}
				if !found || i >= len(want) || !matches(text, want[i]) {
					t.Errorf("fault %d: %s", i, f)
				}
			}
			if len(got) < len(want) || t.Failed() {
				t.Errorf("%d faults, want\n%s", len(got), strings.Join(want, "\n"))
			}
		})
	}
}
