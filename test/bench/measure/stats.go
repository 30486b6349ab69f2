package measure

import (
	"slices"
	"time"
)

// Summary is the middle of several rounds, and how far they lie apart.
type Summary struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Summarize returns the median, the least and the most. It needs one value at
// least.
func Summarize(values []float64) Summary {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Summary{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Low: sorted[0], High: sorted[n-1]}
}

// Quantile returns the value that the fraction q of them does not exceed
// (nearest rank). It sorts its argument; without any it returns 0.
func Quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := int(q*float64(len(values))+0.999999) - 1
	return values[min(max(rank, 0), len(values)-1)]
}
