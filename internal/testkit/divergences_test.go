package testkit

import (
	"fmt"
	"strings"
	"testing"
)

const divergences = `# Divergences

## One

| case | there | here | why |
|---|---|---|---|
| ` + "`a`, `b, c`" + ` | accepts | refuses | because |

## Two

| ` + "`d`" + ` | refuses | accepts | since |
`

func TestDivergences(t *testing.T) {
	d, err := parseDivergences(divergences, "One")
	if err != nil {
		t.Fatal(err)
	}
	if d.Len() != 2 || d.Find("d") != nil {
		t.Errorf("%d cases of section One, d among them: %v", d.Len(), d.Find("d"))
	}
	if row := d.Find("b, c"); row == nil || row.There != "accepts" || row.Here != "refuses" || row.Why != "because" || row.String() != "docs/divergences.md:7" {
		t.Errorf("the row of %q: %+v", "b, c", row)
	}
	var report recorder
	d.Finish(&report)
	if len(report.errors) != 1 || !strings.Contains(report.errors[0], `"a"`) {
		t.Errorf("a row that nobody looked up: %q", report.errors)
	}
}

func TestDivergencesThatAreUnreadable(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "no rows",
		"| `a` | accepts | refuses |":    "3 cells",
		"| `a` | accepts |  | because |": "empty",
		"| `a`, `a` | x | y | z |":       "two rows",
		"| `a` | x | y | z |\n| `a` | x | y | z |": ":3: the case",
	} {
		if _, err := parseDivergences("## One\n"+text, "One"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// recorder takes the errors that a helper reports.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
