// Package metrics counts what the service does, for Prometheus. Counting a check
// takes no lock and no allocation.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ussoio/ussoauthz/internal/buildinfo"
	"github.com/ussoio/ussoauthz/internal/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// other is the label of what is beyond the bound, and of reasons that a policy
// made up.
const other = "other"

// Metrics holds every metric of the service. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	most     int // of series of checks

	checks        *prometheus.CounterVec
	shed          prometheus.Counter
	duration      *histogram
	stages        [extauthz.Stages]*histogram
	evaluation    *histogram
	tokenCache    lookups
	decisionCache lookups
	calls         *calls
	scrapes       http.Handler
	current       atomic.Pointer[table]
	mu            sync.Mutex
	known         map[series]prometheus.Counter // of checks
}

type lookups [3]prometheus.Counter // by jwtverify.Lookup; the first is nil

// series is what labels a check.
type series struct{ tenant, route, reason string }

// New returns metrics that count at most so many combinations of tenant, route
// and reason; further ones are counted under "other". source tells what is read
// when somebody asks.
func New(most int, source Source) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), most: most, calls: newCalls(), known: map[series]prometheus.Counter{}}
	counter := func(name, help string, labels prometheus.Labels) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
		m.registry.MustRegister(c)
		return c
	}
	m.checks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ussoauthz_checks_total", Help: "Checks answered, by tenant, route and reason.",
	}, []string{"tenant", "route", "reason"})
	m.shed = counter("ussoauthz_checks_shed_total", "Checks refused because too many were in flight or their time was over.", nil)
	m.duration = newHistogram("ussoauthz_check_duration_seconds", "Time from a check's arrival to its answer.", nil)
	m.evaluation = newHistogram("ussoauthz_policy_evaluation_duration_seconds", "Time of a policy's evaluation, where no cache answered.", nil)
	m.registry.MustRegister(m.checks, m.duration, m.evaluation)
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

// table finds the counter of a check by pointers and indices, without hashing
// labels. It belongs to one directory of tenants.
type table struct {
	tenants map[*tenants.Tenant]*tenantRow
	none    routeRow // checks that selected no tenant
}

// tenantRow has a row for each route of a tenant, behind one for no route.
type tenantRow struct{ routes []atomic.Pointer[routeRow] }

// routeRow has a counter for each reason.
type routeRow struct {
	reasons [reasonCount]atomic.Pointer[prometheus.Counter]
}

// Use makes the tenants of d those that checks are counted by.
func (m *Metrics) Use(d *tenants.Directory) {
	t := &table{tenants: map[*tenants.Tenant]*tenantRow{}}
	for _, tenant := range d.Tenants() {
		n := 1 // no route
		if tenant.Routes != nil {
			n += tenant.Routes.Len()
		}
		t.tenants[tenant] = &tenantRow{routes: make([]atomic.Pointer[routeRow], n)}
	}
	m.current.Store(t)
}

// Record counts a check. It keeps nothing of r.
func (m *Metrics) Record(r *extauthz.Record, trace tracecontext.Context) {
	m.counter(r).Inc()
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

// counter returns the counter of a check. The first check of its kind makes it.
func (m *Metrics) counter(r *extauthz.Record) prometheus.Counter {
	reason, name := reasonOf(r.Answer.Reason)
	key := series{r.Answer.Tenant, r.Answer.Route, name}
	t := m.current.Load()
	if t == nil {
		return m.resolve(key)
	}
	row := &t.none
	if r.Tenant != nil {
		tenant := t.tenants[r.Tenant]
		if tenant == nil || r.Route+1 >= len(tenant.routes) { // of a road that was replaced
			return m.resolve(key)
		}
		place := &tenant.routes[r.Route+1]
		if row = place.Load(); row == nil {
			place.CompareAndSwap(nil, new(routeRow))
			row = place.Load()
		}
	}
	place := &row.reasons[reason]
	if c := place.Load(); c != nil {
		return *c
	}
	c := m.resolve(key)
	place.Store(&c)
	return c
}

// resolve finds or makes the counter of a series, within the bound.
func (m *Metrics) resolve(key series) prometheus.Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.known[key]; c != nil {
		return c
	}
	if len(m.known) >= m.most {
		key.tenant, key.route = other, other // as many as there are reasons
	}
	c := m.checks.WithLabelValues(key.tenant, key.route, key.reason)
	m.known[key] = c
	return c
}

// reasonCount is one for each reason of the table, and one for those that
// policies make up.
const reasonCount = 17

// reasonOf returns a reason's index and label.
func reasonOf(r answers.Reason) (int, string) {
	for i, known := range reasons {
		if known == r {
			return i, string(known)
		}
	}
	return reasonCount - 1, other
}

var reasons = [reasonCount - 1]answers.Reason{
	answers.Allowed, answers.InvalidRequest, answers.InvalidTenant, answers.TokenNotFound, answers.TokenExpired, answers.TokenInvalid,
	answers.TokenRevoked, answers.InsufficientScope, answers.InsufficientRole, answers.WorkspaceMismatch, answers.NoRoute,
	answers.PolicyDenied, answers.KeysUnavailable, answers.Overloaded, answers.PolicyError, answers.Internal,
}
