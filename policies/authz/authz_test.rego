package usso.authz_test

import data.usso.authz

# A route that requires nothing but a token.
plain_route := {
	"match": "GET /posts/{id}",
	"params": {},
	"public": false,
	"scopes": [],
	"any_scope": [],
	"roles": [],
	"all_roles": [],
	"workspace": "",
	"access": "",
}

alice := {
	"sub": "user:1",
	"user_id": "user:1",
	"tenant_id": "acme",
	"workspace_id": "ws_1",
	"roles": ["editor", "author"],
	"scopes": ["read:posts", "update:media/files", "read:notes?owner=me"],
	"token_type": "access",
	"session_id": "s_1",
	"exp": 4102444800,
	"claims": {},
}

plain_request := {
	"method": "GET",
	"host": "api.acme.example",
	"path": "/posts/42",
	"segments": ["posts", "42"],
	"query": {},
	"headers": {},
}

asked(identity, changes) := {
	"identity": identity,
	"route": object.union(plain_route, changes),
	"request": plain_request,
}

allowed := {"allowed": true, "reason": "allowed", "detail": ""}

denied(reason, detail) := {"allowed": false, "reason": reason, "detail": detail}

test_route_that_asks_for_a_token_alone if {
	authz.decision == allowed with input as asked(alice, {})
}

test_no_route if {
	answer := denied("no_route", "")
	authz.decision == answer with input as {"identity": alice, "route": null, "request": plain_request}
	authz.decision == answer with input as {"identity": null, "route": null, "request": plain_request}
}

test_public_needs_no_token if {
	authz.decision == allowed with input as asked(null, {"public": true})
}

test_public_with_a_token if {
	authz.decision == allowed with input as asked(alice, {"public": true})
}

test_public_asks_for_nothing_else if {
	authz.decision == allowed with input as asked(null, {"public": true, "scopes": ["write:posts"], "workspace": "{w}"})
}

test_public_is_the_boolean_alone if {
	every value in ["true", 1, {}, [true], null] {
		authz.decision == denied("token_not_found", "") with input as asked(null, {"public": value})
	}
}

test_no_token if {
	authz.decision == denied("token_not_found", "") with input as asked(null, {})
	authz.decision == denied("token_not_found", "") with input as asked(null, {"scopes": ["read:posts"]})
}

test_scopes if {
	authz.decision == allowed with input as asked(alice, {"scopes": ["read:posts"]})
	authz.decision == allowed with input as asked(alice, {"scopes": ["update:media/files", "read:posts"]})
}

# The answer names the first missing one in the order of the route.
test_scopes_missing if {
	answer := denied("insufficient_scope", "Required scope 'write:posts' not found")
	authz.decision == answer with input as asked(alice, {"scopes": ["read:posts", "write:posts", "admin:posts"]})
}

test_scopes_are_exact if {
	every scope in ["read:media/files", "READ:posts", "read:post", "read:posts ", "*", ""] {
		answer := denied("insufficient_scope", sprintf("Required scope '%s' not found", [scope]))
		authz.decision == answer with input as asked(alice, {"scopes": [scope]})
	}
}

test_any_scope if {
	authz.decision == allowed with input as asked(alice, {"any_scope": ["read:all", "read:posts"]})
}

test_any_scope_missing if {
	several := denied("insufficient_scope", "One of scopes ('read:all', 'admin:all') required")
	authz.decision == several with input as asked(alice, {"any_scope": ["read:all", "admin:all"]})

	one := denied("insufficient_scope", "Required scope 'read:all' not found")
	authz.decision == one with input as asked(alice, {"any_scope": ["read:all"]})
}

test_roles_are_any_of if {
	authz.decision == allowed with input as asked(alice, {"roles": ["admin", "editor"]})
}

test_roles_missing if {
	several := denied("insufficient_role", "One of roles ('publisher', 'admin') required")
	authz.decision == several with input as asked(alice, {"roles": ["publisher", "admin"]})

	one := denied("insufficient_role", "Required role 'admin' not found")
	authz.decision == one with input as asked(alice, {"roles": ["admin"]})
}

test_all_roles if {
	authz.decision == allowed with input as asked(alice, {"all_roles": ["author", "editor"]})
}

test_all_roles_missing if {
	answer := denied("insufficient_role", "Required role 'publisher' not found")
	authz.decision == answer with input as asked(alice, {"all_roles": ["editor", "publisher", "admin"]})
}

workspace_asked(identity, workspace, params, request) := {
	"identity": identity,
	"route": object.union(plain_route, {"workspace": workspace, "params": params}),
	"request": object.union(plain_request, request),
}

other_workspace := denied("workspace_mismatch", "The token belongs to another workspace")

test_workspace_of_the_path if {
	authz.decision == allowed with input as workspace_asked(alice, "{ws}", {"ws": "ws_1"}, {})
	authz.decision == other_workspace with input as workspace_asked(alice, "{ws}", {"ws": "ws_2"}, {})
	authz.decision == other_workspace with input as workspace_asked(alice, "{ws}", {"ws": ""}, {})
	authz.decision == other_workspace with input as workspace_asked(alice, "{ws}", {"id": "ws_1"}, {})
}

test_workspace_of_a_header if {
	source := "header:X-Workspace-ID"
	authz.decision == allowed with input as workspace_asked(alice, source, {}, {"headers": {"x-workspace-id": "ws_1"}})
	authz.decision == other_workspace with input as workspace_asked(alice, source, {}, {"headers": {"x-workspace-id": "ws_2"}})
	authz.decision == other_workspace with input as workspace_asked(alice, source, {}, {"headers": {"x-workspace-id": "ws_1,ws_1"}})
	authz.decision == other_workspace with input as workspace_asked(alice, source, {"X-Workspace-ID": "ws_1"}, {})
}

test_workspace_of_the_query if {
	source := "query:workspace"
	authz.decision == allowed with input as workspace_asked(alice, source, {}, {"query": {"workspace": ["ws_1"]}})
	authz.decision == other_workspace with input as workspace_asked(alice, source, {}, {"query": {"workspace": ["ws_2"]}})
	authz.decision == other_workspace with input as workspace_asked(alice, source, {}, {"query": {"workspace": ["ws_1", "ws_1"]}})
	authz.decision == other_workspace with input as workspace_asked(alice, source, {}, {"query": {"workspace": []}})
	authz.decision == other_workspace with input as workspace_asked(alice, source, {}, {"query": {"Workspace": ["ws_1"]}})
}

# A second header in another spelling, or one in another spelling alone, is not
# the header that the route names.
test_workspace_in_other_spellings if {
	every key in ["WORKSPACE", "workspace[]", "[workspace", "work[space", "work.space", " workspace", "workspace\u0000x", "%u0077orkspace", "%u0077ork%73pace", "a;workspace"] {
		authz.decision == other_workspace with input as workspace_asked(alice, "query:workspace", {}, {"query": {"workspace": ["ws_1"], key: ["ws_1"]}})
		authz.decision == other_workspace with input as workspace_asked(alice, "query:workspace", {}, {"query": {key: ["ws_1"]}})
	}
	authz.decision == other_workspace with input as workspace_asked(alice, "query:workspace", {}, {"query": {"workspace": ["ws_1"], "q": ["1;workspace=ws_2"]}})
	authz.decision == allowed with input as workspace_asked(alice, "query:workspace", {}, {"query": {"workspace": ["ws_1"], "q": ["1;workspaces=ws_2"]}})
	every key in ["x.org", "x_org"] {
		authz.decision == other_workspace with input as workspace_asked(alice, "header:X-Org", {}, {"headers": {"x-org": "ws_1", key: "ws_1"}})
		authz.decision == other_workspace with input as workspace_asked(alice, "header:X-Org", {}, {"headers": {key: "ws_1"}})
	}
}

# A token without a workspace does not match a request without one.
test_workspace_of_nobody if {
	nobody := object.union(alice, {"workspace_id": ""})
	authz.decision == other_workspace with input as workspace_asked(nobody, "{ws}", {"ws": ""}, {})
	authz.decision == other_workspace with input as workspace_asked(nobody, "header:x-ws", {}, {"headers": {"x-ws": ""}})
	authz.decision == other_workspace with input as workspace_asked(nobody, "query:ws", {}, {"query": {"ws": [""]}})
}

test_workspace_of_an_unknown_kind if {
	every source in ["ws", "cookie:ws", "{ws", "ws}", "Header:x-ws", "{}", "header:", "query:"] {
		authz.decision == other_workspace with input as workspace_asked(alice, source, {"ws": "ws_1"}, {
			"headers": {"x-ws": "ws_1", "ws": "ws_1"},
			"query": {"ws": ["ws_1"]},
		})
	}
}

test_access if {
	every access in ["update:media/files", "read:media/files", "media/files", "read:notes?owner=me"] {
		authz.decision == allowed with input as asked(alice, {"access": access})
	}
}

test_access_missing if {
	every access in ["delete:media/files", "read:notes", "read:notes?owner=you", "read:media/"] {
		answer := denied("insufficient_scope", sprintf("Required access '%s' not found", [access]))
		authz.decision == answer with input as asked(alice, {"access": access})
	}
}

# If several requirements fail, the answer names the first.
test_order if {
	every_requirement := [
		{"scopes": ["no"]},
		{"any_scope": ["no", "never"]},
		{"roles": ["no", "never"]},
		{"all_roles": ["not"]},
		{"workspace": "{ws}"},
		{"access": "admin:all"},
	]
	answers := [
		denied("insufficient_scope", "Required scope 'no' not found"),
		denied("insufficient_scope", "One of scopes ('no', 'never') required"),
		denied("insufficient_role", "One of roles ('no', 'never') required"),
		denied("insufficient_role", "Required role 'not' not found"),
		other_workspace,
		denied("insufficient_scope", "Required access 'admin:all' not found"),
	]
	every i, answer in answers {
		changes := object.union_n(array.slice(every_requirement, i, count(every_requirement)))
		authz.decision == answer with input as asked(alice, changes)
	}
}

test_nothing_is_a_denial if {
	not authz.decision.allowed with input as {}
	not authz.decision.allowed with input as null
	not authz.decision.allowed with input as "allowed"
	not authz.decision.allowed with input as []
	not authz.decision.allowed with input as {"identity": alice}
	not authz.decision.allowed with input as {"route": plain_route}
	not authz.decision.allowed with input as {"identity": {}, "route": plain_route}
	not authz.decision.allowed with input as {"identity": alice, "route": {}}
	not authz.decision.allowed with input as {"identity": alice, "route": {"public": true}}
}

# The fields of a route and of an identity that decide.
needed := [
	["route", "match"],
	["route", "scopes"],
	["route", "any_scope"],
	["route", "roles"],
	["route", "all_roles"],
	["route", "workspace"],
	["route", "access"],
	["identity", "scopes"],
	["identity", "roles"],
	["identity", "workspace_id"],
]

asks_for_everything := {
	"identity": alice,
	"route": object.union(plain_route, {
		"params": {"ws": "ws_1"},
		"scopes": ["read:posts"],
		"any_scope": ["read:posts", "read:all"],
		"roles": ["editor", "admin"],
		"all_roles": ["author"],
		"workspace": "{ws}",
		"access": "update:media/files",
	}),
	"request": plain_request,
}

test_every_field_matters if {
	authz.decision == allowed with input as asks_for_everything
	every path in needed {
		gone := json.patch(asks_for_everything, [{"op": "remove", "path": path}])
		not authz.decision.allowed with input as gone
		is_string(authz.decision.reason) with input as gone
	}
}

test_every_field_has_its_type if {
	every path in needed {
		every value in [null, 7, true, {}, {"a": "b"}, ["other"]] {
			changed := json.patch(asks_for_everything, [{"op": "replace", "path": path, "value": value}])
			not authz.decision.allowed with input as changed
		}
	}
}
