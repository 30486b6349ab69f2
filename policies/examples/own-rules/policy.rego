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

# Servers differ on what a path is: /posts/1/, /Posts/1 and /posts/1;x may all be
# the post 1. A denial goes by plain_segments, where none of that is left.
deletes_post if {
	input.request.method == "DELETE"
	[segment | some segment in input.request.plain_segments; segment != ""] = ["posts", _]
}
