# METADATA
# title: Rules about the body
# description: |
#   Envoy has to send the body: with_request_body {max_request_bytes: 8192,
#   allow_partial_message: true} in the filter. If Envoy cuts a body, parsed_body
#   is null, and this policy denies the request.
# scope: package
package example.body_inspection

import data.usso

# METADATA
# title: The answer to the request
# entrypoint: true
decision := data.usso.authz.decision if {
	not transfer
} else := {"allowed": false, "reason": "body_too_large", "http_status": 413} if {
	input.truncated_body
} else := data.usso.authz.decision if {
	transferable
} else := {"allowed": false, "reason": "amount", "detail": "The amount needs the role 'treasurer'"}

transfer if {
	input.request.method == "POST"
	input.request.plain_segments[0] == "transfers" # /Transfers;x too
}

# States what must hold: a missing amount, or one that is a string, is denied.
transferable if {
	is_number(input.parsed_body.amount)
	input.parsed_body.amount > 0
	within_limit
}

within_limit if input.parsed_body.amount <= 1000

within_limit if usso.has_role("treasurer")
