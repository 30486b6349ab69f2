# METADATA
# title: Headers for the upstream (the application) and for the client
# description: |
#   headers go to the upstream on an allow and to the client on a denial;
#   response_headers_to_add go to the client on an allow. A policy that names an
#   identity header is a policy_error.
# scope: package
package example.response_headers

import data.usso

# METADATA
# title: The answer to the request
# entrypoint: true
decision := object.union(routes, {
	"headers": {"x-audience": audience},
	"request_headers_to_remove": ["x-debug"],
	"response_headers_to_add": {"cache-control": cache, "vary": ["authorization", "cookie"]},
}) if {
	routes.allowed
} else := object.union(routes, {"headers": {"cache-control": "no-store"}})

routes := data.usso.authz.decision

audience := "staff" if {
	usso.has_any_role(["admin", "editor"])
} else := "public"

cache := "private, no-store" if {
	usso.is_authenticated
} else := "public, max-age=60"
