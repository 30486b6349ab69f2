# METADATA
# title: Browsers go to the login page
# description: |
#   Who has no token and asks for a page is redirected; scripts and API clients
#   get the 401 that they understand. A token that is invalid or expired never
#   reaches a policy: it is a 401 for all.
# scope: package
package example.login_redirect

# METADATA
# title: The answer to the request
# entrypoint: true
decision := {
	"allowed": false,
	"reason": "login",
	"http_status": 302,
	"headers": {"Location": location, "Cache-Control": "no-store"},
	"body": "",
} if {
	routes.reason == "token_not_found"
	browser
} else := routes

routes := data.usso.authz.decision

browser if {
	input.request.method == "GET"
	contains(input.request.headers.accept, "text/html")
}

# The way back is a path of the same host, and escaped: a client that chooses
# its path can't choose where the login page leads.
location := concat("", [data.login.page, "?next=", urlquery.encode(input.request.path)])
