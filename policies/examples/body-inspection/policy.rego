# METADATA
# title: Looking into the body
# description: |
#   Envoy has to send it: with_request_body {max_request_bytes: 8192,
#   allow_partial_message: true} in the filter. A body that was cut is null here,
#   and is refused: what can't be read can't be judged.
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

# Asked in the positive: an amount that is missing, or is text, is no small one.
transferable if {
	is_number(input.parsed_body.amount)
	input.parsed_body.amount > 0
	within_limit
}

within_limit if input.parsed_body.amount <= 1000

within_limit if usso.has_role("treasurer")
