# METADATA
# title: Rules about a gRPC message
# description: |
#   Envoy has to send the body as bytes: with_request_body {max_request_bytes:
#   65536, pack_as_bytes: true} in the filter. Names are in camelCase, 64-bit
#   numbers are strings, and fields without a value are missing.
# scope: package
package example.grpc_body

import data.usso

# METADATA
# title: The answer to the call
# entrypoint: true
decision := data.usso.authz.decision if {
	not creates
} else := {"allowed": false, "reason": "unreadable"} if {
	not is_object(input.parsed_body)
} else := data.usso.authz.decision if {
	not sells
} else := data.usso.authz.decision if {
	usso.has_role("editor")
} else := {"allowed": false, "reason": "published", "detail": "To publish needs the role 'editor'"}

# plain_segments is lower-case, and empty segments are left out here: this also
# matches /shop.v1.Posts/Create/.
creates if [segment | some segment in input.request.plain_segments; segment != ""] == ["shop.v1.posts", "create"]

sells if input.parsed_body.published

sells if to_number(input.parsed_body.priceCents) > 0
