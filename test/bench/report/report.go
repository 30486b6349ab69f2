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
	Each      time.Duration `json:"each_ns"`         // of a server in a round
	Trial     bool          `json:"trial,omitempty"` // of the bench: the figures say nothing
	Scenarios []Scenario    `json:"scenarios"`
	Edges     []Edge        `json:"edges"`

	Start  *Start  `json:"start,omitempty"`
	Memory *Memory `json:"memory,omitempty"`

	// Records of the decision log that were written, and those for which there
	// was no room: dropping is cheaper than writing.
	LogWritten float64 `json:"decision_log_written,omitempty"`
	LogDropped float64 `json:"decision_log_dropped,omitempty"`

	// GeneratedAllocs are the allocations of the floor that are not grpc-go's:
	// to read a CheckRequest into the generated types, and to write an answer.
	GeneratedAllocs float64 `json:"generated_allocs,omitempty"`

	// Verify is one bare verification of an Ed25519 signature, in microseconds.
	Verify measure.Summary `json:"ed25519_verify_us"`

	Goals []Goal `json:"goals"`
}

// Sample is one round of one server.
type Sample struct {
	Checks int
	CPU    time.Duration // of the server, per check
	Authz  time.Duration // the service's part of it, behind Envoy
	P50    time.Duration
	P99    time.Duration
	Rate   float64 // checks per second
	Allocs float64 // per check; 0: unknown
}

// Server is what the rounds of a server come to. Times are microseconds.
type Server struct {
	Checks int             `json:"checks"`
	CPU    measure.Summary `json:"cpu_us"`
	P50    measure.Summary `json:"p50_us"`
	P99    measure.Summary `json:"p99_us"`
	Rate   measure.Summary `json:"rate"`
	Allocs float64         `json:"allocs,omitempty"` // per check, the median; 0: unknown
}

// Scenario is a kind of load, with the two servers side by side.
type Scenario struct {
	Name     string          `json:"name"`
	InFlight int             `json:"in_flight"`
	Floor    Server          `json:"floor"`
	Ours     Server          `json:"ours"`
	Ratio    measure.Summary `json:"ratio"` // of the CPU, of each round

	floor, ours []Sample // of each round
}

// Edge is a way through Envoy. The processor time is Envoy's and that of the
// service that it asks.
type Edge struct {
	Name     string           `json:"name"`
	InFlight int              `json:"in_flight"`
	Server                    // of both
	Authz    measure.Summary  `json:"authz_us"`           // the service's part
	Added    *measure.Summary `json:"added_us,omitempty"` // to what Envoy costs alone, of each round
	rounds   []Sample
	added    []float64
}

// Start is how long the service takes until it is ready.
type Start struct {
	Tenants int             `json:"tenants"`
	Routes  int             `json:"routes"`
	Seconds measure.Summary `json:"seconds"`
}

// Memory is the service's size with much in it.
type Memory struct {
	Tenants int            `json:"tenants"`
	Keys    int            `json:"keys"` // of each tenant
	Tokens  int            `json:"tokens"`
	Size    measure.Memory `json:"resident_bytes"`
	Cold    float64        `json:"cold_us"` // a check with a new token, and with the same one again,
	Hot     float64        `json:"hot_us"`  // which shows that it was kept
	rounds  int
}

// Add adds the costs of a group of tokens to the means.
func (m *Memory) Add(cold, hot Sample) {
	m.rounds++
	m.Cold += (micros(cold.CPU) - m.Cold) / float64(m.rounds)
	m.Hot += (micros(hot.CPU) - m.Hot) / float64(m.rounds)
}

// New begins a report.
func New(rounds int, each time.Duration, trial bool) *Report {
	return &Report{When: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: rounds, Each: each, Trial: trial}
}

// Empty reports whether nothing was measured.
func (r *Report) Empty() bool {
	return len(r.Scenarios)+len(r.Edges) == 0 && r.Start == nil && r.Memory == nil
}

// Add adds a scenario from the samples of its rounds: as many of the floor as
// of ours.
func (r *Report) Add(name string, inFlight int, floor, ours []Sample) {
	ratio := rounds(ours, floor, func(ours, floor Sample) float64 { return float64(ours.CPU) / float64(floor.CPU) })
	r.Scenarios = append(r.Scenarios, Scenario{
		Name: name, InFlight: inFlight, Floor: serverOf(floor), Ours: serverOf(ours), Ratio: *ratio, floor: floor, ours: ours,
	})
}

// AddStart adds the times of some starts.
func (r *Report) AddStart(tenants, routes int, took []time.Duration) {
	seconds := make([]float64, len(took))
	for i, d := range took {
		seconds[i] = d.Seconds()
	}
	r.Start = &Start{Tenants: tenants, Routes: routes, Seconds: measure.Summarize(seconds)}
}

// AddEdge adds a way through Envoy. Envoy alone comes before all with as many
// in flight.
func (r *Report) AddEdge(name string, inFlight int, samples []Sample) {
	e := Edge{
		Name: name, InFlight: inFlight, Server: serverOf(samples), rounds: samples,
		Authz: *rounds(samples, samples, func(s, _ Sample) float64 { return micros(s.Authz) }),
	}
	if alone := r.alone(inFlight); alone != nil {
		for i := range samples {
			e.added = append(e.added, micros(samples[i].CPU-alone.rounds[i].CPU))
		}
		s := measure.Summarize(e.added)
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
	s.Allocs = summary(func(s Sample) float64 { return s.Allocs }).Median
	s.Rate = summary(func(s Sample) float64 { return s.Rate })
	return s
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
