# METADATA
# title: Routing in the policy
# description: |
#   For rules that the routes of a configuration can't express. The patterns are
#   the same; match returns the values of the wildcards. If any rule allows, the
#   request is allowed: a broad pattern opens what a narrower one guards.
# scope: package
package example.own_routes

import data.usso

# METADATA
# title: The answer to the request
# entrypoint: true
decision := {"allowed": true} if {
	open
} else := {"allowed": false, "reason": "token_not_found"} if {
	not usso.is_authenticated
} else := {"allowed": true} if {
	permitted
} else := {"allowed": false}

open if usso.match("GET /health")

permitted if {
	usso.match("GET /posts/{id}")
	usso.has_scope("read:posts")
}

# Only its owner can change a profile.
permitted if {
	params := usso.match("PUT /users/{user}")
	params.user == input.identity.user_id
}

# Members of a workspace can read and write its files, except private ones. The
# exception goes by plain_segments, where /Private;x is "private" too.
permitted if {
	params := usso.match("/workspaces/{workspace}/files/{path...}")
	usso.same_workspace(params.workspace)
	not input.request.plain_segments[3] == "private"
}
