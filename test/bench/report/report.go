// Package report holds the bench's figures and shows them: as a table, as a
// chart, and in the page of the documentation.
package report

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/ussoio/ussoauthz/test/bench/measure"
)

// Report is one run of the bench.
type Report struct {
	When      time.Time     `json:"when"`
	Go        string        `json:"go"`
	CPUs      int           `json:"cpus"`
	Rounds    int           `json:"rounds"`
	Each      time.Duration `json:"each_ns"` // of a server in a round
	Scenarios []Scenario    `json:"scenarios"`
	Skipped   []string      `json:"skipped,omitempty"` // what this version of the service has no configuration for

	// Verify is one bare verification of an Ed25519 signature, in microseconds.
	Verify measure.Summary `json:"ed25519_verify_us"`
}

// Sample is one round of one server.
type Sample struct {
	Checks int
	CPU    time.Duration // of the server, per check
	P50    time.Duration
	P99    time.Duration
	Rate   float64 // checks per second
}

// Server is what the rounds of a server come to. Times are microseconds.
type Server struct {
	Checks int             `json:"checks"`
	CPU    measure.Summary `json:"cpu_us"`
	P50    measure.Summary `json:"p50_us"`
	P99    measure.Summary `json:"p99_us"`
	Rate   measure.Summary `json:"rate"`
}

// Scenario is a kind of load, with the two servers side by side.
type Scenario struct {
	Name     string          `json:"name"`
	InFlight int             `json:"in_flight"`
	Floor    Server          `json:"floor"`
	Ours     Server          `json:"ours"`
	Ratio    measure.Summary `json:"ratio"` // of the CPU, of each round
}

// New begins a report.
func New(rounds int, each time.Duration) *Report {
	return &Report{When: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: rounds, Each: each}
}

// Add adds a scenario from the samples of its rounds: as many of the floor as
// of ours.
func (r *Report) Add(name string, inFlight int, floor, ours []Sample) {
	ratios := make([]float64, len(ours))
	for i := range ratios {
		ratios[i] = float64(ours[i].CPU) / float64(floor[i].CPU)
	}
	r.Scenarios = append(r.Scenarios, Scenario{
		Name: name, InFlight: inFlight, Floor: serverOf(floor), Ours: serverOf(ours), Ratio: measure.Summarize(ratios),
	})
}

// AddVerify adds the cost of a bare verification, one value for each round.
func (r *Report) AddVerify(rounds []time.Duration) {
	values := make([]float64, len(rounds))
	for i, d := range rounds {
		values[i] = micros(d)
	}
	r.Verify = measure.Summarize(values)
}

func serverOf(samples []Sample) (s Server) {
	summary := func(value func(Sample) float64) measure.Summary {
		values := make([]float64, len(samples))
		for i, sample := range samples {
			values[i] = value(sample)
		}
		return measure.Summarize(values)
	}
	for _, sample := range samples {
		s.Checks += sample.Checks
	}
	s.CPU = summary(func(s Sample) float64 { return micros(s.CPU) })
	s.P50 = summary(func(s Sample) float64 { return micros(s.P50) })
	s.P99 = summary(func(s Sample) float64 { return micros(s.P99) })
	s.Rate = summary(func(s Sample) float64 { return s.Rate })
	return s
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Table writes the figures for a terminal.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scenario\tin flight\tfloor µs\tours µs\tratio\tlow\thigh\tfloor p50\tp99\tours p50\tp99\tours/s\t")
	for _, s := range r.Scenarios {
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t\n",
			s.Name, s.InFlight, s.Floor.CPU.Median, s.Ours.CPU.Median, s.Ratio.Median, s.Ratio.Low, s.Ratio.High,
			s.Floor.P50.Median, s.Floor.P99.Median, s.Ours.P50.Median, s.Ours.P99.Median, s.Ours.Rate.Median)
	}
	fmt.Fprintf(t, "one bare ed25519.Verify\t\t\t%.2f\t\t%.2f\t%.2f\t\t\t\t\t\t\n", r.Verify.Median, r.Verify.Low, r.Verify.High)
	return t.Flush()
}
