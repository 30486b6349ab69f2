package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source tells, when somebody asks, how the service is.
type Source interface {
	InFlight() int           // checks being decided
	Connections() int        // of Envoys
	Keys() []Keys            // of each tenant whose keys are fetched
	KeyStoreFailures() int64 // key sets that could not be kept on disk
	Reloads() Reloads        // of the configuration
	Writers() []Writer
	Revocations() []Revocations
	Bundles() []Bundle
	Caches() Caches
	Spans() Spans
	LogDropped() int64 // lines of the service's own log
}

// Keys is how a tenant's key set is.
type Keys struct {
	Tenant            string
	Keys              int
	Fetched           time.Time // zero: never
	Fetches, Failures int64
}

// Reloads is what became of the configuration's files.
type Reloads struct {
	Generation      int       // of the configuration in force; the first is 1
	Applied, Failed int64     // since the start
	LastOK          bool      // no newer files wait for being mended
	LastApplied     time.Time // when the one in force was
}

// Writer is what became of the records of the decision log.
type Writer struct {
	Name    string
	Written int64
	Dropped map[string]int64 // by cause
}

// Revocations is how a source of revocations is.
type Revocations struct {
	Source    string // file or redis
	Available bool
	Entries   int
	LastSync  time.Time // zero: never
	Dropped   int64
}

// Bundle is how a bundle of the policy is doing.
type Bundle struct {
	Name                string
	Activated           time.Time // zero: never
	Checked             time.Time // when its service last answered without an error; zero: never
	Downloads, Failures int
	OK                  bool // the last try was no failure
}

// Caches is how full the caches are; one that is switched off is empty.
type Caches struct{ Tokens, Decisions Cache }

// Cache is how full a cache is.
type Cache struct {
	Entries int
	Bytes   int64 // about
}

// Spans is what became of the spans of traces.
type Spans struct{ Exported, Full, Failed int64 }

// stateCollector asks a Source at each scrape.
type stateCollector struct {
	source Source
	most   int // tenants
}

var (
	inFlight    = desc("ussoauthz_checks_in_flight", "Checks being decided.")
	connections = desc("ussoauthz_grpc_connections", "Connections of callers.")

	tokenEntries    = desc("ussoauthz_token_cache_entries", "Verified tokens in their cache.")
	tokenBytes      = desc("ussoauthz_token_cache_bytes", "Memory that the cache of verified tokens takes, about.")
	decisionEntries = desc("ussoauthz_decision_cache_entries", "Decisions in their cache.")
	decisionsBytes  = desc("ussoauthz_decision_cache_bytes", "Memory that the cache of decisions takes, about.")

	keysAge      = desc("ussoauthz_keys_age_seconds", "Time since the last good fetch of a tenant's keys.", "tenant")
	keysUsable   = desc("ussoauthz_keys", "Usable keys of a tenant.", "tenant")
	keysFetches  = desc("ussoauthz_keys_fetches_total", "Fetches of a tenant's keys; tenants of one URL share them.", "tenant")
	keysFailures = desc("ussoauthz_keys_fetch_failures_total", "Fetches of a tenant's keys that brought none.", "tenant")

	keyStoreFailures = desc("ussoauthz_keys_store_failures_total", "Key sets that could not be kept on disk.")

	generation  = desc("ussoauthz_config_generation", "Number of the configuration in force; the first is 1.")
	reloads     = desc("ussoauthz_config_reloads_total", "Reloads of the configuration.", "result")
	lastOK      = desc("ussoauthz_config_last_reload_successful", "1 if the last reload was taken, 0 if what was in force stayed.")
	lastApplied = desc("ussoauthz_config_last_reload_success_timestamp_seconds", "When the configuration in force was taken.")

	spansExported = desc("ussoauthz_spans_exported_total", "Spans of traces that a collector took.")
	spansDropped  = desc("ussoauthz_spans_dropped_total", "Spans of traces that were dropped, by cause.", "cause")

	logDropped = desc("ussoauthz_log_dropped_total", "Lines of the log that were dropped: standard error did not take them.")

	written              = desc("ussoauthz_decision_log_records_total", "Records of the decision log that were written.", "writer")
	revocations          = desc("ussoauthz_revocation_entries", "Revocations in force.", "source")
	revocationsAvailable = desc("ussoauthz_revocation_available", "1 while the source of revocations can be read.", "source")
	revocationsSynced    = desc("ussoauthz_revocation_last_sync_timestamp_seconds", "When all of a source was read last.", "source")
	revocationsDropped   = desc("ussoauthz_revocation_dropped_total", "Readings of revocations that were unreadable or beyond the bound.", "source")

	bundleActivated = desc("ussoauthz_bundle_last_activation_timestamp_seconds", "When the bundle's revision in force was activated.", "bundle")
	bundleChecked   = desc("ussoauthz_bundle_last_check_timestamp_seconds", "When the bundle's service last answered without an error.", "bundle")
	bundleDownloads = desc("ussoauthz_bundle_downloads_total", "Downloads of the bundle that were new and could be read.", "bundle")
	bundleFailures  = desc("ussoauthz_bundle_failures_total", "Tries to get or activate the bundle that changed nothing.", "bundle")
	bundleOK        = desc("ussoauthz_bundle_last_try_successful", "1 if the last try was none of the failures, 0 if what was in force stayed.", "bundle")

	dropped = desc("ussoauthz_decision_log_dropped_total", "Records of the decision log that were dropped, by cause.", "writer", "cause")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe is for prometheus.Collector.
func (s *stateCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		inFlight, connections, tokenEntries, tokenBytes, decisionEntries, decisionsBytes, keysAge, keysUsable, keysFetches, keysFailures, keyStoreFailures, generation, reloads, lastOK, lastApplied, written, dropped, spansExported, spansDropped, logDropped,
		revocations, revocationsAvailable, revocationsSynced, revocationsDropped,
		bundleActivated, bundleChecked, bundleDownloads, bundleFailures, bundleOK,
	} {
		to <- d
	}
}

// Collect is for prometheus.Collector.
func (s *stateCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	stamp := func(d *prometheus.Desc, at time.Time, labels ...string) {
		if !at.IsZero() {
			gauge(d, float64(at.UnixMilli())/1e3, labels...)
		}
	}
	gauge(inFlight, float64(s.source.InFlight()))
	gauge(connections, float64(s.source.Connections()))
	caches := s.source.Caches()
	gauge(tokenEntries, float64(caches.Tokens.Entries))
	gauge(tokenBytes, float64(caches.Tokens.Bytes))
	gauge(decisionEntries, float64(caches.Decisions.Entries))
	gauge(decisionsBytes, float64(caches.Decisions.Bytes))
	r := s.source.Reloads()
	gauge(generation, float64(r.Generation))
	gauge(lastOK, flag(r.LastOK))
	stamp(lastApplied, r.LastApplied)
	counter(reloads, r.Applied, "success")
	counter(reloads, r.Failed, "failure")
	for _, w := range s.source.Writers() {
		counter(written, w.Written, w.Name)
		for cause, n := range w.Dropped {
			counter(dropped, n, w.Name, cause)
		}
	}
	spans := s.source.Spans()
	counter(spansExported, spans.Exported)
	counter(spansDropped, spans.Full, "full")
	counter(spansDropped, spans.Failed, "failed")
	counter(logDropped, s.source.LogDropped())
	counter(keyStoreFailures, s.source.KeyStoreFailures())
	for _, r := range s.source.Revocations() {
		gauge(revocations, float64(r.Entries), r.Source)
		gauge(revocationsAvailable, flag(r.Available), r.Source)
		stamp(revocationsSynced, r.LastSync, r.Source)
		counter(revocationsDropped, r.Dropped, r.Source)
	}
	for _, b := range s.source.Bundles() {
		stamp(bundleActivated, b.Activated, b.Name)
		stamp(bundleChecked, b.Checked, b.Name)
		counter(bundleDownloads, int64(b.Downloads), b.Name)
		counter(bundleFailures, int64(b.Failures), b.Name)
		gauge(bundleOK, flag(b.OK), b.Name)
	}
	for _, k := range s.bounded() {
		if !k.Fetched.IsZero() {
			gauge(keysAge, time.Since(k.Fetched).Seconds(), k.Tenant)
		}
		gauge(keysUsable, float64(k.Keys), k.Tenant)
		counter(keysFetches, k.Fetches, k.Tenant)
		counter(keysFailures, k.Failures, k.Tenant)
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// bounded returns the keys of as many tenants as may be told of, and one called
// other for the rest of them: the sum of their counts, the greatest age.
func (s *stateCollector) bounded() []Keys {
	list := s.source.Keys()
	if len(list) <= s.most {
		return list
	}
	slices.SortFunc(list, func(a, b Keys) int { return cmp.Compare(a.Tenant, b.Tenant) })
	rest := Keys{Tenant: other}
	for _, k := range list[s.most:] {
		rest.Keys, rest.Fetches, rest.Failures = rest.Keys+k.Keys, rest.Fetches+k.Fetches, rest.Failures+k.Failures
		if rest.Fetched.IsZero() || k.Fetched.Before(rest.Fetched) && !k.Fetched.IsZero() {
			rest.Fetched = k.Fetched
		}
	}
	return append(list[:s.most:s.most], rest)
}
