package usso_test

import data.usso

at(method, path) := {"request": {"method": method, "segments": split(trim_prefix(path, "/"), "/")}}

test_match_gives_what_wildcards_stand_for if {
	usso.match("GET /posts/{id}") == {"id": "42"} with input as at("GET", "/posts/42")
	usso.match("/{kind}/{id}/comments/{comment}") == {"kind": "posts", "id": "1", "comment": "2"} with input as at("PUT", "/posts/1/comments/2")
	usso.match("GET /files/{path...}") == {"path": "a/b/"} with input as at("GET", "/files/a/b/")
	usso.match("GET /files/{path...}") == {"path": ""} with input as at("GET", "/files/")
	usso.match("GET /health") == {} with input as at("GET", "/health")
	usso.match("GET /{$}") == {} with input as at("GET", "/")
	usso.match("/") == {} with input as at("DELETE", "/a/b/c")
	usso.match("/tree/") == {} with input as at("GET", "/tree/")
	usso.match("/caf%C3%A9/a%20b/c+d") == {} with input as at("GET", "/café/a b/c+d")
	usso.match("GET \t /posts") == {} with input as at("GET", "/posts")
}

test_a_verb_behind_the_last_wildcard if {
	usso.match("POST /items/{id}:purge") == {"id": "7"} with input as at("POST", "/items/7:purge")
	usso.match("/items/{id}:purge") == {"id": "a:b"} with input as at("POST", "/items/a:b:purge")
	every path in ["/items/7", "/items/:purge", "/items/7:PURGE", "/items/7:purge/", "/items/7:purge:x"] {
		not usso.match("/items/{id}:purge") with input as at("POST", path)
	}
}

test_wildcards_of_other_tools_are_no_pattern if {
	every pattern in ["/*", "/a*", "/:id", "/<id>", "/[id]", "/^x", "/a|b", "/.+", "/x$", "/...", "/{*id}", "/{id:int}", "/{id}:", "/{id}:a.b"] {
		every path in ["/x", "/x:a.b", concat("", ["/", trim_prefix(pattern, "/")])] {
			not usso.match(pattern) with input as at("GET", path)
		}
	}
	every method in ["ANY", "ALL", "*", "GET|POST", "~", "TRACE"] {
		not usso.match(concat(" ", [method, "/x"])) with input as at(method, "/x")
	}
}

test_get_is_head if {
	usso.match("GET /posts") with input as at("HEAD", "/posts")
	not usso.match("HEAD /posts") with input as at("GET", "/posts")
}

test_what_does_not_fit if {
	every pair in [
		["GET /posts", "/posts/"],
		["GET /posts/", "/posts"],
		["GET /posts/{id}", "/posts/"],
		["GET /posts/{id}", "/posts/1/2"],
		["GET /posts/{$}", "/posts/1"],
		["GET /posts/{$}", "/posts"],
		["POST /posts", "/posts"],
		["GET /a/{b}/c", "/a//c"],
		["GET /a/{b...}", "/a"],
		["GET /a/{b...}", "/a/b//c"],
	] {
		not usso.match(pair[0]) with input as at("GET", pair[1])
	}
}

test_what_is_no_pattern if {
	every pattern in ["", "posts", "GET", "GET posts", "get /posts", "GET  ", " /posts", "GET /posts?a", "GET /po sts", "//posts", 7, null, ["/posts"]] {
		not usso.match(pattern) with input as at("GET", "/posts")
	}
	every pattern in ["/{}", "/{a-b}", "/{1}", "/a{b}", "/{b}a", "/{$}/x", "/{a...}/x", "/{a}/{a}", "/{a}/{a...}", "/%zz"] {
		not usso.match(pattern) with input as at("GET", "/x/x")
		not usso.match(pattern) with input as at("GET", "/x")
	}
	not usso.match("CONNECT /posts") with input as at("CONNECT", "/posts")
	not usso.match("/posts") with input as {}
}
