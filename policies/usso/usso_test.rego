package usso_test

import data.usso

alice := {
	"user_id": "user:1",
	"workspace_id": "ws_1",
	"roles": ["editor", "author"],
	"scopes": ["read:posts", "write:posts"],
}

test_authenticated if {
	usso.is_authenticated with input.identity as alice
	usso.is_authenticated with input.identity as {"scopes": [], "roles": []}
	usso.is_authenticated == false with input.identity as null
	usso.is_authenticated == false with input.identity as {}
	usso.is_authenticated == false with input as {}
}

test_scopes if {
	usso.has_scope("read:posts") with input.identity as alice
	usso.has_scope("read:post") == false with input.identity as alice
	usso.has_scope("read:*") == false with input.identity as alice
	usso.has_any_scope(["read:all", "read:posts"]) with input.identity as alice
	usso.has_any_scope({"write:posts"}) with input.identity as alice
	usso.has_any_scope(["read:all"]) == false with input.identity as alice
	usso.has_any_scope([]) == false with input.identity as alice
	usso.has_all_scopes(["write:posts", "read:posts"]) with input.identity as alice
	usso.has_all_scopes({"write:posts"}) with input.identity as alice
	usso.has_all_scopes(["read:posts", "read:all"]) == false with input.identity as alice
	usso.has_all_scopes([]) with input.identity as alice
}

test_roles if {
	usso.has_role("editor") with input.identity as alice
	usso.has_role("Editor") == false with input.identity as alice
	usso.has_any_role(["admin", "author"]) with input.identity as alice
	usso.has_any_role(["admin"]) == false with input.identity as alice
	usso.has_any_role([]) == false with input.identity as alice
	usso.has_all_roles(["author", "editor"]) with input.identity as alice
	usso.has_all_roles({"author"}) with input.identity as alice
	usso.has_all_roles(["author", "admin"]) == false with input.identity as alice
	usso.has_all_roles([]) with input.identity as alice
}

test_workspace if {
	usso.same_workspace("ws_1") with input.identity as alice
	usso.same_workspace("ws_2") == false with input.identity as alice
	usso.same_workspace("") == false with input.identity as object.union(alice, {"workspace_id": ""})
	usso.same_workspace(null) == false with input.identity as object.union(alice, {"workspace_id": null})
}

answers_without_token := [
	usso.is_authenticated,
	usso.has_scope("read:posts"),
	usso.has_any_scope(["read:posts"]),
	usso.has_all_scopes(["read:posts"]),
	usso.has_all_scopes([]),
	usso.has_role("editor"),
	usso.has_any_role(["editor"]),
	usso.has_all_roles(["editor"]),
	usso.has_all_roles([]),
	usso.same_workspace("ws_1"),
	usso.same_workspace(""),
	usso.same_workspace(null),
	usso.access("read:posts"),
	usso.access("none:*"),
]

test_without_a_token_all_is_false if {
	{false} == {answer | some answer in answers_without_token} with input.identity as null
	count(answers_without_token) == 14 with input.identity as null
	{false} == {answer | some answer in answers_without_token} with input as {}
}

# An argument of a wrong type gives false, not an error.
test_what_is_no_question if {
	every value in [null, 7, true, "", "read:posts", {}, {"a": "read:posts"}] {
		usso.has_all_scopes(value) == false with input.identity as alice
		usso.has_all_roles(value) == false with input.identity as alice
	}
	every value in [null, 7, true, ["read:posts"], {}] {
		usso.has_scope(value) == false with input.identity as alice
		usso.has_role(value) == false with input.identity as alice
		usso.same_workspace(value) == false with input.identity as alice
		usso.access(value) == false with input.identity as alice
	}
}

test_version if regex.match(`^[0-9]+\.[0-9]+\.[0-9]+$`, usso.version)
