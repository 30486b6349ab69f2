# METADATA
# title: USSO library
# description: |
#   Questions about the identity of the current request, to be asked as
#   data.usso.has_scope("read:posts"). Without a token input.identity is null,
#   and the answer to every question is false.
#
#   An argument that is undefined makes a call undefined, as everywhere in
#   Rego: below `not` that counts as true. Ask for what must hold.
# scope: package
package usso

# METADATA
# title: The version of this library
# description: |
#   A change of what a rule answers raises the first number, a new rule the
#   second, anything else the third.
# scope: document
version := "1.1.0"

# METADATA
# title: Is there a verified token?
# description: |
#   Looks at the scopes, which every identity has (an empty list, at the least):
#   a decision that reads no more of the identity can be shared by more requests.
# scope: document
default is_authenticated := false

is_authenticated if is_array(input.identity.scopes)

# METADATA
# title: Does the token have this scope, by its exact name?
# description: Names are compared as they are. For levels and wildcards there is access.
# scope: document
default has_scope(_) := false

has_scope(scope) if scope in input.identity.scopes

# METADATA
# title: Does the token have at least one of these scopes?
# description: An empty list has none to offer, so the answer is false.
# scope: document
default has_any_scope(_) := false

has_any_scope(scopes) if {
	some scope in scopes
	scope in input.identity.scopes
}

# METADATA
# title: Does the token have all of these scopes?
# description: An empty list asks for no more than a token.
# scope: document
default has_all_scopes(_) := false

has_all_scopes(scopes) if {
	is_authenticated
	is_list(scopes)
	every scope in scopes {
		scope in input.identity.scopes
	}
}

# METADATA
# title: Does the token have this role?
# description: Roles are compared by their exact names.
# scope: document
default has_role(_) := false

has_role(role) if role in input.identity.roles

# METADATA
# title: Does the token have at least one of these roles?
# description: An empty list has none to offer, so the answer is false.
# scope: document
default has_any_role(_) := false

has_any_role(roles) if {
	some role in roles
	role in input.identity.roles
}

# METADATA
# title: Does the token have all of these roles?
# description: An empty list asks for no more than a token.
# scope: document
default has_all_roles(_) := false

has_all_roles(roles) if {
	is_array(input.identity.roles)
	is_list(roles)
	every role in roles {
		role in input.identity.roles
	}
}

# METADATA
# title: Does the token belong to this workspace?
# description: |
#   A token without a workspace belongs to none: "" is nobody's workspace.
# scope: document
default same_workspace(_) := false

same_workspace(id) if {
	is_string(id)
	id != ""
	id == input.identity.workspace_id
}

# `every` holds for what has no elements, and a string has none.
is_list(value) if is_array(value)

is_list(value) if is_set(value)
