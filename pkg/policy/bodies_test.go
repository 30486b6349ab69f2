package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// A body is refused for its length, its encoding and its charset too: also where
// its bytes alone are a good document.
func TestBodiesOfAnotherLengthOrEncoding(t *testing.T) {
	read := engine(t, `decision if input.parsed_body != null
decision if input.truncated_body == false`)
	const kind = "application/json"
	for _, tt := range []struct {
		name string
		body policy.Body
		want answers.Reason
	}{
		{"its length", policy.Body{ContentType: kind, ContentLength: "2", Bytes: []byte(`{}`)}, answers.Allowed},
		{"more than its length", policy.Body{ContentType: kind, ContentLength: "1", Bytes: []byte(`{}`)}, answers.InvalidRequest},
		{"more than one of its lengths", policy.Body{ContentType: kind, ContentLength: "2,1", Bytes: []byte(`{}`)}, answers.InvalidRequest},
		{"a length that is none", policy.Body{ContentType: kind, ContentLength: "0x2", Bytes: []byte(`{}`)}, answers.InvalidRequest},
		{"a length that is none, and no body", policy.Body{ContentType: kind, ContentLength: "-0"}, answers.InvalidRequest},
		{"a length beyond all", policy.Body{ContentType: kind, ContentLength: "18446744073709551616", Bytes: []byte(`{}`)}, answers.InvalidRequest},
		{"no encoding", policy.Body{ContentType: kind, ContentEncoding: "Identity", Bytes: []byte(`{}`)}, answers.Allowed},
		{"an encoding", policy.Body{ContentType: kind, ContentEncoding: "gzip", Bytes: []byte(`{}`)}, answers.InvalidRequest},
		{"none and an encoding", policy.Body{ContentType: kind, ContentEncoding: "identity, gzip", Bytes: []byte(`{}`)}, answers.InvalidRequest},
		{"an encoding of what nobody reads", policy.Body{ContentType: "text/plain", ContentEncoding: "gzip", Bytes: []byte(`{}`)}, answers.Allowed},
		{"a charset", policy.Body{ContentType: kind + "; charset = UTF-8", Bytes: []byte(`{}`)}, answers.Allowed},
		{"a charset without a sign", policy.Body{ContentType: kind + "; charset utf-8", Bytes: []byte(`{}`)}, answers.InvalidRequest},
		{"Latin-1 that is ASCII", policy.Body{ContentType: formType + "; charset=iso-8859-1", Bytes: []byte(`a=%41`)}, answers.Allowed},
		{"Latin-1 that UTF-8 reads otherwise", policy.Body{ContentType: formType + "; charset=iso-8859-1", Bytes: []byte(`a=%C3%A9`)}, answers.InvalidRequest},
		{"Latin-1 with half an escape at its end", policy.Body{ContentType: "multipart/form-data; charset=latin1; boundary=x", Bytes: []byte(field("a", "100%") + "--x--")}, answers.InvalidRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := getPosts()
			in.Body = tt.body
			if d := read.Decide(t.Context(), in); d.Reason != tt.want {
				t.Errorf("%s (%v), want %s", d.Reason, d.Err, tt.want)
			}
		})
	}
}

// The bound on the names of an object is also that of a gRPC message.
func TestNamesOfMessages(t *testing.T) {
	set := prototest.Write(t, prototest.Set(prototest.Compile(t, transferProto)))
	for most, want := range map[int]answers.Reason{1: answers.InvalidRequest, 2: answers.Allowed} {
		e := engine(t, `decision if input.parsed_body.cents == "7"`, func(c *policy.Config) { c.ProtoDescriptor, c.ObjectNames = set, most })
		in := getPosts()
		in.Method, in.Segments = "POST", []string{"bank.v1.Bank", "Transfer"}
		in.Body = policy.Body{ContentType: "application/grpc", Bytes: money("a", 7)}
		if d := e.Decide(t.Context(), in); d.Reason != want {
			t.Errorf("at most %d names: %s (%v), want %s", most, d.Reason, d.Err, want)
		}
	}
}

// A client reads what is wrong with its body from the log of whoever runs the service.
func TestRefusedBodiesAreNamed(t *testing.T) {
	for _, tt := range []struct{ name, kind, body, want string }{
		{"garbage at the end", "application/json", `{}x`, "invalid character 'x'"},
		{"two documents", "application/json", `{} {}`, "something follows the document"},
		{"a bad escape in a name", formType, "%u0061=1", `invalid URL escape "%u0"`},
		{"a bad escape", formType, "a=%zz", `invalid URL escape "%zz"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := decideBody(t, bodyReader(t), tt.kind, tt.body); d.Reason != answers.InvalidRequest || !strings.Contains(fmt.Sprint(d.Err), tt.want) {
				t.Errorf("%s: %v, want %s", d.Reason, d.Err, tt.want)
			}
		})
	}
}

// Each level of a name would cost the length of all before it.
func TestLevelsOfFormNamesAreBounded(t *testing.T) {
	const levels = 5000
	e := bodyReader(t)
	body := "a" + strings.Repeat("[b]", levels) + "=1"
	if d := decideBody(t, e, formType, body); !d.Allowed {
		t.Fatalf("%s: %v", d.Reason, d.Err)
	}
	if n := testing.AllocsPerRun(3, func() { decideBody(t, e, formType, body) }); n > levels/2 {
		t.Errorf("%v allocations for %d levels", n, levels)
	}
}
