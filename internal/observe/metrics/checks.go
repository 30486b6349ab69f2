package metrics

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// checks counts checks by tenant, route and reason. A CounterVec would too, but
// in ten objects a series in place of one: with ten thousand tenants the garbage
// collector walks over them all.
type checks struct {
	current atomic.Pointer[table]
	most    int // of series
	mu      sync.Mutex
	known   map[series]*tally
}

// series is what labels a check.
type series struct{ tenant, route, reason string }

// tally is the count of one series.
type tally struct{ n atomic.Int64 }

var checked = desc("ussoauthz_checks_total", "Checks answered, by tenant, route and reason.", "tenant", "route", "reason")

// Describe is for prometheus.Collector.
func (c *checks) Describe(to chan<- *prometheus.Desc) { to <- checked }

// Collect is for prometheus.Collector.
func (c *checks) Collect(to chan<- prometheus.Metric) {
	for _, m := range c.metrics() {
		to <- m
	}
}

// metrics holds the lock for no longer than it takes to read: whoever scrapes
// may be slow.
func (c *checks) metrics() []prometheus.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]prometheus.Metric, 0, len(c.known))
	for s, t := range c.known {
		list = append(list, prometheus.MustNewConstMetric(checked, prometheus.CounterValue, float64(t.n.Load()), s.tenant, s.route, s.reason))
	}
	return list
}

// tally finds or makes the tally of a series, within the bound.
func (c *checks) tally(s series) *tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.known[s]; t != nil {
		return t
	}
	if len(c.known) >= c.most {
		s.tenant, s.route = other, other // as many as there are reasons
		if t := c.known[s]; t != nil {
			return t
		}
	}
	t := new(tally)
	c.known[s] = t
	return t
}

// table finds the tally of a check by pointers and indices, without hashing
// labels. It belongs to one directory of tenants.
type table struct {
	tenants map[*tenants.Tenant]*tenantRow
	none    routeRow // checks that selected no tenant
}

// tenantRow has a row for each route of a tenant, behind one for no route.
type tenantRow struct{ routes []atomic.Pointer[routeRow] }

// routeRow has a tally for each reason.
type routeRow struct {
	reasons [reasonCount]atomic.Pointer[tally]
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
	m.checks.current.Store(t)
}

// of returns the tally of a check. The first check of its kind makes it.
func (c *checks) of(r *extauthz.Record) *tally {
	reason, name := reasonOf(r.Answer.Reason)
	key := series{r.Answer.Tenant, r.Answer.Route, name}
	t := c.current.Load()
	if t == nil {
		return c.tally(key)
	}
	row := &t.none
	if r.Tenant != nil {
		tenant := t.tenants[r.Tenant]
		if tenant == nil || r.Route+1 >= len(tenant.routes) { // of a snapshot that was replaced
			return c.tally(key)
		}
		place := &tenant.routes[r.Route+1]
		if row = place.Load(); row == nil {
			place.CompareAndSwap(nil, new(routeRow))
			row = place.Load()
		}
	}
	place := &row.reasons[reason]
	if t := place.Load(); t != nil {
		return t
	}
	made := c.tally(key)
	place.Store(made)
	return made
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
