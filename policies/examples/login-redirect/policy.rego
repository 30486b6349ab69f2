# METADATA
# title: A redirect of browsers to the login page
# description: |
#   A browser that requests a page without a token is redirected; scripts and API
#   clients get a 401. A request with an invalid or expired token never reaches a
#   policy: it gets a 401 from every client.
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

# The login page returns to an escaped path of the same host. A client that
# chooses the path of its request can't redirect to another host.
location := concat("", [data.login.page, "?next=", urlquery.encode(input.request.path)])
