package report

import (
	"fmt"
	"strings"

	"github.com/ussoio/ussoauthz/test/bench/measure"
)

// The part of a page between these lines is the bench's.
const (
	Begin = "<!-- make bench DOCS=1 writes from here"
	End   = "<!-- to here -->"
)

// Page returns a page with its generated part replaced by this report.
func (r *Report) Page(page string) (string, error) {
	before, rest, found := strings.Cut(page, Begin)
	mark, rest, closed := strings.Cut(rest, "\n")
	_, after, ended := strings.Cut(rest, End)
	if !found || !closed || !ended {
		return "", fmt.Errorf("the page has no lines %q and %q", Begin, End)
	}
	return before + Begin + mark + "\n" + r.Markdown() + End + after, nil
}

// Markdown is the report as it stands in the documentation.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nMeasured on %s, %d cores, %s: %d rounds of %v for each server. Figures are medians, with the lowest and the highest round in brackets.\n\n",
		r.When.Format("2006-01-02"), r.CPUs, r.Go, r.Rounds, r.Each)
	if r.Trial {
		b.WriteString("**A trial of the bench itself: these figures say nothing.**\n\n")
	}
	r.goalsTable(&b)
	if len(r.Scenarios) > 0 {
		r.checksTable(&b)
	}
	if len(r.Edges) > 0 {
		r.edgesTable(&b)
	}
	if m := r.Memory; m != nil {
		fmt.Fprintf(&b, "With %d tenants of %d keys each and %d verified tokens the process takes %d MiB of memory, %d at its peak. There a check with a new token costs %.0f µs, and with the same token again %.0f µs.\n\n",
			m.Tenants, m.Keys, m.Tokens, m.Size.Now>>20, m.Size.Peak>>20, m.Cold, m.Hot)
	}
	return b.String()
}

func (r *Report) goalsTable(b *strings.Builder) {
	b.WriteString("| goal | at most | stretch | measured | reached |\n|---|---|---|---|---|\n")
	for _, g := range r.Goals {
		got := ""
		if g.Got != nil {
			got = spread(*g.Got, 2)
		}
		fmt.Fprintf(b, "| %s, %s | %s | %s | %s | %s |\n", g.What, g.Unit, bound(g.AtMost), bound(g.Stretch), got, g.Verdict())
	}
	b.WriteString("\n")
}

func (r *Report) checksTable(b *strings.Builder) {
	b.WriteString("| check | in flight | floor, µs of CPU | ours, µs of CPU | ours / floor | floor p50, p99 µs | ours p50, p99 µs | ours per s |\n|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Scenarios {
		fmt.Fprintf(b, "| %s | %d | %.1f | %.1f | %s | %.0f, %.0f | %.0f, %.0f | %.0f |\n", s.Name, s.InFlight,
			s.Floor.CPU.Median, s.Ours.CPU.Median, spread(s.Ratio, 2),
			s.Floor.P50.Median, s.Floor.P99.Median, s.Ours.P50.Median, s.Ours.P99.Median, s.Ours.Rate.Median)
	}
	fmt.Fprintf(b, "\nOne bare `ed25519.Verify` took %s µs.\n\n", spread(r.Verify, 1))
	if r.LogWritten > 0 {
		fmt.Fprintf(b, "The decision log wrote %.0f records and dropped %.0f.\n\n", r.LogWritten, r.LogDropped)
	}
}

func (r *Report) edgesTable(b *strings.Builder) {
	b.WriteString("| through Envoy | in flight | µs of CPU | the service's part | added µs | p50, p99 µs | per s |\n|---|---|---|---|---|---|---|\n")
	for _, e := range r.Edges {
		added := ""
		if e.Added != nil && e.Name != EnvoyAlone && e.Name != EnvoyAlone1 {
			added = spread(*e.Added, 1)
		}
		fmt.Fprintf(b, "| %s | %d | %.1f | %.1f | %s | %.0f, %.0f | %.0f |\n", strings.TrimPrefix(e.Name, "Envoy: "), e.InFlight,
			e.CPU.Median, e.Authz.Median, added, e.P50.Median, e.P99.Median, e.Rate.Median)
	}
	b.WriteString("\n")
}

func spread(s measure.Summary, places int) string {
	return fmt.Sprintf("%.*f (%.*f to %.*f)", places, s.Median, places, s.Low, places, s.High)
}

func bound(v float64) string {
	if v == 0 {
		return ""
	}
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}
