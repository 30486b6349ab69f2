package envoycheck

import (
	"slices"
	"strings"
	"time"
)

// checkEnvoy checks what Envoy itself reads.
func (f *checker) checkEnvoy(r *resources) {
	guarded := map[string]bool{} // the clusters behind ext_authz
	for _, m := range r.managers {
		if m.guard >= 0 {
			for _, name := range upstreams(r.routesOf(m)) {
				guarded[name] = true
			}
		}
	}
	for _, m := range r.managers {
		if m.guard >= 0 {
			f.checkManager(r, m)
		} else {
			f.checkUnguarded(r, m, guarded)
		}
	}
	for _, proxy := range r.proxies {
		if name := proxy.get("cluster").text(); guarded[name] {
			f.report(Unguarded, proxy, "tcp_proxy", "reaches the cluster %q, which is behind ext_authz elsewhere, unasked: remove it, or keep its clients to those that may", name)
		}
	}
	if len(r.managers) > 0 && !slices.ContainsFunc(r.managers, func(m manager) bool { return m.guard >= 0 }) {
		f.report(NoFilter, r.managers[0].node, "http_filters", "no ext_authz filter is in this file: every request reaches the application unasked; write envoy.filters.http.ext_authz before the router")
	}
}

// checkUnguarded finds ways past the filter to what it guards.
func (f *checker) checkUnguarded(r *resources, m manager, guarded map[string]bool) {
	for _, name := range upstreams(r.routesOf(m)) {
		if guarded[name] {
			f.report(Unguarded, m.node, "http_filters", "no ext_authz filter is here, and the routes reach the cluster %q, which is behind one elsewhere: write the filter here, too", name)
			return
		}
	}
}

func (f *checker) checkManager(r *resources, m manager) {
	config, _ := m.filters[m.guard].get("typed_config").typed()
	f.checkDisabled(m, r.routesOf(m))
	f.checkFailure(config)
	f.checkEnabled(m, config)
	f.checkService(r, config.get("grpc_service"), config)
	f.checkAnswers(config, r.bootstrap.set())
	f.checkRequest(m, config)
	f.checkSpelling(r, m)
	f.checkOrder(m)
	f.checkRoutes(m, r.routesOf(m))
	f.checkRewriting(m, r.routesOf(m))
}

// checkFailure checks what becomes of requests while nobody answers.
func (f *checker) checkFailure(config node) {
	if allow := config.get("failure_mode_allow"); allow.truth() {
		f.report(FailureModeAllow, allow, "failure_mode_allow", "is true: while ussoauthz can't be reached, every request is allowed, with the identity headers that the client wrote; write false")
	}
	if shadow := config.get("shadow_mode"); shadow.truth() {
		f.report(ShadowMode, shadow, "shadow_mode", "is true: what ussoauthz denies is let through; remove it")
	}
	if version := config.get("transport_api_version"); version.text() != "V3" && version.text() != "2" {
		f.report(TransportVersion, version, "transport_api_version", "is not V3: Envoy refuses the file, or asks for a service that there is not; write V3")
	}
	f.checkStatusOnError(config.get("status_on_error", "code"), "status_on_error")
}

// checkStatusOnError checks the status of requests that nobody answered, which is
// 403 unless it is written.
func (f *checker) checkStatusOnError(code node, field string) {
	switch code.text() {
	case "ServiceUnavailable", "503", "GatewayTimeout", "504", "InternalServerError", "500", "BadGateway", "502":
	case "", "0", "Empty", "Forbidden", "403":
		f.report(StatusOnError, code, field, "is 403, the default: while ussoauthz can't be reached, good clients read that they lost their rights; write 503 (ServiceUnavailable)")
	default:
		f.report(StatusOnError, code, field, "is %s, which says something else than that nobody answered: write 503 (ServiceUnavailable)", code.text())
	}
}

// checkEnabled checks whether every request is asked about.
func (f *checker) checkEnabled(m manager, config node) {
	enabled := config.get("filter_enabled")
	if share := enabled.get("default_value"); enabled.set() && !config.get("deny_at_disable", "default_value").truth() {
		numerator, _ := share.get("numerator").number()
		of := map[string]float64{"TEN_THOUSAND": 1e4, "1": 1e4, "MILLION": 1e6, "2": 1e6}[share.get("denominator").text()]
		if of == 0 {
			of = 100
		}
		if numerator < of {
			f.report(FilterEnabled, enabled, "filter_enabled", "asks about %g of %g requests and lets the others pass: remove it, or write deny_at_disable: {default_value: true, runtime_key: usso.deny_at_disable}", numerator, of)
		}
	}
	if metadata := config.get("filter_enabled_metadata"); metadata.set() && !matchesEverything(m, metadata) {
		f.report(Unasked, metadata, "filter_enabled_metadata", "a request that matches no rule of the RBAC filter before this one is let through unasked: write rules that match every request, as `rules: [{}]` of Istio's AuthorizationPolicy does")
	}
}

// checkService checks how the filter, or a route's override of it, reaches us.
func (f *checker) checkService(r *resources, service, config node) {
	if !service.set() {
		f.report(NotGRPC, config, "grpc_service", "is missing: ussoauthz answers gRPC; write grpc_service with envoy_grpc in place of http_service")
		return
	}
	f.checkTimeout(service.get("timeout"), 200*time.Millisecond)
	name := service.get("envoy_grpc", "cluster_name")
	if !name.set() {
		return // google_grpc dials by itself
	}
	cluster, found := r.clusters[name.text()]
	if !found {
		if r.bootstrap.set() && !r.bootstrap.get("dynamic_resources").set() {
			f.report(ClusterMissing, name, "cluster_name", "no cluster is called %q: every request is answered with status_on_error; write it under static_resources.clusters", name.text())
		}
		return
	}
	f.checkCluster(cluster)
}

// longTimeout is what a client would wait for while ussoauthz hangs.
const longTimeout = 10 * time.Second

// checkTimeout compares the time that Envoy waits with the one that a decision
// takes at most. unset is what counts where none is written.
func (f *checker) checkTimeout(timeout node, unset time.Duration) {
	d, ok := timeout.duration()
	if !timeout.set() {
		d, ok = unset, true
	}
	if !ok {
		return
	}
	switch evaluation := f.service.Policy.Timeout; {
	case d == 0 || d > longTimeout:
		f.report(Timeout, timeout, "timeout", "requests wait for up to %s while ussoauthz hangs (0s: for good): write 1s", d)
	case d <= evaluation:
		f.report(Timeout, timeout, "timeout", "is %s, and one evaluation of a policy may take %s (policy.timeout): Envoy would give up before the answer; write 1s", d, evaluation)
	}
}

// checkAnswers checks what Envoy makes of our answers.
func (f *checker) checkAnswers(config node, written bool) {
	if rules := config.get("decoder_header_mutation_rules"); rules.set() {
		f.checkRules(rules)
	}
	// In resources that a mesh made of its manifests there is no field for it.
	if validate := config.get("validate_mutations"); !validate.truth() && written {
		f.report(ValidateMutations, validate, "validate_mutations", "is off: a line break in an answer would reach the client as a header; write true")
	}
	if clear := config.get("clear_route_cache"); clear.truth() {
		f.report(ClearRouteCache, clear, "clear_route_cache", "is true: a header that a policy sets can send the request on another route than the one that was checked; remove it")
	}
}

// checkRules compares mutation rules with the headers that we set.
func (f *checker) checkRules(rules node) {
	var refused []string
	for _, name := range f.ourHeaders() {
		if !mutable(rules, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) == 0 {
		return
	}
	effect := "Envoy leaves them as the client wrote them"
	if rules.get("disallow_is_error").truth() {
		effect = "Envoy answers 500 with an empty body, where ussoauthz allowed"
	}
	f.report(MutationRules, rules, "decoder_header_mutation_rules", "refuse headers that ussoauthz sets or removes: %s: %s; write them into allow_expression (names match whole, in any case), and let disallow_expression leave them out",
		strings.Join(refused, ", "), effect)
}

// checkRequest checks what of a request reaches us.
func (f *checker) checkRequest(m manager, config node) {
	if allowed := config.get("allowed_headers"); allowed.set() {
		f.checkAllowed(allowed, true)
	}
	if disallowed := config.get("disallowed_headers"); disallowed.set() {
		f.checkAllowed(disallowed, false)
	}
	if body := config.get("with_request_body"); body.set() {
		f.checkBody(m, body)
	}
}

// checkAllowed checks that a list of headers, of those sent or those held back,
// leaves us the ones that decide.
func (f *checker) checkAllowed(list node, sent bool) {
	var missing []string
	for _, name := range f.decidingHeaders() {
		if slices.ContainsFunc(list.get("patterns").list(), func(p node) bool { return matches(p, name) }) != sent {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		f.report(AllowedHeaders, list, "", "ussoauthz does not see %s: requests are refused, or decided by what is left; remove this list, so that all are sent", strings.Join(missing, ", "))
	}
}

// checkBody compares the limits that a body meets on its way.
func (f *checker) checkBody(m manager, body node) {
	largest, _ := body.get("max_request_bytes").number()
	f.checkBodyLimit(body.get("max_request_bytes"))
	if !body.get("pack_as_bytes").truth() {
		f.report(PackAsBytes, body, "pack_as_bytes", "is off: bytes that are no UTF-8 are replaced, so that the policy reads another body than the application; write true")
	}
	if !body.get("allow_partial_message").truth() {
		return // then Envoy buffers as much as max_request_bytes says
	}
	for _, limit := range []struct {
		field string
		value node
	}{
		{"per_connection_buffer_limit_bytes", m.listener.get("per_connection_buffer_limit_bytes")},
		{"initial_stream_window_size", m.get("http2_protocol_options", "initial_stream_window_size")},
	} {
		if bytes, ok := limit.value.number(); ok && bytes < largest {
			f.report(BufferLimit, limit.value, limit.field, "is %.0f, and with_request_body sends %.0f bytes with allow_partial_message: a longer body is answered with 413 in place of a partial one; write at least %.0f", bytes, largest, largest)
		}
	}
}

// checkBodyLimit compares the longest body with the longest message.
func (f *checker) checkBodyLimit(bytes node) {
	const headers = 64 << 10 // max_request_headers_kb is 60 by default
	largest, _ := bytes.number()
	if limit := float64(f.service.Limits.MaxRequestBytes); largest+headers > limit {
		f.report(BodyLimit, bytes, "max_request_bytes", "is %s, and ussoauthz reads messages of at most %.0f bytes (limits.max_request_bytes), headers included: a longer one is an error, which status_on_error answers; write at most %.0f", bytes.text(), limit, max(limit-headers, 0))
	}
}
