package policy_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

const transferProto = `
syntax = "proto3";
package bank.v1;
service Bank {
  rpc Transfer(Money) returns (Money);
  rpc Import(stream Money) returns (Money);
}
message Money { string to_account = 1; int64 cents = 2; repeated Money parts = 3; }`

// money is a framed message of Money.
func money(to string, cents uint64) []byte {
	m := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), to)
	m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), cents)
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

func TestGRPCBodies(t *testing.T) {
	set := prototest.Write(t, prototest.Set(prototest.Compile(t, transferProto)))
	good := money("a", 7)
	compressed := append([]byte{1}, good[1:]...)
	const (
		read      = `decision if [input.parsed_body, input.truncated_body] == [{"toAccount": "a", "cents": "7"}, false]`
		unread    = `decision if [input.parsed_body, input.truncated_body] == [null, false]`
		truncated = `decision if [input.parsed_body, input.truncated_body] == [null, true]`
		unasked   = `decision if input.request.method == "POST"`
	)
	for _, tt := range []struct {
		name, path, rego string
		body             policy.Body
		without          bool // no descriptor set
		want             answers.Reason
	}{
		{name: "a message", rego: read, body: policy.Body{Bytes: good}, want: answers.Allowed},
		{name: "+proto", rego: read, body: policy.Body{ContentType: "Application/GRPC+proto; x=y", Bytes: good}, want: answers.Allowed},
		{name: "gRPC-Web", rego: read, body: policy.Body{ContentType: "application/grpc-web+proto", Bytes: good}, want: answers.Allowed},
		{name: "a subtype that servers take for protobuf", rego: read, body: policy.Body{ContentType: "application/grpc+nothing", Bytes: good}, want: answers.Allowed},
		{name: "gRPC-Web as base64", rego: unread, body: policy.Body{ContentType: "application/grpc-web-text", Bytes: []byte("AAAAAAA=")}, want: answers.InvalidRequest},
		{name: "a parameter that names another type", rego: read, body: policy.Body{ContentType: "application/grpc; a=application/grpc-web-text", Bytes: good}, want: answers.Allowed},
		{name: "no descriptor set", rego: unread, body: policy.Body{Bytes: good}, without: true, want: answers.Allowed},
		{name: "another method", path: "bank.v1.Bank/Close", rego: unread, body: policy.Body{Bytes: good}, want: answers.Allowed},
		{name: "a client that streams", path: "bank.v1.Bank/Import", rego: unread, body: policy.Body{Bytes: good}, want: answers.Allowed},
		{name: "a path of three", path: "bank.v1.Bank/Transfer/x", rego: unread, body: policy.Body{Bytes: good}, want: answers.Allowed},
		{name: "sent as text", rego: unread, body: policy.Body{Bytes: good, Text: true}, want: answers.Allowed},
		{name: "no body", rego: unread, want: answers.Allowed},
		{name: "cut by Envoy", rego: truncated, body: policy.Body{Bytes: good, Partial: true}, want: answers.Allowed},
		{name: "cut by its frame", rego: truncated, body: policy.Body{Bytes: good[:len(good)-1]}, want: answers.Allowed},
		{name: "compressed", rego: read, body: policy.Body{Bytes: compressed}, want: answers.InvalidRequest},
		{name: "compressed, and nobody asks", rego: unasked, body: policy.Body{Bytes: compressed}, want: answers.Allowed},
		{name: "two messages", rego: read, body: policy.Body{Bytes: append(money("a", 7), good...)}, want: answers.InvalidRequest},
		{name: "no message", rego: read, body: policy.Body{Bytes: []byte("\x00\x00\x00\x00\x01\xff")}, want: answers.InvalidRequest},
		{name: "JSON in a header that says both", rego: `decision if input.parsed_body == {"a": 1}`, body: policy.Body{ContentType: "application/grpc, application/json", Bytes: []byte(`{"a": 1}`)}, want: answers.Allowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, tt.rego, func(c *policy.Config) {
				if !tt.without {
					c.ProtoDescriptor = set
				}
			})
			in := getPosts()
			in.Method, in.Segments, in.Body = "POST", []string{"bank.v1.Bank", "Transfer"}, tt.body
			if tt.path != "" {
				in.Segments = strings.Split(tt.path, "/")
			}
			if in.Body.ContentType == "" {
				in.Body.ContentType = "application/grpc"
			}
			if d := e.Decide(t.Context(), in); d.Reason != tt.want {
				t.Errorf("%s, want %s (%v)", d.Reason, tt.want, d.Err)
			}
		})
	}
}

func TestDescriptorFaults(t *testing.T) {
	for file, want := range map[string]string{
		"nothing.pb":                   "descriptor set: nothing.pb: can't be read: no such file",
		write(t, "a.proto", "message"): "is no descriptor set: write one with protoc --include_imports",
		write(t, "empty.pb", ""):       "is a descriptor set without a service",
	} {
		_, err := policy.New(t.Context(), policy.Config{ProtoDescriptor: file})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}
