package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The sizing of docs/scale.md stands on what docs/performance.md measured: the
// same rows, rounded, and not out of date.
func TestSizing(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root(t), "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	number := func(text string) float64 {
		n, err := strconv.ParseFloat(strings.ReplaceAll(text, ",", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	near := func(a, b float64) bool { return a < 1.25*b && b < 1.25*a }
	measured := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| 32 \| [\d.]+ \| ([\d.]+) \|`).FindAllStringSubmatch(read("performance.md"), -1) {
		measured[m[1]] = number(m[2])
	}
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \| (\d+) \| (\d+,\d{3}) \|$`).FindAllStringSubmatch(read("scale.md"), -1)
	if len(rows) < 5 {
		t.Fatalf("docs/scale.md has %d rows of checks", len(rows))
	}
	for _, m := range rows {
		micros, checks := number(m[2]), number(m[3])
		if !near(micros, measured[m[1]]) {
			t.Errorf("%s: %v µs, measured %v", m[1], micros, measured[m[1]])
		}
		if !near(checks, 1e6/micros) {
			t.Errorf("%s: %v µs are not %v checks in a second", m[1], micros, checks)
		}
	}
}
