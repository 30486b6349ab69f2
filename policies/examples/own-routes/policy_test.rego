package example.own_routes_test

import data.example.own_routes

asked(method, segments, identity) := read(method, segments, segments, identity)

read(method, segments, plain, identity) := decision if {
	decision := own_routes.decision with input as {
		"request": {"method": method, "segments": segments, "plain_segments": plain},
		"identity": identity,
	}
}

alice := {"user_id": "user:alice", "workspace_id": "ws_1", "scopes": ["read:posts"], "roles": []}

test_open_to_all if asked("GET", ["health"], null).allowed

test_a_token_first if asked("GET", ["posts", "1"], null).reason == "token_not_found"

test_scope if {
	asked("GET", ["posts", "1"], alice).allowed
	not asked("GET", ["posts", "1"], object.union(alice, {"scopes": []})).allowed
	not asked("POST", ["posts", "1"], alice).allowed
}

test_owner if {
	asked("PUT", ["users", "user:alice"], alice).allowed
	not asked("PUT", ["users", "user:bob"], alice).allowed
}

test_workspace if {
	asked("DELETE", ["workspaces", "ws_1", "files", "a", "b"], alice).allowed
	not asked("GET", ["workspaces", "ws_2", "files", "a"], alice).allowed
	not asked("GET", ["workspaces", "ws_1", "files", "private", "a"], alice).allowed
}

test_hostile_paths if {
	every name in ["Private", "private;x", "private.", "private"] {
		not read("GET", ["workspaces", "ws_1", "files", name, "a"], ["workspaces", "ws_1", "files", "private", "a"], alice).allowed
		not read("GET", ["workspaces", "ws_1", "files", name], ["workspaces", "ws_1", "files", "private"], alice).allowed
	}
	every path in [["health", ""], ["Health"], ["health;x"]] {
		not read("GET", path, ["health"], alice).allowed
	}
	not read("GET", ["workspaces", "ws_1;x", "files", "a"], ["workspaces", "ws_1", "files", "a"], alice).allowed
}
