package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Text writes the results for people, and a line that counts them.
func Text(w io.Writer, color bool, results []Result) error {
	var b strings.Builder
	counts := map[Outcome]int{}
	for _, r := range results {
		counts[r.Outcome]++
		fmt.Fprintf(&b, "%s  %s: %s\n", mark(r.Outcome, color), r.Tenant, r.summary())
		for _, p := range r.Problems {
			fmt.Fprintf(&b, "      %s: %s\n", p.Stage, terminal.Printable(p.Text))
			if p.Advice != "" {
				fmt.Fprintf(&b, "        %s\n", terminal.Printable(p.Advice))
			}
		}
	}
	fmt.Fprintf(&b, "%d ok, %d with warnings, %d failed, %d not asked\n", counts[OK], counts[Warned], counts[Failed], counts[Skipped])
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) summary() string {
	switch r.Outcome {
	case Skipped:
		return "not asked, the keys are in " + terminal.Printable(r.Source)
	case Failed:
		return terminal.Printable(r.Source)
	}
	var algorithms []jwtverify.Algorithm
	for _, k := range r.Keys {
		algorithms = append(algorithms, k.Algorithms...)
	}
	slices.Sort(algorithms)
	keys := "1 key"
	if len(r.Keys) != 1 {
		keys = fmt.Sprintf("%d keys", len(r.Keys))
	}
	return fmt.Sprintf("%s for %v from %s, in %d ms", keys, slices.Compact(algorithms), terminal.Printable(r.Source), r.TookMS)
}

func mark(o Outcome, color bool) string {
	switch o {
	case OK:
		return terminal.Green.Paint(color, "ok") + "  "
	case Failed:
		return terminal.Red.Paint(color, "FAIL")
	case Warned:
		return terminal.Bold.Paint(color, "warn")
	}
	return terminal.Dim.Paint(color, "skip")
}
