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
