package example.response_headers_test

import data.example.response_headers

ask(identity) := {"identity": identity, "route": {"match": "/", "public": true}}

test_anonymous if {
	decision := response_headers.decision with input as ask(null)
	decision.headers["x-audience"] == "public"
	decision.response_headers_to_add["cache-control"] == "public, max-age=60"
}

test_staff if {
	decision := response_headers.decision with input as ask({"scopes": [], "roles": ["editor"]})
	decision.headers["x-audience"] == "staff"
	decision.response_headers_to_add["cache-control"] == "private, no-store"
}

test_denied if {
	decision := response_headers.decision with input as {"identity": null, "route": null}
	decision.reason == "no_route"
	decision.headers == {"cache-control": "no-store"}
}

# A client's own header is overwritten, and its path changes nothing.
test_hostile_requests if {
	question := object.union(ask(null), {"request": {
		"path": "/Admin;x",
		"headers": {"x-audience": "staff", "x-roles": "admin", "cache-control": "public"},
	}})
	decision := response_headers.decision with input as question
	decision.headers["x-audience"] == "public"
	decision.request_headers_to_remove == ["x-debug"]
}
