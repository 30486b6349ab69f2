package example.body_inspection_test

import data.example.body_inspection

ask(body, roles) := {
	"request": {"method": "POST", "segments": ["transfers"], "plain_segments": ["transfers"]},
	"identity": {"scopes": [], "roles": roles},
	"route": {"match": "/transfers", "public": true},
	"parsed_body": body,
	"truncated_body": false,
}

reason(question) := answer.reason if {
	answer := body_inspection.decision with input as question
}

test_small if reason(ask({"amount": 1000}, [])) == "allowed"

test_large if reason(ask({"amount": 1000.01}, [])) == "amount"

test_large_by_the_treasurer if reason(ask({"amount": 1000.01}, ["treasurer"])) == "allowed"

test_no_amount if {
	every body in [{}, {"amount": "1"}, {"amount": null}, {"amount": -1}, [1], "1", null] {
		reason(ask(body, ["treasurer"])) == "amount"
	}
}

test_cut if {
	question := object.union(ask(null, ["treasurer"]), {"truncated_body": true})
	reason(question) == "body_too_large"
}

test_other_paths if {
	question := object.union(ask(null, []), {"request": {"method": "POST", "segments": ["posts"], "plain_segments": ["posts"]}})
	reason(question) == "allowed"
}

test_hostile_paths if {
	every sent in [["Transfers"], ["transfers;x", ""], ["transfers.json"], ["", "transfers"]] {
		question := object.union(ask({"amount": 5000}, []), {"request": {"segments": sent}})
		reason(question) == "amount"
	}
}
