package docs

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/tenants"
	"github.com/ussoio/ussoauthz/test/servers/table"
)

var update = flag.Bool("update", false, "rewrite what the documents show of recorded data")

// The page shows which readings the recorded servers do, by what they routed.
func TestPathReadingsPage(t *testing.T) {
	routed, err := table.Read(filepath.Join(root(t), "test", "servers", "testdata", "straight.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root(t), "docs", "path-readings.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- readings: written by TestPathReadingsPage -update -->\n", "<!-- /readings -->"
	before, rest, found := strings.Cut(string(text), begin)
	shown, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("the page has no place for the table")
	}
	want := routed.Markdown()
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if shown != want {
		t.Errorf("the page has another table than the data: run this test with -update\n%s", want)
	}
	for _, name := range table.Names() {
		if _, faults := tenants.ParseReadings([]string{name}); len(faults) > 0 {
			t.Errorf("%s is no reading: %v", name, faults)
		}
	}
}

// The recorded tables are of the same requests and servers, without a gap, and
// as many as they are said to be.
func TestRecordedTables(t *testing.T) {
	dir := filepath.Join(root(t), "test", "servers", "testdata")
	var servers []string
	for _, name := range []string{"straight.tsv", "edge.tsv", "bare.tsv"} {
		recorded, err := table.Read(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if servers == nil {
			servers = recorded.Servers
		}
		if len(servers) < 15 || strings.Join(recorded.Servers, " ") != strings.Join(servers, " ") {
			t.Errorf("%s is of %q, want %q", name, recorded.Servers, servers)
		}
		text, err := os.ReadFile(filepath.Join(dir, "requests.txt"))
		if err != nil {
			t.Fatal(err)
		}
		requests := 0
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
				continue
			}
			requests++
			for _, server := range servers {
				if recorded.Cell(line, server) == "" {
					t.Errorf("%s: nothing is recorded of %s at %s", name, line, server)
				}
			}
		}
		if requests < 250 {
			t.Errorf("%d requests, want 250 and more", requests)
		}
	}
}
