package docs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// Every row about the USSO SDK names cases that its tests have. They need the
// SDK, which only `make interop` installs: this notices a row without a case
// before that.
func TestDivergencesNameCases(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "test", "interop", "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	var tests strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	for _, section := range []string{"The USSO SDK: tokens", "The USSO SDK: where the token is"} {
		if !strings.Contains(tests.String(), "testkit.ReadDivergences(t, "+strconv.Quote(section)+")") {
			t.Errorf("no test reads the section %q of docs/divergences.md", section)
		}
		for _, name := range testkit.ReadDivergences(t, section).Cases() {
			if !strings.Contains(tests.String(), "name: "+strconv.Quote(name)+",") {
				t.Errorf("docs/divergences.md names the case %q, and test/interop has none", name)
			}
		}
	}
}
