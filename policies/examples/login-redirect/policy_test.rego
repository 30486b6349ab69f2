package example.login_redirect_test

import data.example.login_redirect

ask(method, accept, path) := {
	"request": {"method": method, "path": path, "headers": {"accept": accept}},
	"identity": null,
	"route": {
		"match": "/",
		"public": false,
		"scopes": [],
		"any_scope": [],
		"roles": [],
		"all_roles": [],
		"workspace": "",
		"access": "",
	},
}

decide(question) := answer if {
	answer := login_redirect.decision with input as question
		with data.login.page as "https://sso.acme.example/login"
}

test_browser if {
	decision := decide(ask("GET", "text/html,*/*;q=0.8", "/posts/a b&c"))
	decision.http_status == 302
	decision.headers.Location == "https://sso.acme.example/login?next=%2Fposts%2Fa+b%26c"
}

test_api if {
	every question in [ask("GET", "application/json", "/"), ask("POST", "text/html", "/")] {
		decision := decide(question)
		decision.reason == "token_not_found"
		not decision.headers
	}
}

test_no_accept if {
	question := json.remove(ask("GET", "", "/"), ["request/headers/accept"])
	decision := decide(question)
	decision.reason == "token_not_found"
}

test_logged_in if {
	question := object.union(ask("GET", "text/html", "/"), {"identity": {"scopes": [], "roles": []}})
	decision := decide(question)
	decision.allowed
}

# The login page returns to a path of this host. A client that does not accept
# text/html is not a browser.
test_hostile_requests if {
	every path in ["/@evil.example", "/x?next=https://evil.example", "/a&next=/b", "/a#b"] {
		decision := decide(ask("GET", "text/html", path))
		decision.headers.Location == concat("", ["https://sso.acme.example/login?next=", urlquery.encode(path)])
		not contains(trim_prefix(decision.headers.Location, "https://sso.acme.example/login?next="), "/")
	}
	every method in ["POST", "HEAD", "get", "DELETE"] {
		decision := decide(ask(method, "text/html", "/"))
		not decision.headers
	}
}
