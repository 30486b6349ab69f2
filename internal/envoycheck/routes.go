package envoycheck

import (
	"slices"
	"strings"
)

// upstreams returns the clusters that routes lead to.
func upstreams(routes node) (names []string) {
	for _, host := range routes.get("virtual_hosts").list() {
		for _, route := range host.get("routes").list() {
			action := route.get("route")
			if name := action.get("cluster").text(); name != "" {
				names = append(names, name)
			}
			for _, weighted := range action.get("weighted_clusters", "clusters").list() {
				names = append(names, weighted.get("name").text())
			}
		}
	}
	return names
}

// checkRoutes checks what routes change of the filter, and of its answers.
func (f *checker) checkRoutes(m manager, routes node) {
	f.checkLevel(m, routes)
	for _, host := range routes.get("virtual_hosts").list() {
		f.checkLevel(m, host)
		for _, route := range host.get("routes").list() {
			if !route.get("route").set() {
				continue // answered by Envoy itself
			}
			f.checkLevel(m, route)
			for _, weighted := range route.get("route", "weighted_clusters", "clusters").list() {
				f.checkLevel(m, weighted)
			}
		}
	}
}

// checkDisabled: a filter that is off runs where a route switches it on, which is
// how Envoy Gateway attaches policies to routes.
func (f *checker) checkDisabled(m manager, routes node) {
	filter := m.filters[m.guard]
	disabled, name := filter.get("disabled"), filter.get("name").text()
	if !disabled.truth() {
		return
	}
	on := func(level node) bool {
		enabled := false
		level.get("typed_per_filter_config").each(func(key string, _ node) { enabled = enabled || key == name }) // one that disables is reported elsewhere
		return enabled
	}
	known := false
	for _, host := range routes.get("virtual_hosts").list() {
		for _, route := range host.get("routes").list() {
			known = true
			if route.get("route").set() && !on(route) && !on(host) && !on(routes) {
				f.report(FilterDisabled, route, "typed_per_filter_config", "does not switch on %q, which is disabled in http_filters: what goes this way is let through unasked; remove disabled there", name)
			}
		}
	}
	if !known {
		f.report(FilterDisabled, disabled, "disabled", "is true, and the routes are not in this file: the filter is off but where a route switches it on; remove it, or check the routes, too")
	}
}

// checkLevel checks a route configuration, a virtual host, a route or a weighted
// cluster: all of them have these fields.
func (f *checker) checkLevel(m manager, level node) {
	level.get("typed_per_filter_config").each(func(key string, override node) {
		if override.is("route.v3.FilterConfig") {
			if disabled := override.get("disabled"); disabled.truth() && key == m.filters[m.guard].get("name").text() {
				f.reportDisabled(disabled)
			}
			override = override.get("config")
		}
		if override.is("http.ext_authz.v3.ExtAuthzPerRoute") {
			message, _ := override.typed()
			f.checkPerRoute(m, message)
		}
	})
	ours := f.identityHeaders()
	isOurs := func(name string) bool { return slices.Contains(ours, strings.ToLower(name)) }
	for _, header := range level.get("request_headers_to_remove").list() {
		if isOurs(header.text()) {
			f.reportLate(header, "request_headers_to_remove")
		}
	}
	for _, added := range level.get("request_headers_to_add").list() {
		if key := added.get("header", "key"); isOurs(key.text()) {
			f.report(IdentityHeaderLate, key, "request_headers_to_add", "%s is set after the check: the application believes it in place of what ussoauthz verified; remove it", key.text())
		}
	}
}

func (f *checker) reportDisabled(n node) {
	f.report(RouteDisables, n, "disabled", "is true: what goes this way is let through unasked, with the identity headers that the client wrote; remove it, and write `public: true` in the routes of ussoauthz for pages that are for everybody")
}

func (f *checker) reportLate(n node, field string) {
	f.report(IdentityHeaderLate, n, field, "%s is removed after the check: this takes away what ussoauthz set, and nothing of the client's; remove it in early_header_mutation_extensions", n.text())
}

// checkPerRoute checks an ExtAuthzPerRoute.
func (f *checker) checkPerRoute(m manager, override node) {
	if disabled := override.get("disabled"); disabled.truth() {
		f.reportDisabled(disabled)
	}
	settings := override.get("check_settings")
	filter, _ := m.filters[m.guard].get("typed_config").typed()
	if off := settings.get("disable_request_body_buffering"); off.truth() && filter.get("with_request_body").set() {
		f.report(RouteWithoutBody, off, "disable_request_body_buffering", "policies see no body of what goes this way (input.parsed_body is null): check that those that deny by the body deny without one")
	}
	if body := settings.get("with_request_body"); body.set() {
		f.checkBody(m, body)
	}
	if f.cfg == nil {
		return
	}
	settings.get("context_extensions").each(func(key string, value node) {
		if key != f.cfg.TenantSelection.ContextExtension || f.hasTenant(value.text()) {
			return
		}
		f.report(UnknownTenant, value, "context_extensions", "no tenant of %s is called %q: every request is answered with 400", f.cfg.Path, value.text())
	})
}

func (f *checker) hasTenant(id string) bool {
	for i := range f.cfg.Tenants {
		if f.cfg.Tenants[i].ID == id {
			return true
		}
	}
	return false
}

// changing are filters that can change a request after it was checked.
var changing = []string{"lua.v3.Lua", "wasm.v3.Wasm", "ext_proc.v3.ExternalProcessor", "golang.v3alpha.Config", "composite.v3.Composite", "dynamic_modules.v3.DynamicModuleFilter", "transform.v3.Transform"}

// checkOrder checks the filters around ours.
func (f *checker) checkOrder(m manager) {
	for i, filter := range m.filters {
		config := filter.get("typed_config")
		message, _ := config.typed()
		switch {
		case i < m.guard && config.is("jwt_authn.v3.JwtAuthentication"):
			f.checkForward(message)
		case i > m.guard && config.is("header_mutation.v3.HeaderMutation"):
			f.checkLateMutations(message.get("mutations", "request_mutations"))
		case i > m.guard && slices.ContainsFunc(changing, config.is):
			f.report(FilterAfter, filter, "http_filters", "%s comes after ext_authz and can change the path, the host or the headers that were checked: write it before", filter.get("name").text())
		}
	}
}

// checkForward checks that jwt_authn leaves us the token.
func (f *checker) checkForward(config node) {
	config.get("providers").each(func(name string, provider node) {
		if !provider.get("forward").truth() {
			f.report(TokenRemoved, provider, "forward", "is false for the provider %q: jwt_authn takes the token away, and ussoauthz answers token_not_found; write forward: true", name)
		}
	})
}

func (f *checker) checkLateMutations(list node) {
	removes := mutations(list.list())
	for _, name := range f.identityHeaders() {
		if removes.of(name) {
			f.report(IdentityHeaderLate, list, "request_mutations", "%s is removed after the check: this takes away what ussoauthz set, and nothing of the client's; write the filter before ext_authz", name)
		}
	}
	for _, mutation := range list.list() {
		if key := mutation.get("append", "header", "key"); slices.Contains(f.identityHeaders(), strings.ToLower(key.text())) {
			f.report(IdentityHeaderLate, key, "request_mutations", "%s is set after the check: the application believes it in place of what ussoauthz verified; remove it", key.text())
		}
	}
}
