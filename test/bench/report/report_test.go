package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/measure"
	"github.com/ussoio/ussoauthz/test/bench/report"
)

func rounds(cpu ...time.Duration) []report.Sample {
	list := make([]report.Sample, len(cpu))
	for i, c := range cpu {
		list[i] = report.Sample{Checks: 100, CPU: c * time.Microsecond, P50: time.Millisecond, P99: 2 * time.Millisecond, Rate: 1000, Allocs: float64(100 + c)}
	}
	return list
}

// full is a report whose figures are easy to follow.
func full() *report.Report {
	r := report.New(3, time.Second, false)
	r.GeneratedAllocs = 20
	r.Add(report.Hot, 32, rounds(40, 50, 100), rounds(40, 45, 50))
	r.Add(report.Cold, 32, rounds(40, 40, 40), rounds(140, 160, 150))
	r.Add(report.OneTenant, 32, rounds(40, 40, 40), rounds(100, 100, 100))
	r.Add(report.ManyTenants, 32, rounds(40, 40, 40), rounds(105, 120, 130))
	r.AddVerify([]time.Duration{90 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond})
	r.AddEdge(report.EnvoyAlone, 32, rounds(40, 50, 60))
	r.AddEdge(report.EnvoyJWT, 32, rounds(120, 130, 140))
	r.AddEdge(report.EnvoyFloor, 32, rounds(140, 150, 160))
	r.AddEdge(report.EnvoyOurs, 32, rounds(130, 140, 170))
	r.AddStart(10_000, 5000, []time.Duration{3 * time.Second, time.Second, 1500 * time.Millisecond})
	r.Memory = &report.Memory{Tenants: 10, Tokens: 20, Size: measure.Memory{Now: 300 << 20, Peak: 500 << 20}}
	r.Goals = r.Judge()
	return r
}

// Each goal is computed from what belongs together: the servers of one round.
func TestGoals(t *testing.T) {
	want := map[string]struct {
		median  float64
		verdict string
	}{
		"hot token, default policy, metrics on":      {0.9, "yes"},
		report.Cold:                                  {1.1, "yes, and the stretch"},
		"10,000 tenants":                             {1.2, "no"},
		"added to a request through Envoy":           {0.9, "yes"},
		"the same":                                   {1.125, "no"},
		"start with 10,000 tenants and 5,000 routes": {1.5, "yes"},
		"allocations of ours on a hot check":         {15, "no"},
		"resident size of 10,000 tenants with 10 keys each and 100,000 cached tokens": {300, "yes"},
	}
	for _, g := range full().Goals {
		w, measured := want[g.What]
		if !measured {
			if g.Got != nil || g.Verdict() != "not measured" || g.Reached() {
				t.Errorf("%s: %v, %s: nothing was measured", g.What, g.Got, g.Verdict())
			}
			continue
		}
		delete(want, g.What)
		if g.Got == nil {
			t.Errorf("%s: not measured", g.What)
			continue
		}
		if d := g.Got.Median - w.median; d < -1e-9 || d > 1e-9 || g.Verdict() != w.verdict {
			t.Errorf("%s: %v, %s; want %v, %s", g.What, g.Got.Median, g.Verdict(), w.median, w.verdict)
		}
	}
	for name := range want {
		t.Errorf("no goal %q", name)
	}
}

// A server that does not tell its allocations has none that count.
func TestUnknownAllocations(t *testing.T) {
	r := report.New(1, time.Second, false)
	r.GeneratedAllocs = 20
	silent := rounds(40)
	silent[0].Allocs = 0
	r.Add(report.Hot, 32, rounds(40), silent)
	for _, g := range r.Judge() {
		if strings.HasPrefix(g.What, "allocations") && g.Got != nil {
			t.Errorf("%v allocations of a server that does not tell", g.Got)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := full().Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"hot token 32 50.00 45.00 0.90 0.50 1.00 1000 2000 1000 2000 1000 150 145",
		"one bare ed25519.Verify 100.00 90.00 200.00",
		"Envoy: ussoauthz 32 140.00 0.00 90.00 90.00 110.00 1000 2000 1000",
	} {
		if !contains(b.String(), line) {
			t.Errorf("no line %q in\n%s", line, b.String())
		}
	}
}

// contains finds a line whatever its blanks are.
func contains(text, line string) bool {
	for l := range strings.Lines(text) {
		if strings.Join(strings.Fields(l), " ") == line {
			return true
		}
	}
	return false
}

func TestPage(t *testing.T) {
	const frame = "# Title\n\n" + report.Begin + " -->\nwhat was\n" + report.End + "\n\nThe end.\n"
	page, err := full().Page(frame)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Title\n\n" + report.Begin + " -->\n",
		"| hot token | 32 | 50.0 | 45.0 | 0.90 (0.50 to 1.00) |",
		"| ussoauthz | 32 | 140.0 | 0.0 | 90.0 (90.0 to 110.0) |",
		"| hot token, default policy, metrics on, floors | 1 | 0.85 | 0.90 (0.50 to 1.00) | yes |",
		report.End + "\n\nThe end.\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if strings.Contains(page, "what was") {
		t.Errorf("the old part is still there:\n%s", page)
	}
	again, err := full().Page(page)
	if err != nil || len(again) != len(page) {
		t.Errorf("a second time changes the page (%v): %d bytes, then %d", err, len(page), len(again))
	}
	for name, broken := range map[string]string{"empty": "", "no end": report.Begin + " -->\n", "no begin": report.End, "the wrong order": report.End + "\n" + report.Begin} {
		if got, err := full().Page(broken); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestSVG(t *testing.T) {
	r := full()
	r.Add("<evil> & \"co\"", 32, rounds(40), rounds(80))
	texts := map[string]bool{}
	rects := 0
	for d := xml.NewDecoder(strings.NewReader(r.SVG())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "rect" {
				rects++
			}
		case xml.CharData:
			texts[string(e)] = true
		}
	}
	if rects != 1+5+3 { // the ground, the checks, the ways that add something
		t.Errorf("%d rectangles, want 9", rects)
	}
	for _, want := range []string{report.Hot, "0.90", "2.00", "<evil> & \"co\"", "the floor", "100 µs"} {
		if !texts[want] {
			t.Errorf("no text %q in the chart: %v", want, texts)
		}
	}
	if texts["no authorization"] {
		t.Error("a bar for what adds nothing")
	}
}
