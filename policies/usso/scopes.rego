# The USSO scope language: [action:]segment/segment[?key=pattern&…].
#
# A scope grants what it names and everything below: an action grants every
# action of a lower level. Paths are compared from their ends; segments and
# filter values are shell patterns. The rules are those of USSO's Python SDK,
# quirks included, so that a scope means the same at the gateway as in the
# application.
package usso

# METADATA
# title: Do the token's scopes grant this access?
# description: |
#   required is written as a scope: "update:media/files". Without an action it
#   is read. An empty segment, also at the end of "media/", means "*".
#
#   "read:files?owner=me" names filters of the request. A scope with filters
#   requires all of them. If the request has several filters, each is tried
#   alone, as the SDK does with a dictionary, so a scope with two filters never
#   suffices. A "?" without a filter after it ("files?", "files?owner=") denies.
# scope: document
default access(_) := false

access(required) if {
	wanted := parse_scope(required)
	granted(
		input.identity.scopes, {
			"level": level(wanted.action),
			"path": wanted.path,
			"filters": required_filters(required, wanted.filters),
		},
		false,
	)
}

# METADATA
# title: Do these scopes grant an action on a resource?
# description: |
#   The SDK's check_access. resource is a path, not decoded. action may be null
#   or "" (read). filters is null, an object whose keys are tried one by one, or
#   an array of objects of which one must match; {} and [] deny. strict requires
#   paths of equal length.
# scope: document
default access_to(_, _, _, _, _) := false

access_to(scopes, action, resource, filters, strict) if granted(
	scopes, {
		"level": level(action),
		"path": split(resource, "/"),
		"filters": alternatives(filters),
	},
	strict,
)

granted(scopes, wanted, strict) if {
	some scope in scopes
	held := parse_scope(scope)
	level(held.action) >= wanted.level
	path_matches(held.path, wanted.path, strict)
	some filters in wanted.filters
	filters_match(held.filters, filters)
}

levels := {
	"none": 0,
	"read": 10,
	"create": 20,
	"update": 30,
	"delete": 40,
	"manage": 50,
	"admin": 60,
	"owner": 90,
	"*": 90,
	"superadmin": 100,
}

# A missing or unknown action means read, in scopes and in requirements: in
# USSO's language "write" grants no more than "read".
level(action) := object.get(levels, action, levels.read)

parse_scope(scope) := {"action": action, "path": path, "filters": filters} if {
	[head, query] := cut(scope, "?")
	[action, resource] := cut_action(head)
	path := [or_star(segment) | some segment in split(resource, "/")]
	filters := parse_query(query)
}

cut(text, mark) := [substring(text, 0, at), substring(text, at + 1, -1)] if {
	at := indexof(text, mark)
	at >= 0
} else := [text, ""]

# The first ":" ends the action; without one there is no action.
cut_action(head) := cut(head, ":") if {
	contains(head, ":")
} else := ["", head]

or_star(segment) := "*" if {
	segment == ""
} else := segment

required_filters(required, filters) := alternatives(filters) if {
	contains(required, "?")
} else := [{}]

# The alternative filters of a request: a list of objects, of which one must match.
alternatives(filters) := [{}] if is_null(filters)

alternatives(filters) := [{key: value} | some key, value in filters] if is_object(filters)

alternatives(filters) := filters if is_array(filters)

# Paths are compared from the right, over the length of the shorter one.
path_matches(held, wanted, strict) if {
	lengths_fit(held, wanted, strict)
	patterns := array.reverse(held)
	segments := array.reverse(wanted)
	fnmatch(segments[0], patterns[0])
	every i, segment in segments {
		segment_matches(i, segment, patterns)
	}
	rest_matches(
		array.slice(patterns, 0, count(segments)),
		array.slice(patterns, count(segments), count(patterns)),
	)
}

lengths_fit(_, _, strict) if strict == false

lengths_fit(held, wanted, true) if count(held) == count(wanted)

segment_matches(i, _, patterns) if i >= count(patterns)

# An open segment of the requirement ("" or "*") matches any, except the last one.
segment_matches(i, segment, _) if {
	i > 0
	segment in {"", "*"}
}

segment_matches(i, segment, patterns) if fnmatch(segment, patterns[i])

# If the scope's path is longer and the compared part has a wildcard, every
# remaining segment must be "*": "media/files" grants "files", "media/*" does not.
rest_matches(compared, _) if {
	every pattern in compared {
		not contains(pattern, "*")
	}
}

rest_matches(_, rest) if {
	every pattern in rest {
		pattern == "*"
	}
}

filters_match(held, given) if {
	every key, pattern in held {
		fnmatch(text_of(given[key]), pattern)
	}
}

# A filter's value as Python's str() writes it. Fractions match no pattern, since
# languages differ on how to write them.
text_of(value) := value if is_string(value)

text_of(value) := text if {
	is_number(value)
	text := json.marshal(value)
	regex.match(`^-?[0-9]+$`, text)
}

text_of(value) := "True" if value == true

text_of(value) := "False" if value == false

text_of(value) := "None" if is_null(value)

# A query as Python's parse_qs reads it: only "&" separates, pairs without a
# value are dropped, and of several values of one key the first counts.
parse_query(query) := object.union_n(array.reverse([{unquote(key): unquote(value)} |
	some pair in split(query, "&")
	[key, value] := cut(pair, "=")
	value != ""
]))

unquote(text) := concat("", [decoded(part) | some part in regex.find_n(escapes, spaced, -1)]) if {
	spaced := replace(text, "+", " ")
	contains(spaced, "%")
} else := replace(text, "+", " ")

# One escaped character, escaped bytes that are not UTF-8, or plain text.
escapes := concat("|", [utf8, broken_utf8, `[^%]+`, `%`])

utf8 := concat("|", [
	`%[0-7][0-9A-Fa-f]`,
	`%(?:[Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f])%[89ABab][0-9A-Fa-f]`,
	`%[Ee]0%[ABab][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]`,
	`%[Ee][1-9A-Ca-cEFef](?:%[89ABab][0-9A-Fa-f]){2}`,
	`%[Ee][Dd]%[89][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]`,
	`%[Ff]0%[9ABab][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){2}`,
	`%[Ff][1-3](?:%[89ABab][0-9A-Fa-f]){3}`,
	`%[Ff]4%8[0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){2}`,
])

# Each incomplete character becomes one U+FFFD, and so does each other invalid
# byte.
broken_utf8 := concat("|", [
	`%[Ee]0%[ABab][0-9A-Fa-f]`,
	`%[Ee][1-9A-Ca-cEFef]%[89ABab][0-9A-Fa-f]`,
	`%[Ee][Dd]%[89][0-9A-Fa-f]`,
	`%[Ff]0%[9ABab][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f])?`,
	`%[Ff][1-3](?:%[89ABab][0-9A-Fa-f]){1,2}`,
	`%[Ff]4%8[0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f])?`,
	`%[89A-Fa-f][0-9A-Fa-f]`,
])

decoded(part) := part if {
	not startswith(part, "%")
} else := part if {
	part == "%"
} else := urlquery.decode(part) if {
	regex.match(sprintf("^(?:%s)$", [utf8]), part)
} else := "\ufffd"

# METADATA
# title: Does a text match a shell pattern?
# description: |
#   Python's fnmatch, case-sensitive: "*" matches any text ("/" included), "?"
#   one character, "[a-z]" one of a class, "[!a-z]" one outside of it. "^" has no
#   meaning in a class, and a "[" that is not closed matches itself.
# scope: document
default fnmatch(_, _) := false

fnmatch(text, "*") if is_string(text)

fnmatch(text, pattern) if {
	text == pattern
	not regex.match(`[*?\[]`, pattern)
}

fnmatch(text, pattern) if {
	pattern != "*"
	regex.match(`[*?\[]`, pattern)
	regex.match(pattern_regex(pattern), text)
}

pattern_regex(pattern) := sprintf("^(?s:%s)$", [concat("", pieces)]) if {
	tokens := regex.find_n(`(?s)\[(?:!.|[^!])[^\]]*\]|\*+|.`, pattern, -1)
	pieces := [piece(token) | some token in tokens]
}

piece(token) := ".*" if {
	startswith(token, "*")
} else := "." if {
	token == "?"
} else := class(substring(token, 1, count(token) - 2)) if {
	count(token) > 1
} else := regex.replace(token, `[\\.+()|\[\]{}^$]`, `\$0`)

# A class is a list of characters and ranges. Backward ranges are dropped.
class(content) := class_regex(negated, members) if {
	items := regex.find_n(`(?s).-.|.`, trim_prefix(content, "!"), -1)
	forwards := [item | some item in items; not backwards(item)]
	[negated, members] := marked(startswith(content, "!"), forwards)
}

backwards(item) if {
	count(item) == 3
	substring(item, 0, 1) > substring(item, 2, 1)
}

# Python drops backward ranges before it looks for "!": in [b-a!x] the "!" is
# then the first character, and negates.
marked(negated, members) := [true, array.concat(after_mark(members[0]), rest)] if {
	not negated
	startswith(members[0], "!")
	rest := array.slice(members, 1, count(members))
} else := [negated, members]

class_regex(true, []) := "."

class_regex(false, []) := `[^\x00-\x{10FFFF}]`

class_regex(true, members) := sprintf("[^%s]", [members_regex(members)]) if members != []

class_regex(false, members) := sprintf("[%s]", [members_regex(members)]) if members != []

members_regex(members) := concat("", [member(item) | some item in members])

after_mark("!") := []

after_mark(item) := ["-", substring(item, 2, 1)] if count(item) == 3

member(item) := escaped(item) if {
	count(item) == 1
} else := concat("-", [escaped(substring(item, 0, 1)), escaped(substring(item, 2, 1))])

escaped(character) := regex.replace(character, `[\\\[\]^-]`, `\$0`)
