package envoycheck

import (
	"slices"
	"strings"
	"time"
)

// matchesEverything reports whether filter_enabled_metadata, which is how Istio asks by the
// rules of an AuthorizationPolicy, holds for every request: the rules are those of
// an RBAC filter that only notes which of its policies matches.
func matchesEverything(m manager, metadata node) bool {
	key := ""
	for _, segment := range metadata.get("path").list() {
		key = segment.get("key").text()
	}
	prefix, ours := strings.CutSuffix(key, "shadow_effective_policy_id")
	if !ours || metadata.get("invert").truth() || metadata.get("filter").text() != "envoy.filters.http.rbac" {
		return false
	}
	value := metadata.get("value", "string_match")
	for _, filter := range m.filters[:m.guard] {
		config, _ := filter.get("typed_config").typed()
		if !filter.get("typed_config").is("http.rbac.v3.RBAC") || config.get("shadow_rules_stat_prefix").text() != prefix {
			continue
		}
		all := false
		config.get("shadow_rules", "policies").each(func(name string, policy node) {
			if matches(value, name) && slices.ContainsFunc(policy.get("permissions").list(), matchesAll) && slices.ContainsFunc(policy.get("principals").list(), matchesAll) {
				all = true
			}
		})
		if all {
			return true
		}
	}
	return false
}

// matchesAll reports whether a permission or a principal of RBAC holds for every
// request. All but named ports counts as that: they have been left out on purpose.
func matchesAll(rule node) bool {
	switch {
	case rule.get("any").truth():
		return true
	case rule.get("and_rules").set(), rule.get("and_ids").set():
		parts := slices.Concat(rule.get("and_rules", "rules").list(), rule.get("and_ids", "ids").list())
		return len(parts) > 0 && !slices.ContainsFunc(parts, func(part node) bool { return !matchesAll(part) })
	case rule.get("or_rules").set(), rule.get("or_ids").set():
		return slices.ContainsFunc(slices.Concat(rule.get("or_rules", "rules").list(), rule.get("or_ids", "ids").list()), matchesAll)
	}
	return onlyPorts(rule.get("not_rule"))
}

func onlyPorts(rule node) bool {
	if alternatives := rule.get("or_rules", "rules").list(); len(alternatives) > 0 {
		return !slices.ContainsFunc(alternatives, func(r node) bool { return !onlyPorts(r) })
	}
	return rule.get("destination_port").set()
}

// checkAuthorizationPolicy checks Istio's rule of who is asked about.
func (f *checker) checkAuthorizationPolicy(spec node) {
	if spec.get("action").text() != "CUSTOM" {
		return
	}
	rules := spec.get("rules")
	if !slices.ContainsFunc(rules.list(), everything) {
		f.report(Unasked, rules, "rules", "a request that matches none of them is let through unasked, and they read what the client wrote: `Host: api.example:80` is not `hosts: [api.example]`, and a waypoint's ports are the Service's; write rules: [{}]")
	}
}

// everything reports whether a rule of an AuthorizationPolicy matches every request,
// but for ports that it leaves out by their numbers.
func everything(rule node) bool {
	if len(rule.get("from").list())+len(rule.get("when").list()) > 0 {
		return false
	}
	to := rule.get("to").list()
	return len(to) == 0 || slices.ContainsFunc(to, func(to node) bool {
		all := true
		to.get("operation").each(func(key string, _ node) { all = all && foldName(key) == "notports" })
		return all
	})
}

// istioTimeout counts where a provider has none.
const istioTimeout = 600 * time.Second

// checkMesh checks the extension providers of a mesh.
func (f *checker) checkMesh(mesh node) {
	for _, provider := range mesh.get("extensionProviders").list() {
		if http := provider.get("envoyExtAuthzHttp"); http.set() {
			f.report(NotGRPC, http, "envoyExtAuthzHttp", "ussoauthz answers gRPC: write envoyExtAuthzGrpc")
		}
		grpc := provider.get("envoyExtAuthzGrpc")
		if !grpc.set() {
			continue
		}
		if open := grpc.get("failOpen"); open.truth() {
			f.reportFailOpen(open)
		}
		f.checkStatusOnError(grpc.get("statusOnError"), "statusOnError")
		f.checkTimeout(grpc.get("timeout"), istioTimeout)
		if body := grpc.get("includeRequestBodyInCheck"); body.set() {
			f.checkBody(manager{}, body)
		}
	}
}

func (f *checker) reportFailOpen(n node) {
	f.report(FailureModeAllow, n, "failOpen", "is true: while ussoauthz can't be reached, every request is allowed, with the identity headers that the client wrote; write false")
}
