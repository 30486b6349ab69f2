# METADATA
# title: The embedded policy, used if the configuration names none
# description: |
#   Decides by the requirements of the matched route. To change it, copy this
#   file, give it a package of your own and name its rule in policy.entrypoint.
#
#   Each rule states what must hold, never what must not: a field that is
#   missing or has a wrong type is a denial.
# scope: package
package usso.authz

import data.usso

# METADATA
# title: The answer to the request
# description: |
#   With an empty detail, the answer has the fixed sentence of the reason.
# scope: document
# entrypoint: true
default decision := {"allowed": false, "reason": "policy_denied", "detail": ""}

# The likely case comes first. The other rules only find out which requirement failed.
decision := {"allowed": true, "reason": "allowed", "detail": ""} if {
	permitted
} else := denied("no_route", "") if {
	not has_route
} else := denied("token_not_found", "") if {
	not usso.is_authenticated
} else := denied("insufficient_scope", missing("scope", lacking_scopes)) if {
	lacking_scopes != []
} else := denied("insufficient_scope", missing_one_of("scope", input.route.any_scope)) if {
	not any_scope_held
} else := denied("insufficient_role", missing_one_of("role", input.route.roles)) if {
	not any_role_held
} else := denied("insufficient_role", missing("role", lacking_roles)) if {
	lacking_roles != []
} else := denied("workspace_mismatch", "The token belongs to another workspace") if {
	not workspace_fits
} else := denied("insufficient_scope", sprintf("Required access '%s' not found", [input.route.access])) if {
	not access_granted
}

permitted if {
	has_route
	input.route.public == true
}

permitted if {
	has_route
	usso.is_authenticated
	lacking_scopes == []
	any_scope_held
	any_role_held
	lacking_roles == []
	workspace_fits
	access_granted
}

# A route always has its pattern. A comparison of the route itself with null
# would make the decision depend on all of the route, the path's parameters
# included, so that fewer requests could share a cached decision.
has_route if is_string(input.route.match)

lacking_scopes := [scope | some scope in input.route.scopes; not usso.has_scope(scope)] if {
	is_array(input.route.scopes)
}

lacking_roles := [role | some role in input.route.all_roles; not usso.has_role(role)] if {
	is_array(input.route.all_roles)
}

any_scope_held if input.route.any_scope == []

any_scope_held if usso.has_any_scope(input.route.any_scope)

any_role_held if input.route.roles == []

any_role_held if usso.has_any_role(input.route.roles)

workspace_fits if input.route.workspace == ""

workspace_fits if usso.same_workspace(named_workspace)

# The workspace that the request is about, from the place that the route names:
# "{name}" in the path, "header:name" or "query:name".
named_workspace := input.route.params[name] if {
	startswith(input.route.workspace, "{")
	endswith(input.route.workspace, "}")
	name := trim_suffix(trim_prefix(input.route.workspace, "{"), "}")
}

# The request must have one such header, in one spelling: servers read X_Org and
# X.Org as X-Org.
named_workspace := id if {
	startswith(input.route.workspace, "header:")
	name := lower(trim_prefix(input.route.workspace, "header:"))
	[name] == [key | some key, _ in input.request.headers; header_spelling(key) == header_spelling(name)]
	id := input.request.headers[name]
	not regex.match(`[,;]`, id)
}

# The request must have one such parameter. Parsers differ on where a name ends
# and how it is written, so with two the application might read the other one.
named_workspace := id if {
	startswith(input.route.workspace, "query:")
	name := trim_prefix(input.route.workspace, "query:")
	[id] := input.request.query[name]
	count([piece |
		some key, values in input.request.query
		some value in values
		some piece in split(concat("=", [key, value]), ";")
		same_name(split(piece, "=")[0], name)
	]) == 1
}

header_spelling(name) := regex.replace(name, `[^a-z0-9]`, "-")

# Some parser reads each of these as "workspace": "workspace[]", "?workspace",
# "WORKSPACE", "work.space", "workspace" with a NUL, "%u0077orkspace". A name
# with "%u0077" and another escape counts as the same name, whatever it spells:
# parsers differ on how they decode it.
same_name(key, name) if without_brackets(unescaped(key)) == without_brackets(unescaped(name))

same_name(key, name) if letters(unescaped(key)) == letters(unescaped(name))

same_name(key, _) if {
	regex.match(unicode_escape, key)
	contains(unescaped(key), "%")
}

unicode_escape := `%[uU][0-9A-Fa-f]{4}`

unescaped(name) := concat("", [character(part) | some part in regex.find_n(concat("|", [unicode_escape, `[^%]+`, `%`]), name, -1)])

character(part) := json.unmarshal(concat("", [`"\u`, substring(part, 2, 4), `"`])) if {
	regex.match(unicode_escape, part)
} else := part

without_brackets(name) := letters(regex.replace(trim_left(name, "["), `(?s)[\[\]].*`, ""))

letters(name) := regex.replace(lower(upper(split(name, "\u0000")[0])), `[\x00- ._+?\[\]-]`, "")

access_granted if input.route.access == ""

access_granted if {
	input.route.access != ""
	usso.access(input.route.access)
}

denied(reason, detail) := {"allowed": false, "reason": reason, "detail": detail}

missing(kind, names) := sprintf("Required %s '%s' not found", [kind, names[0]])

missing_one_of(kind, names) := missing(kind, names) if {
	count(names) == 1
} else := sprintf("One of %ss ('%s') required", [kind, concat("', '", names)])
