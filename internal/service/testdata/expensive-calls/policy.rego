# Calls that are expensive for what a client chose, for the tenant wild alone.
package hold

default decision := false

decision if input.tenant.id == "acme"

decision if {
	wild
	graphql.parse_query(input.parsed_body.query).Operations[0].Name == "x"
}

decision if {
	wild
	max(input.parsed_body.prices) < 0
}

decision if {
	wild
	sort(input.parsed_body.prices)[0] < 0
}

decision if {
	wild
	sum(input.parsed_body.prices) < 0
}

decision if {
	wild
	count({text | some text in input.parsed_body.texts}) == 0
}

decision if {
	wild
	object.subset(input.parsed_body.texts, array.concat(input.parsed_body.texts, ["z"]))
}

decision if {
	wild
	net.cidr_contains_matches(input.parsed_body.texts, input.parsed_body.texts) == set()
}

decision if {
	wild
	regex.match("(a?b?){300}c$", input.parsed_body.text)
}

decision if {
	wild
	strings.replace_n({"a": "b", "\u00e9": "e"}, trim(input.parsed_body.text, "\u00e9")) == ""
}

decision if {
	wild
	count(object.keys(input.parsed_body) - {"title", "text"}) == 0
}

decision if {
	wild
	json.marshal_with_options(input.parsed_body, {"indent": "  "}) == ""
}

decision if {
	wild
	walk(input.parsed_body, [_, "z"])
}

decision if {
	wild
	some name, _ in input.request.query
	some header, _ in input.request.headers
	name == header
}

decision if {
	wild
	some i, j
	input.request.plain_segments[i] == sprintf("%s%s", [input.request.plain_segments[j], "z"])
}

wild if input.tenant.id == "wild"
