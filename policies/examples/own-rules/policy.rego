# METADATA
# title: Rules of one's own beside the routes
# description: |
#   The routes of the configuration are asked first, and what they refuse stays
#   refused. What they allow has to pass the rules below as well.
# scope: package
package example.own_rules

import data.usso

# METADATA
# title: The answer to the request
# entrypoint: true
decision := routes if {
	not routes.allowed
} else := {"allowed": false, "reason": "published", "detail": "Published posts can't be deleted"} if {
	deletes_post
	not usso.has_any_role(["admin", "moderator"])
} else := routes

routes := data.usso.authz.decision

deletes_post if {
	input.request.method == "DELETE"
	input.request.segments = ["posts", _]
}
