# METADATA
# title: USSO library
# description: |
#   Functions about the identity of the current request, called as
#   data.usso.has_scope("read:posts"). Without a token input.identity is null,
#   and all of them are false.
#
#   An undefined argument makes a call undefined, as everywhere in Rego, and
#   `not` turns undefined into true. Write an allow as what must hold.
# scope: package
package usso

# METADATA
# title: The version of this library
# description: |
#   A change in the value of a rule increments the first number, a new rule the
#   second, any other change the third.
# scope: document
version := "1.1.1"

# METADATA
# title: Is there a verified token?
# description: |
#   Reads only the scopes, which every identity has (an empty list at least). The
#   less of the identity a policy reads, the more requests share its decisions.
# scope: document
default is_authenticated := false

is_authenticated if is_array(input.identity.scopes)

# METADATA
# title: Does the token have this scope, by its exact name?
# description: Compares exact names. For levels and wildcards use access.
# scope: document
default has_scope(_) := false

has_scope(scope) if scope in input.identity.scopes

# METADATA
# title: Does the token have at least one of these scopes?
# description: False for an empty list.
# scope: document
default has_any_scope(_) := false

has_any_scope(scopes) if {
	some scope in scopes
	scope in input.identity.scopes
}

# METADATA
# title: Does the token have all of these scopes?
# description: An empty list requires only a token.
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
# description: Compares exact names.
# scope: document
default has_role(_) := false

has_role(role) if role in input.identity.roles

# METADATA
# title: Does the token have at least one of these roles?
# description: False for an empty list.
# scope: document
default has_any_role(_) := false

has_any_role(roles) if {
	some role in roles
	role in input.identity.roles
}

# METADATA
# title: Does the token have all of these roles?
# description: An empty list requires only a token.
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
#   A token without a workspace belongs to none, and "" is always false.
# scope: document
default same_workspace(_) := false

same_workspace(id) if {
	is_string(id)
	id != ""
	id == input.identity.workspace_id
}

# `every` is true for anything without elements, and a string has none.
is_list(value) if is_array(value)

is_list(value) if is_set(value)
