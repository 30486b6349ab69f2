# METADATA
# title: Metadata for Envoy's rate limits
# description: |
#   Envoy stores dynamic_metadata under the name of its filter. This action of a
#   rate limit reads it there:
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

# The verified user, or one key for all requests of a tenant without a token:
# clients could choose any other key, such as an address, themselves.
who := concat("/", [input.tenant.id, input.identity.user_id]) if {
	input.identity.user_id != ""
} else := concat("/", [input.tenant.id, "anonymous"])

plan := input.identity.claims.plan if {
	data.rates[input.identity.claims.plan]
} else := "free"
