# METADATA
# title: Rules in addition to the routes
# description: |
#   The routes of the configuration decide first. A request that they deny stays
#   denied; a request that they allow must also pass the rules below.
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

# Servers may route /posts/1/, /Posts/1 and /posts/1;x to the same post. So a
# denial goes by plain_segments, where these spellings are equal.
deletes_post if {
	input.request.method == "DELETE"
	[segment | some segment in input.request.plain_segments; segment != ""] = ["posts", _]
}
