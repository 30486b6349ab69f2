package policy_test

import (
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// An answer that Envoy can't read is an error to Envoy, which may be told to
// allow then: a client's document must not make one, in a denial or an allow.
func TestMetadataThatEnvoyCanRead(t *testing.T) {
	nested := func(open, inner, end string, levels int) string {
		return strings.Repeat(open, levels) + inner + strings.Repeat(end, levels)
	}
	for _, tt := range []struct {
		name, body string
		want       answers.Reason
	}{
		{"a few levels", nested(`{"a":`, "1", "}", 15), answers.PolicyDenied},
		{"objects that Envoy refuses", nested(`{"a":`, "1", "}", 33), answers.PolicyError},
		{"lists that Envoy refuses", nested(`[`, "1", "]", 49), answers.PolicyError},
		{"thousands of levels", nested(`[`, "1", "]", 5000), answers.PolicyError},
		{"a long text", `"` + strings.Repeat("a", 100<<10) + `"`, answers.PolicyError},
		{"a long name", `{"` + strings.Repeat("a", 100<<10) + `":1}`, answers.PolicyError},
		{"a long list", `[` + strings.Repeat("1,", 50<<10) + `1]`, answers.PolicyError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := getPosts()
			in.Body = policy.Body{ContentType: "application/json", Bytes: []byte(tt.body)}
			d := engine(t, `decision := {"allowed": false, "dynamic_metadata": {"body": input.parsed_body}}`).Decide(t.Context(), in)
			if d.Reason != tt.want {
				t.Errorf("%s (%v), want %s", d.Reason, d.Err, tt.want)
			}
		})
	}
}
