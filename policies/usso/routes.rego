# Routing in a policy, with the patterns of the configuration's routes.
package usso

# METADATA
# title: Does the request match this pattern?
# description: |
#   The patterns are those of `routes`, such as "GET /posts/{id}": {name} matches
#   one segment, {name...} all remaining ones, {$} the end after a slash, and
#   {name}:verb a last segment with that verb. GET also matches HEAD, a pattern
#   without a method matches every method, and a slash at the end matches every
#   path below it. Wildcards of other tools ("/admin/*", "/posts/:id") are
#   invalid.
#
#   The value is an object of the wildcards' values, {} if there are none. It is
#   undefined if the request does not match or the pattern is invalid. If several
#   patterns match, the policy chooses. `routes` choose the most specific pattern
#   and cost less.
# scope: document
match(pattern) := object.union(params, rest) if {
	[_, method, path] := regex.find_all_string_submatch_n(`^(?:([^ \t]+)[ \t]+)?/([^ \t\r\n?#]*)$`, pattern, 1)[0]
	method_fits(method)
	parts := split(path, "/")
	head := array.slice(parts, 0, count(parts) - 1)
	last := parts[count(parts) - 1]
	well_formed(head, last)

	segments := input.request.segments
	not "" in array.slice(segments, 0, count(segments) - 1) # ussoauthz refuses "//" anyway
	every i, part in head {
		segment_fits(part, segments[i])
	}
	rest := end_of(last, array.slice(segments, count(head), count(segments)))
	params := {name: segments[i] | some i, part in head; name := wildcard(part)}
}

method_fits("") if input.request.method

method_fits(method) if {
	method == input.request.method
	method == upper(method)
	not method in {"CONNECT", "TRACE", "TRACK", "ANY", "ALL"}
	regex.match(`^[^|*]*[A-Z][^|*]*$`, method)
}

method_fits("GET") if input.request.method == "HEAD"

# A wildcard is a whole segment, and its name is unique. {$}, {name...} and an
# empty segment stand only at the end of a pattern.
well_formed(head, last) if {
	every part in head {
		part != ""
		wildcard_or_literal(part)
	}
	end_or_part(last)
	names := [name | some part in array.concat(head, [last]); name := any_wildcard(part)]
	count(names) == count({name | some name in names})
}

wildcard_or_literal(part) if {
	not contains(part, "{")
	not regex.match(`[*<>\[\]^|]|\.\+|^:|\$$|^\.\.\.$`, part) # other tools' wildcards
}

wildcard_or_literal(part) if wildcard(part)

end_or_part(part) if wildcard_or_literal(part)

end_or_part("{$}")

end_or_part(part) if with_verb(part)

end_or_part(part) if remainder(part)

wildcard(part) := regex.find_all_string_submatch_n(`^\{([\pL_][\pL\p{Nd}_]*)\}$`, part, 1)[0][1]

remainder(part) := regex.find_all_string_submatch_n(`^\{([\pL_][\pL\p{Nd}_]*)\.\.\.\}$`, part, 1)[0][1]

# A last segment {name}:verb matches a name, a colon and that verb.
with_verb(part) := [name, verb] if {
	[_, name, verb] := regex.find_all_string_submatch_n(`^\{([\pL_][\pL\p{Nd}_]*)\}:([A-Za-z0-9_-]+)$`, part, 1)[0]
}

any_wildcard(part) := wildcard(part)

any_wildcard(part) := with_verb(part)[0]

any_wildcard(part) := remainder(part)

segment_fits(part, segment) if {
	segment != ""
	wildcard(part)
}

segment_fits(part, segment) if {
	part != ""
	not contains(part, "{")
	urlquery.decode(replace(part, "+", "%2B")) == segment
}

# end_of matches the last part of a pattern with the remaining segments of the
# path, at least one. Its value is an object of the part's wildcard.
end_of("", left) := {} if count(left) > 0

end_of("{$}", [""]) := {}

end_of(part, [segment]) := {} if {
	not contains(part, "{")
	segment_fits(part, segment)
}

end_of(part, [segment]) := {wildcard(part): segment} if segment != ""

end_of(part, [segment]) := {name: value} if {
	[name, verb] := with_verb(part)
	value := trim_suffix(segment, concat("", [":", verb]))
	not value in {"", segment}
}

end_of(part, left) := {remainder(part): concat("/", left)} if count(left) > 0
