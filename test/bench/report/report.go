// Package report holds the bench's figures and shows them: as a table, as a
// chart, and in the page of the documentation.
package report

import (
	"runtime"
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
	Edges     []Edge        `json:"edges"`
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

// Edge is a way through Envoy. The processor time is Envoy's and that of the
// service that it asks.
type Edge struct {
	Name     string           `json:"name"`
	InFlight int              `json:"in_flight"`
	Server                    // of both
	Added    *measure.Summary `json:"added_us,omitempty"` // to what Envoy costs alone, of each round
	rounds   []Sample
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

// AddEdge adds a way through Envoy. Envoy alone comes before all with as many
// in flight.
func (r *Report) AddEdge(name string, inFlight int, rounds []Sample) {
	e := Edge{Name: name, InFlight: inFlight, Server: serverOf(rounds), rounds: rounds}
	if alone := r.alone(inFlight); alone != nil {
		added := make([]float64, len(rounds))
		for i := range added {
			added[i] = micros(rounds[i].CPU - alone.rounds[i].CPU)
		}
		s := measure.Summarize(added)
		e.Added = &s
	}
	r.Edges = append(r.Edges, e)
}

// alone finds Envoy without authorization.
func (r *Report) alone(inFlight int) *Edge {
	for i, e := range r.Edges {
		if e.InFlight == inFlight && (e.Name == EnvoyAlone || e.Name == EnvoyAlone1) {
			return &r.Edges[i]
		}
	}
	return nil
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
