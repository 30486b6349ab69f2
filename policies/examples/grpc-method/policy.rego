# METADATA
# title: gRPC services and methods
# description: |
#   A call of Delete on shop.v1.Posts is POST /shop.v1.Posts/Delete. Envoy turns
#   the answer into the caller's grpc-status.
# scope: package
package example.grpc_method

import data.usso

# METADATA
# title: The answer to the call
# entrypoint: true
decision := {"allowed": true} if {
	call in data.grpc.open
} else := {"allowed": false, "reason": "token_not_found"} if {
	not usso.is_authenticated
} else := {"allowed": true} if {
	usso.has_scope(data.grpc.scopes[call])
} else := {"allowed": false, "reason": "insufficient_scope"} if {
	data.grpc.scopes[call]
} else := {"allowed": false, "reason": "no_route"}

call := concat("/", [service, method]) if {
	input.request.method == "POST"
	startswith(input.request.headers["content-type"], "application/grpc")
	[service, method] := input.request.segments
}
