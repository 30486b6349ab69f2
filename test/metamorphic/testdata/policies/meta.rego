# Policies whose specification in Go stands in policies_test.go. Each reads other
# parts of the input, which is what decisions are kept by.
package meta

# The routes decide, but on a free plan nobody writes, and a gold one shows.
claims := {"allowed": false, "reason": "upgrade", "http_status": 402} if {
	input.identity.claims.plan == "free"
	not input.request.method in {"GET", "HEAD"}
} else := {"allowed": true, "headers": {"x-plan-seen": "gold"}, "request_headers_to_remove": ["x-h"]} if {
	input.identity.claims.plan == "gold"
	data.usso.authz.decision.allowed
} else := data.usso.authz.decision

# Parts of a request, with a route or without.
default parts := false

parts if {
	input.request.headers["x-flag"] == "on"
	not "admin" in input.request.plain_segments
	not input.request.plain_segments[1] == "items"
}

parts if input.request.query.flag == ["1"]

parts if {
	input.request.segments[1] == "x"
	input.route.public
}

parts if {
	input.route.params.id == input.identity.workspace_id
	input.request.host in {"acme.example", "globex.example"}
}

# What no policy may do, what is no decision, and credentials of its own.
odd := {"allowed": true, "headers": {"X_User_Id": "root"}} if {
	input.request.method == "POST"
} else := {"allowed": true, "request_headers_to_remove": ["x-roles"]} if {
	input.request.method == "DELETE"
} else := "yes" if {
	input.request.method == "PUT"
} else := {"allowed": false, "reason": "closed"} if {
	input.request.method == "HEAD"
} else := {"allowed": true, "headers": {"cookie": "c=1", "authorization": "Basic eDp5"}, "request_headers_to_remove": ["x-token"]} if {
	input.identity.user_id
}
