package example.default_routes_test

# The embedded policy, with routes as they appear in input.
decision := data.usso.authz.decision

bare := {
	"match": "/",
	"params": {},
	"public": false,
	"scopes": [],
	"any_scope": [],
	"roles": [],
	"all_roles": [],
	"workspace": "",
	"access": "",
}

asks(needs) := object.union(bare, needs)

alice := {"scopes": ["read:posts", "update:media"], "roles": ["auditor"], "workspace_id": "ws_1"}

test_public if {
	decision.allowed with input.route as asks({"public": true}) with input.identity as null
}

test_a_scope if {
	decision.allowed with input.route as asks({"scopes": ["read:posts"]}) with input.identity as alice
	decision.reason == "insufficient_scope" with input.route as asks({"any_scope": ["write:posts", "write:all"]}) with input.identity as alice
}

test_no_token if {
	decision.reason == "token_not_found" with input.route as asks({"scopes": ["read:posts"]}) with input.identity as null
}

test_a_role if {
	decision.allowed with input.route as asks({"roles": ["admin", "auditor"]}) with input.identity as alice
	decision.reason == "insufficient_role" with input.route as asks({"roles": ["admin"]}) with input.identity as alice
}

test_a_workspace if {
	route := asks({"workspace": "{workspace_id}", "params": {"workspace_id": "ws_1"}})
	decision.allowed with input.route as route with input.identity as alice
	decision.reason == "workspace_mismatch" with input.route as route with input.identity as object.union(alice, {"workspace_id": "ws_2"})
}

test_access if {
	route := asks({"access": "update:media/files"})
	decision.allowed with input.route as route with input.identity as {"scopes": ["update:media/*"], "roles": []}
	decision.reason == "insufficient_scope" with input.route as route with input.identity as alice
}

test_no_route if decision.reason == "no_route" with input.route as null with input.identity as alice

# A second workspace in another spelling, which the application might read.
test_hostile_requests if {
	every query in [{"workspace": ["ws_1", "ws_2"]}, {"workspace": ["ws_1"], "workspace[]": ["ws_2"]}, {"workspace": ["ws_1"], "q": [";workspace=ws_2"]}] {
		decision.reason == "workspace_mismatch" with input.route as asks({"workspace": "query:workspace"})
			with input.identity as alice
			with input.request as {"query": query}
	}
	decision.reason == "workspace_mismatch" with input.route as asks({"workspace": "header:X-Org"})
		with input.identity as alice
		with input.request as {"headers": {"x-org": "ws_1", "x.org": "ws_2"}}
}
