package envoycheck

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// identityHeaders are the names that the application believes.
func (f *checker) identityHeaders() []string {
	h := f.service.IdentityHeaders
	names := append([]string{h.UserID, h.TenantID, h.WorkspaceID, h.Roles, h.Scopes}, slices.Sorted(maps.Keys(h.Claims))...)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// ourHeaders are those that an allow sets or removes.
func (f *checker) ourHeaders() []string {
	names := f.identityHeaders()
	if !f.service.ForwardToken {
		names = append(names, "authorization", "cookie")
	}
	return names
}

// decidingHeaders are those that a decision needs.
func (f *checker) decidingHeaders() []string {
	names := []string{"authorization", "cookie"}
	if header := f.service.TenantSelection.Header; header != "" {
		names = append(names, strings.ToLower(header))
	}
	return names
}

// mutable reports whether HeaderMutationRules let a filter set and remove a header.
// A rule that is no regular expression is Envoy's to refuse.
func mutable(rules node, name string) bool {
	expression := func(field string) bool {
		return fullMatch(rules.get(field, "regex").text(), name, true)
	}
	switch {
	case expression("disallow_expression"):
		return false
	case expression("allow_expression"):
		return true
	case rules.get("disallow_all").truth():
		return false
	}
	return name != "host" && (!strings.HasPrefix(name, "x-envoy-") || rules.get("allow_envoy").truth())
}

func fullMatch(expression, text string, ignoreCase bool) bool {
	if expression == "" {
		return false
	}
	flag := ""
	if ignoreCase {
		flag = "(?i)"
	}
	re, err := regexp.Compile(flag + "^(?:" + expression + ")$")
	return err == nil && re.MatchString(text)
}

// matches is Envoy's StringMatcher. The header names that it is asked about are in
// lower case.
func matches(m node, text string) bool {
	fold := func(s string) string {
		if m.get("ignore_case").truth() {
			return strings.ToLower(s)
		}
		return s
	}
	switch {
	case m.get("exact").set():
		return fold(m.get("exact").text()) == text
	case m.get("prefix").set():
		return strings.HasPrefix(text, fold(m.get("prefix").text()))
	case m.get("suffix").set():
		return strings.HasSuffix(text, fold(m.get("suffix").text()))
	case m.get("contains").set():
		return strings.Contains(text, fold(m.get("contains").text()))
	}
	return fullMatch(m.get("safe_regex", "regex").text(), text, false)
}

// rewriting are headers by which a client makes frameworks serve another URL or
// method than the one that was checked: the commonest of them.
var rewriting = []string{"x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"}

// removal is what takes headers out of a request.
type removal []func(name string) bool

func (r removal) of(name string) bool {
	return slices.ContainsFunc(r, func(removes func(string) bool) bool { return removes(name) })
}

// mutations reads a list of HeaderMutation.
func mutations(list []node) (r removal) {
	for _, mutation := range list {
		if matcher := mutation.get("remove_on_match", "key_matcher"); matcher.set() {
			r = append(r, func(name string) bool { return matches(matcher, name) })
		}
		r = append(r, named([]string{mutation.get("remove").text()}))
	}
	return r
}

// named removes the headers of a list, in any case.
func named(list []string) func(string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(list, func(n string) bool { return strings.EqualFold(n, name) })
	}
}

// checkRewriting finds headers that reach the application and should not.
func (f *checker) checkRewriting(m manager, routes node) {
	var everywhere removal
	for _, extension := range m.get("early_header_mutation_extensions").list() {
		message, _ := extension.get("typed_config").typed()
		everywhere = append(everywhere, mutations(message.get("mutations").list())...)
	}
	for _, filter := range m.filters {
		if config := filter.get("typed_config"); config.is("header_mutation.v3.HeaderMutation") {
			message, _ := config.typed()
			everywhere = append(everywhere, mutations(message.get("mutations", "request_mutations").list())...)
		}
	}
	var passing []string
	for _, name := range rewriting {
		if !everywhere.of(name) && !removedByRoutes(routes, name) {
			passing = append(passing, name)
		}
	}
	if len(passing) > 0 {
		f.report(RewritingHeaders, m.node, "early_header_mutation_extensions", "%s reach the application: frameworks that obey them serve another URL or method than the one that was checked; remove them in early_header_mutation_extensions, as envoy/envoy.yaml does", strings.Join(passing, ", "))
	}
}

// removedByRoutes reports whether every route to an application removes a header.
func removedByRoutes(routes node, name string) bool {
	removes := func(n node) bool { return named(n.get("request_headers_to_remove").texts())(name) }
	if removes(routes) {
		return true
	}
	all := false // there is at least one
	for _, host := range routes.get("virtual_hosts").list() {
		for _, route := range host.get("routes").list() {
			if !route.get("route").set() {
				continue
			}
			if !removes(host) && !removes(route) {
				return false
			}
			all = true
		}
	}
	return all
}
