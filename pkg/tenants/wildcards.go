package tenants

import (
	"fmt"
	"regexp"
	"strings"
)

// Other tools write wildcards that are plain text here: such a route would
// stand there and guard nothing.

// checkMethod refuses what other tools write for every method, or for several.
func checkMethod(method string) string {
	switch upper := strings.ToUpper(method); {
	case upper == "*" || upper == "ANY" || upper == "ALL":
		return fmt.Sprintf("`%s` is no method: write the path alone, it is every method", method)
	case strings.ContainsAny(method, ",|"):
		return fmt.Sprintf("%q is no method: write a route for each of them", method)
	case !isHTTPToken(method) || !strings.ContainsFunc(upper, func(r rune) bool { return 'A' <= r && r <= 'Z' }):
		return fmt.Sprintf("%q is no method", method)
	case method != upper:
		return fmt.Sprintf("methods are upper-case: write %q", upper)
	}
	return ""
}

// foreignWildcard says what to write for a segment that is a wildcard to other
// tools; before is the path in front of it, with its last slash.
func foreignWildcard(before, part, after string) string {
	name := wildcardName(part)
	switch {
	case strings.HasPrefix(part, "{"):
		return foreignBraces(part, name)
	case part == "*" || part == "**":
		if after == "" {
			return fmt.Sprintf("`%s` is no wildcard here: write %s for everything below, %s{name} for one segment; a star itself is %%2A", part, before, before)
		}
		return fmt.Sprintf("`%s` is no wildcard here: write %s{name}%s for one segment; a star itself is %%2A", part, before, after)
	case strings.Contains(part, "*"):
		return fmt.Sprintf("`%s` is no wildcard here: {name} is a whole segment, a slash at the end is everything below, and a star itself is %%2A", part)
	case strings.HasPrefix(part, ":"):
		return fmt.Sprintf("`%s` is no wildcard here: write %s{%s}%s for one segment; a colon at the beginning is %%3A", part, before, name, after)
	case strings.ContainsAny(part, "<>"):
		wildcard := "{" + name + "}"
		if strings.HasPrefix(part, "<path:") {
			wildcard = "{" + name + "...}"
		}
		return fmt.Sprintf("`%s` is no wildcard here: write %s%s%s; < and > themselves are %%3C and %%3E", part, before, wildcard, after)
	case strings.ContainsAny(part, "[]"):
		return fmt.Sprintf("`%s` is no wildcard here, and no regular expression: write %s{%s}%s for one segment; [ and ] themselves are %%5B and %%5D", part, before, name, after)
	case regularExpression.MatchString(part):
		return fmt.Sprintf("`%s` is no regular expression here: write {name} for one segment, and a route for each alternative; ^, | and + themselves are %%5E, %%7C and %%2B", part)
	case strings.HasSuffix(part, "$"):
		return fmt.Sprintf("`%s` has no end to mark: a pattern without a slash at its end is that path alone, and /{$} that with a slash; a dollar at the end is %%24", part)
	case part == "...":
		return fmt.Sprintf("`...` is no wildcard here: write %s for everything below, or %s{name...}", before, before)
	}
	return ""
}

var (
	// What a path hardly has as it is: an expression would match nothing.
	regularExpression = regexp.MustCompile(`[\^|]|\.\+|\\[dDsSwW.]`)

	wildcardWord = regexp.MustCompile(`[\pL_][\pL\p{Nd}_]*`)
	verbSegment  = regexp.MustCompile(`^(\{[^{}]*\}):([A-Za-z0-9_-]+)$`)
)

// wildcardName is the name that the author of a foreign wildcard gave it.
func wildcardName(part string) string {
	if _, after, ok := strings.Cut(part, ":"); ok && strings.Contains(part, "<") { // <int:id>
		part = after
	}
	if name := wildcardWord.FindString(part); name != "" {
		return name
	}
	return "name"
}

// foreignBraces looks at a segment that begins with a brace; what is wrong with
// it otherwise ServeMux says.
func foreignBraces(part, name string) string {
	inside, after, closed := strings.Cut(part[1:], "}")
	switch {
	case strings.ContainsAny(inside, ":="):
		return fmt.Sprintf("`%s` is no wildcard here, for it has a type, an expression or a template: write {%s} for one segment, {%s...} for all that is left", part, name, name)
	case strings.ContainsAny(inside, "*+"):
		return fmt.Sprintf("`%s` is no wildcard here: write {%s...}, at the end of the pattern, for all that is left", part, name)
	case closed && strings.HasPrefix(after, ":") && strings.HasSuffix(inside, "..."):
		return fmt.Sprintf("`%s` can't match: {%s...} is all that is left, and has no verb behind it; write the segments out, the last one as {id}%s", part, name, after)
	case closed && strings.HasPrefix(after, ":") && !verbSegment.MatchString(part):
		return fmt.Sprintf("`%s`: a verb behind a wildcard is a word like :purge, with letters, digits, - and _", part)
	}
	return ""
}

// cutVerb cuts "7:purge" into its name and its verb.
func cutVerb(segment string) (name, verb string, ok bool) {
	i := strings.LastIndexByte(segment, ':')
	if i <= 0 {
		return segment, "", false
	}
	return segment[:i], segment[i+1:], true
}

// hasVerb tells whether a segment is a name and that verb.
func hasVerb(segment, verb string) bool {
	_, its, ok := cutVerb(segment)
	return ok && its == verb
}
