package usso_test

import data.usso

granted(scope, action, resource) := usso.access_to([scope], action, resource, null, false)

filtered(scope, filters) := usso.access_to([scope], "read", "files", filters, false)

test_access_reads_the_identity if {
	writer := {"scopes": ["update:media/files", "read:notes?owner=me&kind=a"]}
	usso.access("update:media/files") with input.identity as writer
	usso.access("media/files") with input.identity as writer
	usso.access("files") with input.identity as writer
	usso.access("delete:media/files") == false with input.identity as writer
	usso.access("read:other") == false with input.identity as writer
	usso.access("read:media/") == false with input.identity as writer
	usso.access("read:media/") with input.identity as {"scopes": ["read:media/*"]}
	usso.access("read:files") == false with input.identity as {"scopes": []}
}

test_access_with_filters if {
	owner := {"scopes": ["read:notes?owner=m?", "read:notes?a=1&b=2"]}
	usso.access("read:notes?owner=me") with input.identity as owner
	usso.access("read:notes?kind=x&owner=me") with input.identity as owner
	usso.access("read:notes?owner=you") == false with input.identity as owner
	usso.access("read:notes") == false with input.identity as owner

	# Each filter is tried alone.
	usso.access("read:notes?a=1&b=2") == false with input.identity as owner

	# A "?" must be followed by a filter.
	everything := {"scopes": ["*:*"]}
	usso.access("read:notes") with input.identity as everything
	usso.access("read:notes?") == false with input.identity as everything
	usso.access("read:notes?owner=") == false with input.identity as everything
	usso.access("read:notes?owner=me") with input.identity as everything
}

test_levels if {
	ladder := ["none", "read", "create", "update", "delete", "manage", "admin", "owner", "superadmin"]
	every i, held in ladder {
		scope := sprintf("%s:files", [held])
		reached := [wanted | some wanted in ladder; granted(scope, wanted, "files")]
		reached == array.slice(ladder, 0, i + 1)
	}
	granted("*:files", "owner", "files")
	granted("*:files", "superadmin", "files") == false
}

test_unknown_actions_are_read if {
	granted("read:posts", "write", "posts")
	granted("write:posts", "read", "posts")
	granted("write:posts", "create", "posts") == false
	granted("READ:posts", "DELETE", "posts")
	granted("none:posts", "", "posts") == false
	granted("none:posts", null, "posts") == false
}

test_paths if {
	granted("read:files", "read", "media/files")
	granted("read:media/files", "read", "files")
	granted("read:media/files", "read", "media/files/parts") == false
	granted("read:media/*", "read", "media/files")
	granted("read:media/*", "read", "files") == false
	granted("read:*/*", "read", "files")
	granted("read:media/*/files", "read", "x/files") == false
	granted("read:media/files", "read", "*/files")
	granted("read:media/files", "read", "/files")
	granted("read:media/files", "read", "media/*") == false
	granted("read:media/files", "read", "media/files/") == false
	granted("", "read", "a/b/c")
	granted("read:", "read", "a/b/c")
	granted("read:users:email", "read", "users:email")
}

test_strict if {
	usso.access_to(["read:media/files"], "read", "media/files", null, true)
	usso.access_to(["read:files"], "read", "media/files", null, true) == false
	usso.access_to(["read:media/files"], "read", "files", null, true) == false
	usso.access_to(["read:files", "read:media/files"], "read", "media/files", null, true)
}

test_filters if {
	filtered("read:files?u=1", {"u": "1"})
	filtered("read:files?u=1", {"u": "2"}) == false
	filtered("read:files?u=1", null) == false
	filtered("read:files", {"u": "2"})
	filtered("*:*", {}) == false
	filtered("*:*", []) == false
	filtered("*:*", "files") == false
	filtered("read:files?a=1&b=2", {"a": "1", "b": "2"}) == false
	filtered("read:files?a=1&b=2", [{"a": "1", "b": "2"}])
	filtered("read:files?a=1&a=2", {"a": "1"})
	filtered("read:files?a=1&a=2", {"a": "2"}) == false
	filtered("read:files?a=&b&", null)
	filtered("read:files?a=x=y", {"a": "x=y"})
	filtered("read:files?=1", {"": "1"})
}

test_filter_values_are_text if {
	filtered("read:files?n=5", {"n": 5})
	filtered("read:files?n=-5", {"n": -5})
	filtered("read:files?n=True", {"n": true})
	filtered("read:files?n=False", {"n": false})
	filtered("read:files?n=None", {"n": null})
	filtered("read:files?n=*", {"n": 1.5}) == false
	filtered("read:files?n=*", {"n": ["a"]}) == false
}

test_escapes if {
	cases := {
		"a+b": "a b",
		"a%2Bb": "a+b",
		"a%2fb%3D%26": "a/b=&",
		"%": "%",
		"%4": "%4",
		"%zz%41": "%zzA",
		"%C3%A9": "é",
		"%c3%a9é": "éé",
		"%e2%82%ac": "€",
		"%F0%9F%98%80": "😀",
		"%C3é": "\ufffdé",
		"%E2%82": "\ufffd",
		"%E2%82%41": "\ufffdA",
		"%F0%9F%98%E2": "\ufffd\ufffd",
		"%FF%C0%80": "\ufffd\ufffd\ufffd",
		"%ED%A0%80": "\ufffd\ufffd\ufffd",
	}
	every escaped, plain in cases {
		usso.unquote(escaped) == plain
	}
}

test_patterns_that_match if {
	cases := [
		["", ""],
		["", "*"],
		["a/b\nc", "*"],
		["a/b", "a*b"],
		["é", "?"],
		["abc", "a?c"],
		["b", "[abc]"],
		["b", "[a-c]"],
		["-", "[a-]"],
		["-", "[-a]"],
		["]", "[]]"],
		["x", "[!]]"],
		["^", "[^a]"],
		["a", "[^a]"],
		["[", "["],
		["[]", "[]"],
		["[!]", "[!]"],
		["[a", "[a"],
		["\\", "[\\]"],
		["a.c", "a.c"],
		["x", "[!c-a]"],
		["y", "[b-a!x]"],
		["é", "[à-ü]"],
		["a+b", "a+b*"],
	]
	every pair in cases {
		usso.fnmatch(pair[0], pair[1])
	}
}

test_patterns_that_do_not if {
	cases := [
		["a", ""],
		["abc", "a?"],
		["A", "[a-c]"],
		["b", "[!b]"],
		["b", "[c-a]"],
		["x", "[b-a!x]"],
		["-", "[b-a!-z]"],
		["", "?"],
		["abc", "a.c"],
		["abd", "*c"],
		["[b", "[a"],
		["a\n", "a"],
	]
	every pair in cases {
		usso.fnmatch(pair[0], pair[1]) == false
	}
}
