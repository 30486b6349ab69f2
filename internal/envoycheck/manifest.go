package envoycheck

import (
	"slices"
	"strings"
	"time"
)

// checkManifests checks what Istio and Envoy Gateway make Envoy's configuration of.
func (f *checker) checkManifests(r *resources) {
	for _, mesh := range r.mesh {
		f.checkMesh(mesh)
	}
	for _, manifest := range r.manifests {
		spec := manifest.get("spec")
		switch manifest.get("kind").text() {
		case "AuthorizationPolicy":
			f.checkAuthorizationPolicy(spec)
		case "IstioOperator":
			f.checkMesh(spec.get("meshConfig"))
		case "VirtualService":
			for _, route := range spec.get("http").list() {
				f.checkModifier(route.get("headers", "request"))
			}
		case "HTTPRoute", "GRPCRoute":
			for _, rule := range spec.get("rules").list() {
				for _, filter := range rule.get("filters").list() {
					f.checkModifier(filter.get("requestHeaderModifier"))
				}
			}
		case "SecurityPolicy":
			f.checkSecurityPolicy(spec.get("extAuth"))
		case "ClientTrafficPolicy":
			f.checkClientTraffic(spec)
		}
	}
}

// checkModifier finds identity headers that a route sets or removes, which is after
// the check. Istio has maps of names, the Gateway API lists of them.
func (f *checker) checkModifier(modifier node) {
	ours := f.identityHeaders()
	isOurs := func(name string) bool { return slices.Contains(ours, strings.ToLower(name)) }
	for _, name := range modifier.get("remove").list() {
		if isOurs(name.text()) {
			f.reportLate(name, "remove")
		}
	}
	for _, field := range []string{"set", "add"} {
		added := modifier.get(field)
		names := map[string]node{}
		added.each(func(key string, value node) { names[key] = value })
		for _, header := range added.list() {
			names[header.get("name").text()] = header
		}
		for name, n := range names {
			if isOurs(name) {
				f.report(IdentityHeaderLate, n, field, "%s is set after the check: the application believes it in place of what ussoauthz verified; remove it", name)
			}
		}
	}
}

// gatewayTimeout counts where extAuth has none.
const gatewayTimeout = 10 * time.Second

// checkSecurityPolicy checks extAuth of Envoy Gateway.
func (f *checker) checkSecurityPolicy(auth node) {
	if !auth.set() {
		return
	}
	if http := auth.get("http"); http.set() {
		f.report(NotGRPC, http, "http", "ussoauthz answers gRPC: write grpc")
	}
	if open := auth.get("failOpen"); open.truth() {
		f.reportFailOpen(open)
	}
	f.checkStatusOnError(auth.get("statusOnError"), "statusOnError")
	f.checkTimeout(auth.get("timeout"), gatewayTimeout)
	if clear := auth.get("recomputeRoute"); clear.truth() {
		f.report(ClearRouteCache, clear, "recomputeRoute", "is true: a header that a policy sets can send the request on another route than the one that was checked; remove it")
	}
	if headers := auth.get("headersToExtAuth"); headers.set() {
		f.checkNames(headers)
	}
	if body := auth.get("bodyToExtAuth", "maxRequestBytes"); body.set() {
		f.checkBodyLimit(body)
	}
}

// checkNames is checkAllowed for a list of names.
func (f *checker) checkNames(list node) {
	sent := list.texts()
	missing := slices.DeleteFunc(f.decidingHeaders(), named(sent))
	if len(missing) > 0 {
		f.report(AllowedHeaders, list, "headersToExtAuth", "ussoauthz does not see %s: requests are refused, or decided by what is left; remove it", strings.Join(missing, ", "))
	}
}

// checkClientTraffic checks what Envoy Gateway makes of spellings. Its defaults are
// good ones.
func (f *checker) checkClientTraffic(spec node) {
	if slashes := spec.get("path", "disableMergeSlashes"); slashes.truth() {
		f.report(Normalization, slashes, "disableMergeSlashes", "is true: //admin is routed as it is written; remove it")
	}
	if action := spec.get("path", "escapedSlashesAction"); action.text() == "KeepUnchanged" {
		f.report(Normalization, action, "escapedSlashesAction", "leaves %%2F and %%5C in the path, which some servers read as slashes: write RejectRequest, or UnescapeAndRedirect for browsers")
	}
	if action := spec.get("headers", "withUnderscoresAction"); action.text() == "Allow" {
		f.report(Underscores, action, "withUnderscoresAction", "lets x_user_id pass, which CGI-like servers read as x-user-id: write RejectRequest")
	}
	removes := named(spec.get("headers", "earlyRequestHeaders", "remove").texts())
	passing := slices.DeleteFunc(slices.Clone(rewriting), removes)
	if len(passing) > 0 {
		f.report(RewritingHeaders, spec.get("headers", "earlyRequestHeaders"), "earlyRequestHeaders", "%s reach the application: frameworks that obey them serve another URL or method than the one that was checked; remove them here, as envoy/envoy-gateway/gateway.yaml does", strings.Join(passing, ", "))
	}
}
