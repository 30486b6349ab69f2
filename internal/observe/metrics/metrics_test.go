package metrics_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ussoio/ussoauthz/internal/observe/metrics"
	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

var sampled = tracecontext.Of(tenants.Headers{{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})

// state is a Source of fixed values.
type state struct{ tenants []string }

func (state) InFlight() int    { return 3 }
func (state) Connections() int { return 2 }
func (state) Reloads() metrics.Reloads {
	return metrics.Reloads{Generation: 4, Applied: 3, Failed: 2, LastOK: true, LastApplied: time.Unix(1900000000, 0)}
}
func (state) KeyStoreFailures() int64 { return 2 }
func (state) Writers() []metrics.Writer {
	return []metrics.Writer{{Name: "file", Written: 7, Dropped: map[string]int64{"full": 1}}}
}
func (state) Revocations() []metrics.Revocations {
	return []metrics.Revocations{{Source: "file", Available: true, Entries: 12, LastSync: time.Unix(1900000000, 0), Dropped: 5}}
}
func (state) Bundles() []metrics.Bundle {
	return []metrics.Bundle{
		{Name: "main", Activated: time.Unix(1900000000, 0), Checked: time.Unix(1900000007, 500e6), Downloads: 3, Failures: 2, OK: true},
		{Name: "new", Failures: 1},
	}
}
func (state) Caches() metrics.Caches {
	return metrics.Caches{Tokens: metrics.Cache{Entries: 3, Bytes: 6000}, Decisions: metrics.Cache{Entries: 2, Bytes: 1500}}
}
func (state) LogDropped() int64    { return 4 }
func (state) Spans() metrics.Spans { return metrics.Spans{Exported: 3, Full: 2, Failed: 1} }
func (s state) Keys() (list []metrics.Keys) {
	for _, id := range s.tenants {
		list = append(list, metrics.Keys{Tenant: id, Keys: 2, Fetched: time.Now().Add(-time.Minute), Fetches: 5, Failures: 1})
	}
	return list
}

type noKeys struct{}

func (noKeys) Find(context.Context, string) (*jwtverify.Key, error) { return nil, errors.New("none") }

// directory has the tenants acme and globex with two routes.
func directory(t testing.TB) *tenants.Directory {
	t.Helper()
	routes, faults := tenants.NewRoutes([]tenants.Route{{Match: "GET /a"}, {Match: "GET /b"}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	d, err := tenants.NewDirectory(tenants.Selection{Header: "X-Tenant-ID"}, []*tenants.Tenant{
		{ID: "acme", Keys: noKeys{}, Routes: routes}, {ID: "globex", Keys: noKeys{}, Routes: routes},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// record is a check of a tenant's route; -1 is none.
func record(tenant *tenants.Tenant, route int, reason answers.Reason) *extauthz.Record {
	r := &extauthz.Record{
		Answer: &extauthz.Answer{Reason: reason, Allowed: reason == answers.Allowed}, Tenant: tenant, Route: route, Start: time.Now(),
		Ends:       [extauthz.Stages]time.Duration{1000, 1500, 4000, 4200, 9000, 10000},
		TokenCache: jwtverify.Hit, DecisionCache: jwtverify.Miss,
	}
	if tenant != nil {
		r.Answer.Tenant = tenant.ID
		if route >= 0 {
			r.Answer.Route = tenant.Routes.Route(route).Match
		}
	}
	return r
}

func counts(t *testing.T, m *metrics.Metrics, name, want string) {
	t.Helper()
	if err := testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(want), name); err != nil {
		t.Error(err)
	}
}

func TestChecks(t *testing.T) {
	m := metrics.New(100, state{})
	d := directory(t)
	acme, globex := d.Tenants()[0], d.Tenants()[1]
	m.Record(record(nil, -1, answers.Internal), tracecontext.Context{}) // before any directory
	m.Use(d)
	for range 3 {
		m.Record(record(acme, 0, answers.Allowed), sampled)
	}
	m.Record(record(acme, 1, answers.Allowed), sampled)
	m.Record(record(globex, 0, answers.Allowed), sampled)
	m.Record(record(acme, -1, answers.NoRoute), sampled)
	m.Record(record(nil, -1, answers.InvalidTenant), sampled)
	m.Record(record(nil, -1, answers.Overloaded), sampled)
	m.Record(record(acme, 0, "closed"), sampled)
	m.Record(record(acme, 0, "at_lunch"), sampled)
	m.Use(directory(t)) // a reload: the counts go on, for those under way too
	m.Record(record(acme, 0, answers.Allowed), sampled)
	counts(t, m, "ussoauthz_checks_total", `
# HELP ussoauthz_checks_total Checks answered, by tenant, route and reason.
# TYPE ussoauthz_checks_total counter
ussoauthz_checks_total{reason="internal",route="",tenant=""} 1
ussoauthz_checks_total{reason="invalid_tenant",route="",tenant=""} 1
ussoauthz_checks_total{reason="overloaded",route="",tenant=""} 1
ussoauthz_checks_total{reason="allowed",route="GET /a",tenant="acme"} 4
ussoauthz_checks_total{reason="other",route="GET /a",tenant="acme"} 2
ussoauthz_checks_total{reason="allowed",route="GET /b",tenant="acme"} 1
ussoauthz_checks_total{reason="no_route",route="",tenant="acme"} 1
ussoauthz_checks_total{reason="allowed",route="GET /a",tenant="globex"} 1
`)
	counts(t, m, "ussoauthz_checks_shed_total", `
# HELP ussoauthz_checks_shed_total Checks refused because too many were in flight or their time was over.
# TYPE ussoauthz_checks_shed_total counter
ussoauthz_checks_shed_total 1
`)
	counts(t, m, "ussoauthz_token_cache_lookups_total", `
# HELP ussoauthz_token_cache_lookups_total Tokens looked for in the cache of verified ones.
# TYPE ussoauthz_token_cache_lookups_total counter
ussoauthz_token_cache_lookups_total{result="hit"} 12
ussoauthz_token_cache_lookups_total{result="miss"} 0
`)
}

// Beyond the bound there is one series for each reason.
func TestBoundOfSeries(t *testing.T) {
	m := metrics.New(2, state{tenants: []string{"a", "b", "c", "d"}})
	d := directory(t)
	m.Use(d)
	for _, tenant := range d.Tenants() {
		for route := range 2 {
			for range 2 {
				m.Record(record(tenant, route, answers.Allowed), sampled)
			}
			m.Record(record(tenant, route, answers.PolicyDenied), sampled)
		}
	}
	counts(t, m, "ussoauthz_checks_total", `
# HELP ussoauthz_checks_total Checks answered, by tenant, route and reason.
# TYPE ussoauthz_checks_total counter
ussoauthz_checks_total{reason="allowed",route="GET /a",tenant="acme"} 2
ussoauthz_checks_total{reason="policy_denied",route="GET /a",tenant="acme"} 1
ussoauthz_checks_total{reason="allowed",route="other",tenant="other"} 6
ussoauthz_checks_total{reason="policy_denied",route="other",tenant="other"} 3
`)
	counts(t, m, "ussoauthz_keys_fetches_total", `
# HELP ussoauthz_keys_fetches_total Fetches of a tenant's keys; tenants of one URL share them.
# TYPE ussoauthz_keys_fetches_total counter
ussoauthz_keys_fetches_total{tenant="a"} 5
ussoauthz_keys_fetches_total{tenant="b"} 5
ussoauthz_keys_fetches_total{tenant="other"} 10
`)
}

// TestBundles: what never happened has no time.
func TestBundles(t *testing.T) {
	m := metrics.New(2, state{})
	counts(t, m, "ussoauthz_bundle_last_activation_timestamp_seconds", `
# HELP ussoauthz_bundle_last_activation_timestamp_seconds When the bundle's revision in force was activated.
# TYPE ussoauthz_bundle_last_activation_timestamp_seconds gauge
ussoauthz_bundle_last_activation_timestamp_seconds{bundle="main"} 1.9e+09
`)
	counts(t, m, "ussoauthz_bundle_last_check_timestamp_seconds", `
# HELP ussoauthz_bundle_last_check_timestamp_seconds When the bundle's service last answered without an error.
# TYPE ussoauthz_bundle_last_check_timestamp_seconds gauge
ussoauthz_bundle_last_check_timestamp_seconds{bundle="main"} 1.9000000075e+09
`)
	counts(t, m, "ussoauthz_bundle_downloads_total", `
# HELP ussoauthz_bundle_downloads_total Downloads of the bundle that were new and could be read.
# TYPE ussoauthz_bundle_downloads_total counter
ussoauthz_bundle_downloads_total{bundle="main"} 3
ussoauthz_bundle_downloads_total{bundle="new"} 0
`)
	counts(t, m, "ussoauthz_bundle_failures_total", `
# HELP ussoauthz_bundle_failures_total Tries to get or activate the bundle that changed nothing.
# TYPE ussoauthz_bundle_failures_total counter
ussoauthz_bundle_failures_total{bundle="main"} 2
ussoauthz_bundle_failures_total{bundle="new"} 1
`)
	counts(t, m, "ussoauthz_bundle_last_try_successful", `
# HELP ussoauthz_bundle_last_try_successful 1 if the last try was none of the failures, 0 if what was in force stayed.
# TYPE ussoauthz_bundle_last_try_successful gauge
ussoauthz_bundle_last_try_successful{bundle="main"} 1
ussoauthz_bundle_last_try_successful{bundle="new"} 0
`)
}

// TestRevocations: each source has its own series.
func TestRevocations(t *testing.T) {
	m := metrics.New(2, state{})
	for name, want := range map[string]string{
		"ussoauthz_revocation_entries":                     "# HELP ussoauthz_revocation_entries Revocations in force.\n# TYPE ussoauthz_revocation_entries gauge\nussoauthz_revocation_entries{source=\"file\"} 12\n",
		"ussoauthz_revocation_available":                   "# HELP ussoauthz_revocation_available 1 while the source of revocations can be read.\n# TYPE ussoauthz_revocation_available gauge\nussoauthz_revocation_available{source=\"file\"} 1\n",
		"ussoauthz_revocation_last_sync_timestamp_seconds": "# HELP ussoauthz_revocation_last_sync_timestamp_seconds When all of a source was read last.\n# TYPE ussoauthz_revocation_last_sync_timestamp_seconds gauge\nussoauthz_revocation_last_sync_timestamp_seconds{source=\"file\"} 1.9e+09\n",
		"ussoauthz_log_dropped_total":                      "# HELP ussoauthz_log_dropped_total Lines of the log that were dropped: standard error did not take them.\n# TYPE ussoauthz_log_dropped_total counter\nussoauthz_log_dropped_total 4\n",
		"ussoauthz_revocation_dropped_total":               "# HELP ussoauthz_revocation_dropped_total Readings of revocations that were unreadable or beyond the bound.\n# TYPE ussoauthz_revocation_dropped_total counter\nussoauthz_revocation_dropped_total{source=\"file\"} 5\n",
	} {
		counts(t, m, name, want)
	}
}

// Every reason that the service gives itself has a label of its own.
func TestReasons(t *testing.T) {
	for _, r := range metrics.Reasons {
		if r != answers.Allowed && r.Row() == answers.Reason("made_up").Row() && r != answers.PolicyDenied {
			t.Errorf("%s is no reason of the table", r)
		}
	}
}

func TestLint(t *testing.T) {
	m := metrics.New(10, state{tenants: []string{"acme"}})
	d := directory(t)
	m.Use(d)
	m.Record(record(d.Tenants()[0], 0, answers.Allowed), sampled)
	problems, err := testutil.GatherAndLint(m.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The buckets are those of the library, whatever is observed.
func TestHistogramIsTheLibrarys(t *testing.T) {
	ours, theirs := metrics.NewHistogram("h"), metrics.LibraryHistogram("h")
	observe := func(d time.Duration) {
		ours.Observe(d, time.Time{}, tracecontext.Context{})
		theirs.Observe(d.Seconds())
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		observe(time.Duration(random.Int64N(1 << random.IntN(35))))
	}
	for _, bound := range []time.Duration{time.Microsecond, 2500, 5 * time.Microsecond, time.Millisecond, time.Second, 250 * time.Millisecond} {
		observe(bound)
		observe(bound + 1)
		observe(bound - 1)
	}
	write := func(m prometheus.Metric) *dto.Histogram {
		var out dto.Metric
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		h := out.Histogram
		h.CreatedTimestamp, h.SampleSum = nil, nil // a sum of floats depends on its order
		if n := len(h.Bucket); h.Bucket[n-1].GetUpperBound() > 1 {
			h.Bucket = h.Bucket[:n-1] // the library leaves +Inf out
		}
		return h
	}
	if diff := cmp.Diff(write(theirs), write(ours), protocmp.Transform()); diff != "" {
		t.Errorf("-library +ours\n%s", diff)
	}
}

// What no bucket is for is counted all the same.
func TestHistogramExtremes(t *testing.T) {
	h := metrics.NewHistogram("h")
	for _, d := range []time.Duration{-time.Second, 0, 1, 1 << 62, 1<<63 - 1} {
		h.Observe(d, time.Time{}, tracecontext.Context{})
	}
	var out dto.Metric
	if err := h.Write(&out); err != nil || out.Histogram.GetSampleCount() != 5 || out.Histogram.GetZeroCount() != 3 {
		t.Errorf("%v %v", &out, err)
	}
}

// scrapeOne counts one sampled check and asks for the metrics in a format.
func scrapeOne(t *testing.T, accept string) *httptest.ResponseRecorder {
	t.Helper()
	m := metrics.New(10, state{})
	m.Use(directory(t))
	m.Record(record(nil, -1, answers.Allowed), sampled)
	request := httptest.NewRequest("GET", "/metrics", nil)
	request.Header.Set("Accept", accept)
	response := httptest.NewRecorder()
	m.ServeHTTP(response, request)
	return response
}

// A scrape that understands exemplars gets the trace of a slow check.
func TestExemplars(t *testing.T) {
	response := scrapeOne(t, "application/openmetrics-text; version=1.0.0")
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := `ussoauthz_check_duration_seconds_bucket{le="1e-05"} 1 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 1e-05`; !strings.Contains(string(text), want) {
		t.Errorf("no exemplar in\n%s", text)
	}
}

// A scrape by protobuf, as Prometheus asks where it takes native histograms, gets
// native and classic buckets at once.
func TestNativeScrape(t *testing.T) {
	response := scrapeOne(t, "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	decoder := expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header()))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err != nil {
			t.Fatalf("no ussoauthz_check_duration_seconds: %v", err)
		}
		if family.GetName() != "ussoauthz_check_duration_seconds" {
			continue
		}
		h := family.Metric[0].Histogram
		if h.Schema == nil || len(h.PositiveSpan) == 0 || len(h.Bucket) < 10 || h.GetSampleCount() != 1 {
			t.Errorf("not native and classic at once: %v", h)
		}
		return
	}
}

// To count a check costs no allocation, with an exemplar once in a second.
func TestAllocations(t *testing.T) {
	m := metrics.New(10, state{})
	d := directory(t)
	m.Use(d)
	r := record(d.Tenants()[0], 0, answers.Allowed)
	for name, trace := range map[string]tracecontext.Context{"no trace": {}, "a sampled trace": sampled} {
		m.Record(r, trace)
		if n := testing.AllocsPerRun(1000, func() { m.Record(r, trace) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	m := metrics.New(10, state{})
	d := directory(b)
	m.Use(d)
	r := record(d.Tenants()[0], 0, answers.Allowed)
	b.ReportAllocs()
	for b.Loop() {
		m.Record(r, sampled)
	}
}

func BenchmarkHistogram(b *testing.B) {
	ours, theirs := metrics.NewHistogram("h"), metrics.LibraryHistogram("h")
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ours.Observe(12345, time.Time{}, tracecontext.Context{})
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			theirs.Observe(12345e-9)
		}
	})
}
