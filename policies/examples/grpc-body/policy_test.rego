package example.grpc_body_test

import data.example.grpc_body

call(method, message, roles) := decision if {
	decision := grpc_body.decision with input as {
		"request": {"method": "POST", "segments": ["shop.v1.Posts", method], "plain_segments": ["shop.v1.posts", lower(method)]},
		"route": {"match": "/", "public": true, "params": {}},
		"identity": {"scopes": [], "roles": roles},
		"parsed_body": message,
	}
}

test_a_draft_is_anybodys if call("Create", {"title": "a"}, []).allowed

test_an_editor_publishes if {
	call("Create", {"title": "a", "published": true}, ["editor"]).allowed
	call("Create", {"title": "a", "published": true}, []).reason == "published"
}

test_a_price_is_text if {
	call("Create", {"priceCents": "9007199254740993"}, []).reason == "published"
	call("Create", {"priceCents": "-1"}, []).allowed
}

test_what_can_not_be_read if call("Create", null, ["editor"]).reason == "unreadable"

test_other_methods if call("Get", null, []).allowed

test_hostile_paths if {
	every plain in [["shop.v1.posts", "create"], ["shop.v1.posts", "create", ""]] {
		decision := grpc_body.decision with input as {
			"request": {"method": "POST", "segments": ["Shop.V1.Posts", "create;x", ""], "plain_segments": plain},
			"route": {"match": "/", "public": true, "params": {}},
			"identity": null,
			"parsed_body": null,
		}
		decision.reason == "unreadable"
	}
}
