package report

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// bar is one line of a chart.
type bar struct {
	label string
	value float64
	text  string
	color string
}

const (
	ours  = "#2563a8"
	other = "#9aa5b1"

	chartWidth = 860
	labelWidth = 300
	barWidth   = 440
	lineHeight = 22
)

// SVG draws the report: each scenario's cost in floors, and what each way
// through Envoy adds to a request.
func (r *Report) SVG() string {
	var checks, edges []bar
	for _, s := range r.Scenarios {
		if s.Name != HotHalf { // about latency
			checks = append(checks, bar{s.Name, s.Ratio.Median, fmt.Sprintf("%.2f", s.Ratio.Median), ours})
		}
	}
	for _, e := range r.Edges {
		if e.Added == nil || e.InFlight == 1 || e.Name == EnvoyAlone {
			continue
		}
		b := bar{strings.TrimPrefix(e.Name, "Envoy: "), e.Added.Median, fmt.Sprintf("%.0f µs", e.Added.Median), other}
		if e.Name == EnvoyOurs || e.Name == EnvoyOurs1000 {
			b.color = ours
		}
		edges = append(edges, b)
	}
	var body strings.Builder
	y := 10
	y = panel(&body, y, "Processor time of a check, in floors (1 = a bare gRPC server that looks at nothing)", checks, 1)
	y = panel(&body, y, "Processor time that a request through Envoy costs more, Envoy and service together", edges, 0)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13">
<rect width="100%%" height="100%%" fill="#ffffff"/>
%s</svg>
`, chartWidth, y, chartWidth, y, body.String())
}

// panel draws bars from y on and returns where the next panel begins. A mark
// draws a line at that value.
func panel(w *strings.Builder, y int, title string, bars []bar, mark float64) int {
	if len(bars) == 0 {
		return y
	}
	most := mark
	for _, b := range bars {
		most = max(most, b.value)
	}
	x := func(v float64) float64 { return labelWidth + max(v, 0)/most*barWidth }
	fmt.Fprintf(w, "<text x=\"10\" y=\"%d\" font-weight=\"600\">%s</text>\n", y+16, escape(title))
	y += 30
	for i, b := range bars {
		top := y + i*lineHeight
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-8, top+14, escape(b.label))
		fmt.Fprintf(w, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", labelWidth, top+2, x(b.value)-labelWidth, lineHeight-6, b.color)
		fmt.Fprintf(w, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", x(b.value)+6, top+14, escape(b.text))
	}
	end := y + len(bars)*lineHeight
	if mark > 0 {
		fmt.Fprintf(w, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#b91c1c\" stroke-dasharray=\"4 3\"/>\n", x(mark), y-2, x(mark), end)
	}
	return end + 16
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a builder takes it
	return b.String()
}
