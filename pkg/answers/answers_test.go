package answers_test

import (
	"encoding/json"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

// The table is a contract: clients and dashboards match on it.
func TestTable(t *testing.T) {
	for _, tt := range []struct {
		reason       answers.Reason
		status, grpc int
		title        string
		challenge    string
		retry        bool
	}{
		{answers.InvalidRequest, 400, 3, "Invalid request", "", false},
		{answers.InvalidTenant, 400, 3, "Invalid tenant", "", false},
		{answers.TokenNotFound, 401, 16, "Token not found", `Bearer realm="acme"`, false},
		{answers.TokenExpired, 401, 16, "Token expired", `Bearer realm="acme", error="invalid_token"`, false},
		{answers.TokenInvalid, 401, 16, "Invalid token", `Bearer realm="acme", error="invalid_token"`, false},
		{answers.TokenRevoked, 401, 16, "Invalid token", `Bearer realm="acme", error="invalid_token"`, false},
		{answers.InsufficientScope, 403, 7, "Insufficient permissions", `Bearer realm="acme", error="insufficient_scope", scope="a b"`, false},
		{answers.InsufficientRole, 403, 7, "Insufficient permissions", "", false},
		{answers.WorkspaceMismatch, 403, 7, "Insufficient permissions", "", false},
		{answers.NoRoute, 403, 7, "Insufficient permissions", "", false},
		{answers.PolicyDenied, 403, 7, "Insufficient permissions", "", false},
		{"a_reason_of_a_policy", 403, 7, "Insufficient permissions", "", false},
		{answers.KeysUnavailable, 503, 14, "Authentication unavailable", "", true},
		{answers.Overloaded, 503, 14, "Authentication unavailable", "", true},
		{answers.PolicyError, 500, 13, "Authorization error", "", false},
		{answers.Internal, 500, 13, "Authorization error", "", false},
	} {
		row := tt.reason.Row()
		if row.Status != tt.status || row.GRPC != tt.grpc || row.Title != tt.title || row.Detail == "" || (row.RetryAfter > 0) != tt.retry {
			t.Errorf("%s: %+v", tt.reason, row)
		}
		if got := tt.reason.Challenge("acme", []string{"a", "b"}); got != tt.challenge {
			t.Errorf("%s: challenge %q, want %q", tt.reason, got, tt.challenge)
		}
		var body map[string]string
		if err := json.Unmarshal(tt.reason.Body("why"), &body); err != nil {
			t.Fatal(err)
		}
		if len(body) != 3 || body["error"] != tt.title || body["detail"] != "why" || body["reason"] != string(tt.reason) {
			t.Errorf("%s: body %v", tt.reason, body)
		}
	}
}

// A decision that nobody made is a fault of ours, and a denial.
func TestZeroReason(t *testing.T) {
	var zero answers.Reason
	if row := zero.Row(); row.Status != 500 || row.GRPC != 13 {
		t.Errorf("%+v", row)
	}
	if got, want := string(zero.Body("")), string(answers.Internal.Body("")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSentences(t *testing.T) {
	for got, want := range map[string]string{
		answers.MissingScope("write:posts"):                 "Required scope 'write:posts' not found",
		answers.MissingAnyScope([]string{"a"}):              "Required scope 'a' not found",
		answers.MissingAnyScope([]string{"a", "b"}):         "One of scopes ('a', 'b') required",
		answers.MissingRole("admin"):                        "Required role 'admin' not found",
		answers.MissingAnyRole([]string{"admin"}):           "Required role 'admin' not found",
		answers.MissingAnyRole([]string{"editor", "admin"}): "One of roles ('editor', 'admin') required",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Nothing that a configuration or a policy says breaks a header or the body.
func TestHostileText(t *testing.T) {
	if got, want := answers.InsufficientScope.Challenge("a\"b\\c\r\nd", []string{"é\""}), `Bearer realm="a\"b\\cd", error="insufficient_scope", scope="\""`; got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
	if got, want := answers.TokenNotFound.Challenge("", nil), `Bearer realm="ussoauthz"`; got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
	if body := answers.PolicyDenied.Body("\"</script>\xff\n"); !json.Valid(body) {
		t.Errorf("body %s", body)
	}
}

// A body belongs to who asked for it: to write into one changes no other.
func TestBodiesAreOnesOwn(t *testing.T) {
	first := answers.TokenInvalid.Body("")
	want := string(first)
	clear(first)
	if got := string(answers.TokenInvalid.Body("")); got != want {
		t.Errorf("%q, then %q", want, got)
	}
	if detailed := string(answers.TokenInvalid.Body("The token is not valid")); detailed != want {
		t.Errorf("prepared %s, made %s", want, detailed)
	}
}
