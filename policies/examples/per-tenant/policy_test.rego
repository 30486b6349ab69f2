package example.per_tenant_test

import data.example.per_tenant

reason(tenant, path) := reading(tenant, path, path)

reading(tenant, path, plain) := answer.reason if {
	answer := per_tenant.decision with input as {
		"tenant": {"id": tenant},
		"request": {"segments": path, "plain_segments": plain},
		"route": {"match": "/", "public": true},
	}
		with data.paid_features as ["exports", "search"]
		with data.plans as {"acme": {"features": ["exports", "search"]}, "globex": {"features": ["search"]}}
}

test_in_the_plan if {
	reason("acme", ["exports", "1"]) == "allowed"
	reason("globex", ["search"]) == "allowed"
}

test_not_in_the_plan if reason("globex", ["exports", "1"]) == "not_in_plan"

test_a_tenant_without_a_plan if {
	reason("initech", ["search"]) == "not_in_plan"
	reason("initech", ["posts"]) == "allowed"
}

test_hostile_paths if {
	every sent in [["Exports"], ["exports;x", "1"], ["", "exports"], ["exports.json"]] {
		reading("globex", sent, ["exports"]) == "not_in_plan"
		reading("acme", sent, ["exports"]) == "allowed"
	}
	reading("globex", ["exports"], ["elsewhere"]) == "not_in_plan"
}
