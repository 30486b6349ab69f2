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
		{"more than a body may have", nested(`[`, "1", "]", 257), answers.InvalidRequest},
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

// A builtin is not interrupted, and comparing a number of a megabyte takes
// seconds and gigabytes: such a body is the client's fault.
func TestNumbersOfBodies(t *testing.T) {
	digits := func(n int) string { return strings.Repeat("9", n) }
	part := func(text string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"n\"\r\nContent-Type: application/json\r\n\r\n" + text + "\r\n--x--\r\n"
	}
	const form = "multipart/form-data; boundary=x"
	for _, tt := range []struct {
		name, kind, body string
		want             answers.Reason
	}{
		{"as long as any number needs", "application/json", `{"n": ` + digits(100) + `}`, answers.PolicyDenied},
		{"a megabyte of digits", "application/json", `{"n": ` + digits(1<<20) + `}`, answers.InvalidRequest},
		{"in a list, after others", "application/json", `{"n": [1, {"m": -0.` + digits(200) + `}, 2]}`, answers.InvalidRequest},
		{"more than a float64 holds", "application/json", `{"n": [` + strings.Repeat("1e19000,", 20_000) + `1]}`, answers.InvalidRequest},
		{"less than a float64 holds", "application/json", `{"n": -1e-19000}`, answers.InvalidRequest},
		{"more than a float64 holds, in a part", form, part(`1e400`), answers.InvalidRequest},
		{"an exponent of a thousand million", "application/json", `{"n": 1e1000000000}`, answers.InvalidRequest},
		{"digits in a text", "application/json", `{"n": "` + digits(1000) + `"}`, answers.PolicyDenied},
		{"in a part", form, part(digits(100)), answers.PolicyDenied},
		{"a megabyte in a part", form, part(digits(1 << 20)), answers.InvalidRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := getPosts()
			in.Body = policy.Body{ContentType: tt.kind, Bytes: []byte(tt.body)}
			d := engine(t, "default decision := false\ndecision if input.parsed_body.n < 5").Decide(t.Context(), in)
			if d.Reason != tt.want || d.Allowed {
				t.Errorf("%s (%v), want %s", d.Reason, d.Err, tt.want)
			}
		})
	}
}
