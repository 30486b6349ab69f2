package example.per_tenant_test

import data.example.per_tenant

reason(tenant, path) := answer.reason if {
	answer := per_tenant.decision with input as {
		"tenant": {"id": tenant},
		"request": {"segments": path},
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
