package main_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/test/bench/report"
)

// build makes a binary of this module.
func build(t *testing.T, dir, name, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// The whole bench, on a small scale: all servers, the real Envoy, every
// scenario with every answer looked at, and all that it writes.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("page.md"), []byte("before\n"+report.Begin+" -->\nwhat was\n"+report.End+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bench := exec.CommandContext(t.Context(), build(t, dir, "bench", "."),
		"-ussoauthz", build(t, dir, "ussoauthz", "../../cmd/ussoauthz"), "-floor", build(t, dir, "floor", "./floor"),
		"-trial", "-rounds", "2", "-seconds", "0.02", "-json", file("o.json"), "-chart", file("o.svg"), "-page", file("page.md"))
	bench.Dir = filepath.Join("..", "..") // where Envoy's cache is
	var stdout, stderr bytes.Buffer
	bench.Stdout, bench.Stderr = &stdout, &stderr
	if err := bench.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var r report.Report
	text, err := os.ReadFile(file("o.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	checkScenarios(t, r)
	checkEdges(t, r)
	if r.Start == nil || r.Start.Seconds.Median <= 0 {
		t.Errorf("start: %+v", r.Start)
	}
	if r.Memory == nil || r.Memory.Size.Now < 10<<20 || r.Memory.Hot <= 0 || r.Memory.Cold <= r.Memory.Hot {
		t.Errorf("memory: %+v: want tokens that cost less the second time", r.Memory)
	}
	for _, g := range r.Goals {
		if g.Got == nil {
			t.Errorf("goal %q was not measured", g.What)
		}
		if !strings.Contains(stdout.String(), g.What) {
			t.Errorf("the table does not tell of %q", g.What)
		}
	}
	checkChart(t, file("o.svg"))
	page, err := os.ReadFile(file("page.md"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(page); !strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, "\nafter\n") || strings.Contains(s, "what was") || !strings.Contains(s, report.Cold) {
		t.Errorf("the page became\n%s", s)
	}
}

func checkScenarios(t *testing.T, r report.Report) {
	t.Helper()
	if n := len(r.Scenarios); n != 17 {
		t.Errorf("%d scenarios, want 17", n)
	}
	for _, s := range r.Scenarios {
		if s.Floor.Checks == 0 || s.Ours.Checks == 0 || s.Floor.CPU.Low <= 0 || s.Ours.CPU.Low <= 0 || s.Ours.P99.Median < s.Ours.P50.Median || s.Ratio.Median <= 0 {
			t.Errorf("%s: %+v", s.Name, s)
		}
	}
	if r.Verify.Median < 5 || r.Verify.Median > 5000 {
		t.Errorf("a verification takes %v µs", r.Verify.Median)
	}
	if r.LogWritten == 0 {
		t.Error("no record of the decision log was written")
	}
	if r.GeneratedAllocs < 50 {
		t.Errorf("%v allocations of the generated types", r.GeneratedAllocs)
	}
}

func checkEdges(t *testing.T, r report.Report) {
	t.Helper()
	if len(r.Edges) != 12 {
		t.Errorf("%d ways through Envoy, want 12", len(r.Edges))
	}
	for _, e := range r.Edges {
		alone := e.Name == report.EnvoyAlone || e.Name == report.EnvoyAlone1
		if e.Checks == 0 || e.CPU.Low <= 0 || alone != (e.Added == nil) {
			t.Errorf("%s: %+v", e.Name, e)
		}
	}
}

// checkChart wants well-formed XML with a bar for the floor's scenarios.
func checkChart(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	bars := 0
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars < 20 {
		t.Errorf("a chart of %d rectangles", bars)
	}
}

// What can't be measured is said at once.
func TestBenchRefuses(t *testing.T) {
	path := build(t, t.TempDir(), "bench", ".")
	for name, args := range map[string][]string{
		"no rounds":         {"-rounds", "0"},
		"no time":           {"-seconds", "0"},
		"words":             {"hot"},
		"no expression":     {"-only", "("},
		"nothing that fits": {"-only", "no such scenario"},
		"no such binary":    {"-only", "hot", "-floor", "/nowhere/floor"},
		"an unknown flag":   {"-fast"},
	} {
		if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}
