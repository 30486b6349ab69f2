# METADATA
# title: Routing in the policy
# description: |
#   For rules that the routes of a configuration can't say. Patterns are theirs,
#   and what a wildcard stands for is at hand. Every rule that fits allows: a
#   broad pattern opens what a narrow one beside it guards.
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

# A profile is its owner's.
permitted if {
	params := usso.match("PUT /users/{user}")
	params.user == input.identity.user_id
}

# What belongs to a workspace: the files of it and all below them. What is closed
# is found in plain_segments, where /Private;x is private as well.
permitted if {
	params := usso.match("/workspaces/{workspace}/files/{path...}")
	usso.same_workspace(params.workspace)
	not input.request.plain_segments[3] == "private"
}
