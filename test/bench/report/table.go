package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table writes the figures for a terminal.
func (r *Report) Table(w io.Writer) error {
	for _, table := range []func(io.Writer){r.checkRows, r.edgeRows, r.goalRows} {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		table(t)
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) checkRows(t io.Writer) {
	if len(r.Scenarios) == 0 {
		return
	}
	row(t, "check", "in flight", "floor µs", "ours µs", "ratio", "low", "high", "floor p50", "p99", "ours p50", "p99", "ours/s", "floor allocs", "ours")
	for _, s := range r.Scenarios {
		row(t, s.Name, s.InFlight, s.Floor.CPU.Median, s.Ours.CPU.Median, s.Ratio.Median, s.Ratio.Low, s.Ratio.High,
			whole(s.Floor.P50.Median), whole(s.Floor.P99.Median), whole(s.Ours.P50.Median), whole(s.Ours.P99.Median), whole(s.Ours.Rate.Median),
			whole(s.Floor.Allocs), whole(s.Ours.Allocs))
	}
	row(t, "one bare ed25519.Verify", "", "", r.Verify.Median, "", r.Verify.Low, r.Verify.High, "", "", "", "", "", "", "")
	row(t)
}

func (r *Report) edgeRows(t io.Writer) {
	if len(r.Edges) == 0 {
		return
	}
	row(t, "through Envoy", "in flight", "µs", "service's", "added µs", "low", "high", "p50", "p99", "per s")
	for _, e := range r.Edges {
		var added, low, high any = "", "", ""
		if e.Added != nil {
			added, low, high = e.Added.Median, e.Added.Low, e.Added.High
		}
		row(t, e.Name, e.InFlight, e.CPU.Median, e.Authz.Median, added, low, high, whole(e.P50.Median), whole(e.P99.Median), whole(e.Rate.Median))
	}
	row(t)
}

func (r *Report) goalRows(t io.Writer) {
	row(t, "goal", "at most", "stretch", "measured", "low", "high", "reached")
	for _, g := range r.Goals {
		var got, low, high any = "", "", ""
		if g.Got != nil {
			got, low, high = g.Got.Median, g.Got.Low, g.Got.High
		}
		row(t, g.What+", "+g.Unit, bound(g.AtMost), bound(g.Stretch), got, low, high, g.Verdict())
	}
}

// whole is a figure whose decimals say nothing.
type whole float64

// row writes cells, decimals with two places.
func row(w io.Writer, cells ...any) {
	for _, c := range cells {
		switch v := c.(type) {
		case float64:
			fmt.Fprintf(w, "%.2f\t", v)
		case whole:
			fmt.Fprintf(w, "%.0f\t", float64(v))
		default:
			fmt.Fprintf(w, "%v\t", v)
		}
	}
	fmt.Fprintln(w) // a tabwriter tells at its Flush what went wrong
}
