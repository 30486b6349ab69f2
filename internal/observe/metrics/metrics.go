// Package metrics counts what the service does, for Prometheus. Counting a check
// takes no lock and no allocation.
package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ussoio/ussoauthz/internal/buildinfo"
	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// other is the label of what is beyond the bound, and of reasons that a policy
// made up.
const other = "other"

// Metrics holds every metric of the service. It is safe for concurrent use.
type Metrics struct {
	registry      *prometheus.Registry
	checks        checks
	shed          prometheus.Counter
	duration      *histogram
	stages        [extauthz.Stages]*histogram
	evaluation    *histogram
	tokenCache    lookups
	decisionCache lookups
	calls         *calls
	scrapes       http.Handler
}

type lookups [3]prometheus.Counter // by jwtverify.Lookup; the first is nil

// New returns metrics that count at most so many combinations of tenant, route
// and reason; further ones are counted under "other". source tells what is read
// when somebody asks.
func New(most int, source Source) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), calls: newCalls(), checks: checks{most: most, known: map[series]*tally{}}}
	counter := func(name, help string, labels prometheus.Labels) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
		m.registry.MustRegister(c)
		return c
	}
	m.shed = counter("ussoauthz_checks_shed_total", "Checks refused because too many were in flight or their time was over.", nil)
	m.duration = newHistogram("ussoauthz_check_duration_seconds", "Time from a check's arrival to its answer.", nil)
	m.evaluation = newHistogram("ussoauthz_policy_evaluation_duration_seconds", "Time of a policy's evaluation, where no cache answered.", nil)
	m.registry.MustRegister(&m.checks, m.duration, m.evaluation)
	for stage := range extauthz.Stages {
		m.stages[stage] = newHistogram("ussoauthz_stage_duration_seconds", "Time of each stage of a check.", prometheus.Labels{"stage": stage.String()})
		m.registry.MustRegister(m.stages[stage])
	}
	for result, name := range map[jwtverify.Lookup]string{jwtverify.Hit: "hit", jwtverify.Miss: "miss"} {
		labels := prometheus.Labels{"result": name}
		m.tokenCache[result] = counter("ussoauthz_token_cache_lookups_total", "Tokens looked for in the cache of verified ones.", labels)
		m.decisionCache[result] = counter("ussoauthz_decision_cache_lookups_total", "Decisions looked for in their cache.", labels)
	}
	m.registry.MustRegister(newBuildInfo(), m.calls, &stateCollector{source, most},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.scrapes = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics:   true, // exemplars
		MaxRequestsInFlight: 4,
		Timeout:             20 * time.Second,
	})
	return m
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.scrapes.ServeHTTP(w, r) }

// Gatherer is for those who read the metrics themselves.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

func newBuildInfo() prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ussoauthz_build_info", Help: "1, labelled with what is running.",
		ConstLabels: prometheus.Labels{"version": buildinfo.Version(), "revision": buildinfo.Revision(), "goversion": runtime.Version()},
	})
	g.Set(1)
	return g
}

// Record counts a check. It keeps nothing of r.
func (m *Metrics) Record(r *extauthz.Record, trace tracecontext.Context) {
	m.checks.of(r).n.Add(1)
	if r.Answer.Reason == answers.Overloaded {
		m.shed.Inc()
	}
	took := r.Ends[extauthz.StageEncode]
	now := r.Start.Add(took)
	m.duration.observe(took, now, trace)
	before := time.Duration(0)
	for stage, end := range r.Ends {
		if end == 0 {
			continue
		}
		m.stages[stage].observe(end-before, now, trace)
		if extauthz.Stage(stage) == extauthz.StagePolicy && r.DecisionCache != jwtverify.Hit {
			m.evaluation.observe(end-before, now, trace)
		}
		before = end
	}
	if r.TokenCache != jwtverify.NoLookup {
		m.tokenCache[r.TokenCache].Inc()
	}
	if r.DecisionCache != jwtverify.NoLookup {
		m.decisionCache[r.DecisionCache].Inc()
	}
}
