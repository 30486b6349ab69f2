package example.rate_limit_test

import data.example.rate_limit

ask(identity) := {
	"tenant": {"id": "acme"},
	"identity": identity,
	"route": {"match": "/", "public": true},
}

decide(question) := answer if {
	answer := rate_limit.decision with input as question with data.rates as {"free": 60, "gold": 6000}
}

rate(identity) := decide(ask(identity)).dynamic_metadata.rate

test_anonymous if rate(null) == {"who": "acme/anonymous", "plan": "free", "per_minute": 60}

test_gold if {
	gold := {"user_id": "user:1", "scopes": [], "roles": [], "claims": {"plan": "gold"}}
	rate(gold) == {"who": "acme/user:1", "plan": "gold", "per_minute": 6000}
}

test_a_plan_that_is_none if {
	every claims in [{}, {"plan": "platinum"}, {"plan": null}, {"plan": ["gold"]}] {
		rate({"user_id": "user:1", "scopes": [], "roles": [], "claims": claims}).plan == "free"
	}
}

test_denials_count_too if {
	decision := decide({"tenant": {"id": "acme"}, "identity": null, "route": null})
	decision.allowed == false
	decision.dynamic_metadata.rate.who == "acme/anonymous"
}

# The key contains nothing that a client chooses: no header, no address, no path.
test_hostile_requests if {
	every request in [
		{"headers": {"x-user-id": "user:2", "x-forwarded-for": "10.0.0.1", "x-tenant-id": "globex"}},
		{"path": "/Posts;x", "segments": ["Posts;x"], "query": {"plan": ["gold"]}},
	] {
		decision := decide(object.union(ask(null), {"request": request}))
		decision.dynamic_metadata.rate == {"who": "acme/anonymous", "plan": "free", "per_minute": 60}
	}
}
