package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Divergence is a row of docs/divergences.md: a deliberate difference from
// another program, and the test cases that show it.
type Divergence struct {
	Cases            []string
	There, Here, Why string
	line             int
}

func (d *Divergence) String() string { return fmt.Sprintf("docs/divergences.md:%d", d.line) }

// Divergences are the rows of one section of the page. They are what the tests
// of the section expect to differ: each case looks its row up with Find, and
// Finish reports the rows whose cases do not exist.
type Divergences struct {
	rows   []*Divergence
	byCase map[string]*Divergence
	found  map[string]bool
}

// ReadDivergences reads the tables of a section, a heading of the second level.
// Their columns are: cases as code, the other program, ussoauthz, the reason.
func ReadDivergences(t testing.TB, section string) *Divergences {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot(t), "docs", "divergences.md"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseDivergences(string(text), section)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

func parseDivergences(text, section string) (*Divergences, error) {
	d := &Divergences{byCase: map[string]*Divergence{}, found: map[string]bool{}}
	inside := false
	for i, line := range strings.Split(text, "\n") {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			inside = heading == section
		}
		if !inside || !strings.HasPrefix(line, "| `") {
			continue
		}
		if err := d.add(line, i+1); err != nil {
			return nil, fmt.Errorf("docs/divergences.md:%d: %w", i+1, err)
		}
	}
	if len(d.rows) == 0 {
		return nil, fmt.Errorf("docs/divergences.md has no rows in a section %q", section)
	}
	return d, nil
}

func (d *Divergences) add(line string, number int) error {
	cells := strings.Split(strings.Trim(line, "| "), " | ")
	if len(cells) != 4 {
		return fmt.Errorf("%d cells, want 4: cases, there, here, why", len(cells))
	}
	row := &Divergence{There: cells[1], Here: cells[2], Why: cells[3], line: number}
	if slices.ContainsFunc(cells, func(cell string) bool { return strings.TrimSpace(cell) == "" }) {
		return errors.New("a cell is empty")
	}
	for _, m := range codeSpan.FindAllStringSubmatch(cells[0], -1) {
		if d.byCase[m[1]] != nil {
			return fmt.Errorf("the case %q has two rows", m[1])
		}
		d.byCase[m[1]] = row
		row.Cases = append(row.Cases, m[1])
	}
	d.rows = append(d.rows, row)
	return nil
}

// Len returns the number of cases that are expected to differ.
func (d *Divergences) Len() int { return len(d.byCase) }

// Cases returns the names of the cases that are expected to differ, sorted.
func (d *Divergences) Cases() []string {
	var names []string
	for _, row := range d.rows {
		names = append(names, row.Cases...)
	}
	slices.Sort(names)
	return names
}

// Find returns the row of a case, or nil if it is not expected to differ.
func (d *Divergences) Find(name string) *Divergence {
	d.found[name] = true
	return d.byCase[name]
}

// Finish reports the rows that name a case which Find was never called with.
func (d *Divergences) Finish(t testing.TB) {
	t.Helper()
	for _, row := range d.rows {
		for _, name := range row.Cases {
			if !d.found[name] {
				t.Errorf("%v names the case %q, and there is no such test case", row, name)
			}
		}
	}
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the working directory")
	}
}
