package example.grpc_method_test

import data.example.grpc_method

ask(service, method, identity) := {
	"request": {"method": "POST", "headers": {"content-type": "application/grpc+proto"}, "segments": [service, method]},
	"identity": identity,
}

grpc := {
	"open": ["grpc.health.v1.Health/Check"],
	"scopes": {"shop.v1.Posts/Get": "read:posts", "shop.v1.Posts/Delete": "delete:posts"},
}

decide(question) := answer if {
	answer := grpc_method.decision with input as question with data.grpc as grpc
}

reader := {"scopes": ["read:posts"], "roles": []}

test_open if {
	decision := decide(ask("grpc.health.v1.Health", "Check", null))
	decision.allowed
}

test_scope if {
	decision := decide(ask("shop.v1.Posts", "Get", reader))
	decision.allowed
}

test_refused if {
	cases := [
		["shop.v1.Posts", "Get", null, "token_not_found"],
		["shop.v1.Posts", "Delete", reader, "insufficient_scope"],
		["shop.v1.Posts", "Nothing", reader, "no_route"],
		["shop.v1.posts", "Get", reader, "no_route"],
	]
	every case in cases {
		decision := decide(ask(case[0], case[1], case[2]))
		decision == {"allowed": false, "reason": case[3]}
	}
}

test_no_grpc if {
	question := object.union(ask("shop.v1.Posts", "Get", reader), {"request": {"headers": {"content-type": "application/json"}}})
	decision := decide(question)
	decision.reason == "no_route"
}

# The list of open methods is compared exactly.
test_hostile_requests if {
	every call in [
		["grpc.health.v1.health", "Check"],
		["grpc.health.v1.Health", "check"],
		["grpc.health.v1.Health", "Check;x"],
		["grpc.health.v1.Health", "Check."],
		["grpc.health.v1.Health;x", "Check"],
		["", "grpc.health.v1.Health/Check"],
	] {
		decision := decide(ask(call[0], call[1], reader))
		decision == {"allowed": false, "reason": "no_route"}
	}
	every segments in [["grpc.health.v1.Health", "Check", ""], ["x", "grpc.health.v1.Health", "Check"], ["grpc.health.v1.Health"]] {
		decision := decide(object.union(ask("", "", reader), {"request": {"segments": segments}}))
		decision.reason == "no_route"
	}
}
