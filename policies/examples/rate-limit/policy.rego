# METADATA
# title: Metadata for Envoy's rate limits
# description: |
#   Envoy puts dynamic_metadata under its filter's name, where a rate limit's
#   action finds it:
#   metadata: {descriptor_key: who, metadata_key: {key:
#   envoy.filters.http.ext_authz, path: [{key: rate}, {key: who}]}}
# scope: package
package example.rate_limit

# METADATA
# title: The answer to the request
# entrypoint: true
decision := object.union(data.usso.authz.decision, {"dynamic_metadata": {"rate": {
	"who": who,
	"plan": plan,
	"per_minute": data.rates[plan],
}}})

# A verified user, or all of a tenant's strangers together: an address that a
# client can choose is no key.
who := concat("/", [input.tenant.id, input.identity.user_id]) if {
	input.identity.user_id != ""
} else := concat("/", [input.tenant.id, "anonymous"])

plan := input.identity.claims.plan if {
	data.rates[input.identity.claims.plan]
} else := "free"
