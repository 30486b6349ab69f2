package example.own_rules_test

import data.example.own_rules

route := {
	"match": "/posts/{id}",
	"params": {"id": "1"},
	"public": false,
	"scopes": ["write:posts"],
	"any_scope": [],
	"roles": [],
	"all_roles": [],
	"workspace": "",
	"access": "",
}

ask(method, scopes, roles) := {
	"request": {"method": method, "segments": ["posts", "1"], "plain_segments": ["posts", "1"]},
	"identity": {"scopes": scopes, "roles": roles},
	"route": route,
}

test_the_routes_refuse if {
	decision := own_rules.decision with input as ask("DELETE", [], ["admin"])
	decision.allowed == false
	decision.reason == "insufficient_scope"
}

test_the_rules_refuse if {
	decision := own_rules.decision with input as ask("DELETE", ["write:posts"], ["editor"])
	decision.reason == "published"
}

test_both_allow if {
	own_rules.decision.allowed with input as ask("DELETE", ["write:posts"], ["moderator"])
	own_rules.decision.allowed with input as ask("PUT", ["write:posts"], [])
}

# Paths that servers may route to the post 1.
test_hostile_paths if {
	every path in [["posts", "1"], ["posts", "1", ""]] {
		question := object.union(ask("DELETE", ["write:posts"], []), {"request": {"plain_segments": path, "segments": ["Posts", "1;x", ""]}})
		decision := own_rules.decision with input as question
		decision.reason == "published"
	}
}

test_other_paths if {
	question := object.union(ask("DELETE", ["write:posts"], []), {"request": {"plain_segments": ["posts", "1", "comments"]}})
	own_rules.decision.allowed with input as question
}
