package extauthz

import (
	"strings"

	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// joinValues joins the values that a policy sets for one request header: each line of
// our answer overwrites the header, so the first of two would be lost.
func joinValues(headers []policy.Header) []policy.Header {
	joined := make([]policy.Header, 0, len(headers))
	at := make(map[string]int, len(headers))
	for _, h := range headers {
		i, ok := at[h.Name]
		if !ok {
			at[h.Name] = len(joined)
			joined = append(joined, h)
			continue
		}
		separator := ", "
		if h.Name == "cookie" {
			separator = "; "
		}
		joined[i].Value += separator + h.Value
	}
	return joined
}

// joinedLines returns every line of a header, separated by commas.
func joinedLines(headers tenants.Headers, name string) string {
	if only, n := headers.Get(name); n <= 1 {
		return only
	}
	var lines []string
	for _, h := range headers {
		if h.Name == name {
			lines = append(lines, h.Value)
		}
	}
	return strings.Join(lines, ",")
}
