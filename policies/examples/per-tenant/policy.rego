# METADATA
# title: Features of each tenant's plan
# description: |
#   One policy for all tenants, with a line of data for each. input.tenant is the
#   tenant that was selected before any token was read.
# scope: package
package example.per_tenant

# METADATA
# title: The answer to the request
# entrypoint: true
decision := data.usso.authz.decision if {
	every feature in features {
		feature in data.plans[input.tenant.id].features
	}
} else := {"allowed": false, "reason": "not_in_plan", "detail": "The plan does not have this feature", "http_status": 402}

# The paid features that the first segment names: as it was sent, and as servers
# may read it (/Exports, /exports;x).
features contains name if {
	some segments in [input.request.segments, input.request.plain_segments]
	name := segments[0]
	name in data.paid_features
}
