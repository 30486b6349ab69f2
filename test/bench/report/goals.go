package report

import (
	"github.com/ussoio/ussoauthz/test/bench/measure"
)

// Goal is a bound that the service is to keep.
type Goal struct {
	What    string           `json:"what"`
	Unit    string           `json:"unit"`
	AtMost  float64          `json:"at_most,omitempty"` // 0: only the stretch counts
	Stretch float64          `json:"stretch,omitempty"` // what would be better still; 0: nothing
	Got     *measure.Summary `json:"got,omitempty"`     // nil: not measured
}

// Reached reports whether the median keeps the bound.
func (g Goal) Reached() bool { return g.Got != nil && g.Got.Median <= max(g.AtMost, g.Stretch) }

// Verdict is the outcome in a word or two.
func (g Goal) Verdict() string {
	switch {
	case g.Got == nil:
		return "not measured"
	case !g.Reached():
		return "no"
	case g.AtMost > 0 && g.Stretch > 0 && g.Got.Median <= g.Stretch:
		return "yes, and the stretch"
	}
	return "yes"
}

const (
	floors        = "floors"
	verifications = "verifications above the floor"
)

// Judge returns all bounds with what was measured of them.
func (r *Report) Judge() []Goal {
	return []Goal{
		{What: "hot token, default policy, metrics on", Unit: floors, AtMost: 1, Stretch: 0.85, Got: r.ratio(Hot)},
		{What: "the same with the decision log to a file", Unit: floors, AtMost: 1.10, Stretch: 0.95, Got: r.ratio(HotLogged)},
		{What: Cold, Unit: verifications, AtMost: 1.2, Stretch: 1.1, Got: r.verifications(Cold)},
		{What: Miss + " (default policy)", Unit: floors, AtMost: 1.5, Stretch: 1.2, Got: r.ratio(Miss)},
		{What: "hot token, a policy that can't be cached (time of day)", Unit: floors, AtMost: 2, Stretch: 1.5, Got: r.ratio(TimeOfDay)},
		{What: BadSignature, Unit: verifications, AtMost: 1.2, Got: r.verifications(BadSignature)},
		{What: UnknownKey, Unit: floors, AtMost: 1, Got: r.ratio(UnknownKey)},
		{What: Garbage, Unit: floors, AtMost: 1, Got: r.ratio(Garbage)},
		{What: "10,000 tenants", Unit: "times 1 tenant", AtMost: 1.1, Stretch: 1.03, Got: r.against(ManyTenants, OneTenant)},
		{What: "5,000 routes", Unit: "times 10 routes", AtMost: 1.1, Stretch: 1.03, Got: r.against(ManyRoutes, Hot)},
		{What: "added to a request through Envoy", Unit: "times what the floor adds", AtMost: 1, Got: r.added(EnvoyOurs, EnvoyFloor)},
		{What: "the same", Unit: "times what jwt_authn without its cache adds", Stretch: 1, Got: r.added(EnvoyOurs, EnvoyJWT)},
		{What: "the same with 1,000 tenants", Unit: "times what jwt_authn with 1,000 tenants adds", AtMost: 0.75, Stretch: 0.5, Got: r.added(EnvoyOurs1000, EnvoyJWT1000)},
		{What: "allocations of ours on a hot check", Unit: "allocations beside those of grpc-go", AtMost: 5, Got: r.allocations()},
		{What: "resident size of 10,000 tenants with 10 keys each and 100,000 cached tokens", Unit: "MiB", AtMost: 400, Got: r.size()},
		{What: "start with 10,000 tenants and 5,000 routes", Unit: "seconds", AtMost: 2, Got: r.startTime()},
		{What: "p99 at half of the saturation rate", Unit: "times the floor's", AtMost: 3, Got: r.tail(HotHalf)},
	}
}

// size reads the resident size in MiB, its peak as the high one.
func (r *Report) size() *measure.Summary {
	if r.Memory == nil {
		return nil
	}
	now, peak := float64(r.Memory.Size.Now)/(1<<20), float64(r.Memory.Size.Peak)/(1<<20)
	return &measure.Summary{Median: now, Low: now, High: peak}
}

func (r *Report) startTime() *measure.Summary {
	if r.Start == nil {
		return nil
	}
	return &r.Start.Seconds
}

func (r *Report) scenario(name string) *Scenario {
	for i := range r.Scenarios {
		if r.Scenarios[i].Name == name {
			return &r.Scenarios[i]
		}
	}
	return nil
}

func (r *Report) ratio(name string) *measure.Summary {
	if s := r.scenario(name); s != nil {
		return &s.Ratio
	}
	return nil
}

// rounds makes a summary of a value that each round of two lists has.
func rounds(a, b []Sample, value func(a, b Sample) float64) *measure.Summary {
	values := make([]float64, min(len(a), len(b)))
	for i := range values {
		values[i] = value(a[i], b[i])
	}
	if len(values) == 0 {
		return nil
	}
	s := measure.Summarize(values)
	return &s
}

func (r *Report) verifications(name string) *measure.Summary {
	s := r.scenario(name)
	if s == nil {
		return nil
	}
	return rounds(s.ours, s.floor, func(ours, floor Sample) float64 { return micros(ours.CPU-floor.CPU) / r.Verify.Median })
}

func (r *Report) tail(name string) *measure.Summary {
	s := r.scenario(name)
	if s == nil {
		return nil
	}
	return rounds(s.ours, s.floor, func(ours, floor Sample) float64 { return float64(ours.P99) / float64(floor.P99) })
}

// against compares what two scenarios cost the service.
func (r *Report) against(name, with string) *measure.Summary {
	a, b := r.scenario(name), r.scenario(with)
	if a == nil || b == nil {
		return nil
	}
	return rounds(a.ours, b.ours, func(a, b Sample) float64 { return float64(a.CPU) / float64(b.CPU) })
}

// added compares what two ways through Envoy add to Envoy alone.
func (r *Report) added(name, with string) *measure.Summary {
	a, b := r.edge(name), r.edge(with)
	if a == nil || b == nil || a.Added == nil || b.Added == nil {
		return nil
	}
	values := make([]float64, len(a.added))
	for i := range values {
		values[i] = a.added[i] / b.added[i]
	}
	s := measure.Summarize(values)
	return &s
}

func (r *Report) edge(name string) *Edge {
	for i := range r.Edges {
		if r.Edges[i].Name == name {
			return &r.Edges[i]
		}
	}
	return nil
}

// allocations are those of the whole process less those of grpc-go, which are
// the floor's less those of the generated types there.
func (r *Report) allocations() *measure.Summary {
	s := r.scenario(Hot)
	if s == nil || r.GeneratedAllocs == 0 {
		return nil
	}
	for _, sample := range append(append([]Sample(nil), s.ours...), s.floor...) {
		if sample.Allocs == 0 {
			return nil
		}
	}
	return rounds(s.ours, s.floor, func(ours, floor Sample) float64 { return ours.Allocs - (floor.Allocs - r.GeneratedAllocs) })
}
