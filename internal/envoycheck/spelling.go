package envoycheck

// checkSpelling checks that a path and a host have one spelling for the check, the
// route and the application.
func (f *checker) checkSpelling(r *resources, m manager) {
	for _, field := range []struct{ name, effect string }{
		{"normalize_path", "/a/../b and /%61 are routed as they are written"},
		{"merge_slashes", "//admin is routed as it is written"},
	} {
		if value := m.get(field.name); !value.truth() {
			f.report(Normalization, value, field.name, "is off: %s, and ussoauthz refuses what it can't read one way (400); write true", field.effect)
		}
	}
	switch action := m.get("path_with_escaped_slashes_action"); action.text() {
	case "REJECT_REQUEST", "2", "UNESCAPE_AND_REDIRECT", "3", "UNESCAPE_AND_FORWARD", "4":
	default:
		f.report(Normalization, action, "path_with_escaped_slashes_action", "leaves %%2F and %%5C in the path, which some servers read as slashes: write REJECT_REQUEST, or UNESCAPE_AND_REDIRECT for browsers")
	}
	stripped := m.get("strip_any_host_port").truth() || m.get("strip_matching_host_port").truth()
	if routes := r.routesOf(m); !stripped && namesHosts(routes) && !routes.get("ignore_port_in_host_matching").truth() {
		f.report(HostSpelling, m.node, "strip_any_host_port", "is off: `Host: api.example:80` matches other domains and rules than `Host: api.example`; write true")
	}
	switch action := m.get("common_http_protocol_options", "headers_with_underscores_action"); action.text() {
	case "REJECT_REQUEST", "1", "DROP_HEADER", "2":
	default:
		f.report(Underscores, action, "headers_with_underscores_action", "lets x_user_id pass, which CGI-like servers read as x-user-id: write REJECT_REQUEST under common_http_protocol_options")
	}
}

// namesHosts reports whether routes differ by host, or are not known.
func namesHosts(routes node) bool {
	for _, host := range routes.get("virtual_hosts").list() {
		for _, domain := range host.get("domains").texts() {
			if domain != "*" {
				return true
			}
		}
	}
	return !routes.set()
}
