package extauthz_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// buildReference is the answer as the generated types would carry it: what the
// bytes of ours are compared with.
func buildReference(t testing.TB, a *extauthz.Answer) *authv3.CheckResponse {
	t.Helper()
	metadata := map[string]any{}
	for key, value := range a.Metadata {
		metadata[key] = value
	}
	for key, value := range map[string]string{
		"decision_id": a.DecisionID, "tenant": a.Tenant, "reason": string(a.Reason), "sub": a.Subject,
		"workspace_id": a.WorkspaceID, "policy_revision": a.PolicyRevision,
	} {
		metadata[key] = strings.ToValidUTF8(value, "\uFFFD")
	}
	fields, err := structpb.NewStruct(metadata)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Allowed {
		code := a.Reason.Row().GRPC
		return &authv3.CheckResponse{
			Status: &status.Status{Code: int32(code), Message: string(a.Reason)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status:  &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)},
				Headers: options(a.Headers, false, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
				Body:    strings.ToValidUTF8(string(a.Body), "\uFFFD"),
			}},
			DynamicMetadata: fields,
		}
	}
	ok := &authv3.OkHttpResponse{
		Headers:              options(a.Headers, false, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
		HeadersToRemove:      a.RemoveHeaders,
		ResponseHeadersToAdd: options(a.ResponseHeaders, true, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD),
	}
	for _, p := range a.SetQuery {
		ok.QueryParametersToSet = append(ok.QueryParametersToSet, &corev3.QueryParameter{Key: escaped(p.Name), Value: escaped(p.Value)})
	}
	for _, name := range a.RemoveQuery {
		ok.QueryParametersToRemove = append(ok.QueryParametersToRemove, escaped(name))
	}
	return &authv3.CheckResponse{
		Status:          &status.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: fields,
	}
}

func options(headers []httpfield.Field, appends bool, action corev3.HeaderValueOption_HeaderAppendAction) []*corev3.HeaderValueOption {
	var list []*corev3.HeaderValueOption
	for _, h := range headers {
		list = append(list, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h.Name, Value: strings.ToValidUTF8(h.Value, "\uFFFD")},
			//lint:ignore SA1019 deprecated, and still what Envoy up to 1.36 and 1.40 read first
			Append:       wrapperspb.Bool(appends),
			AppendAction: action,
		})
	}
	return list
}

// escaped writes a query's name or value as a form does, but for what is
// escaped already.
func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := string(s[i])
		two := strings.ToLower(s[i+1 : min(i+3, len(s))])
		switch {
		case strings.Contains("*-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", c),
			c == "%" && len(two) == 2 && strings.Trim(two, "0123456789abcdef") == "":
			b.WriteString(c)
		default:
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

func requireSameAnswer(t testing.TB, a *extauthz.Answer) {
	t.Helper()
	requireSameBytes(t, extauthz.Encode(a), a)
}

func requireSameBytes(t testing.TB, b []byte, a *extauthz.Answer) {
	t.Helper()
	got, err := decodeResponse(b)
	if err != nil {
		t.Fatalf("%+v: %v", a, err)
	}
	want := buildReference(t, a)
	if !proto.Equal(got, want) {
		t.Fatalf("%+v:\nwe say    %v\nwanted is %v", a, got, want)
	}
	// No field twice and no length longer than it needs: as long as protobuf's own.
	if len(b) > proto.Size(want)+slack(a) {
		t.Fatalf("%d bytes for %d", len(b), proto.Size(want))
	}
}

// slack is what strings that protobuf leaves out because they are empty cost.
func slack(a *extauthz.Answer) int {
	return 4 * (2 + len(a.Headers) + len(a.ResponseHeaders) + 2*len(a.SetQuery))
}

func TestAnswersOfEveryReason(t *testing.T) {
	for _, reason := range []answers.Reason{
		"", answers.InvalidRequest, answers.InvalidTenant, answers.TokenNotFound, answers.TokenExpired, answers.TokenInvalid,
		answers.TokenRevoked, answers.InsufficientScope, answers.InsufficientRole, answers.WorkspaceMismatch, answers.NoRoute,
		answers.PolicyDenied, answers.KeysUnavailable, answers.Overloaded, answers.PolicyError, answers.Internal, "of_a_policy",
	} {
		answer := extauthz.Refuse(reason)
		requireSameAnswer(t, answer)
		response, err := decodeResponse(extauthz.Encode(answer))
		if err != nil {
			t.Fatal(err)
		}
		requireSound(t, response)
		if response.GetStatus().GetCode() == 0 || response.GetDeniedResponse().GetStatus().GetCode() < 400 {
			t.Errorf("%s: %v", reason, response)
		}
	}
}

// The answers of the attacks, as they are made.
func TestAnswersOfAttacks(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{}, func(c *extauthz.Config) { c.StripToken = true })
	allowed := 0
	for _, attack := range readAttacks(t) {
		m, err := extauthz.ReadCheck(attack.bytes(t, w, true))
		if err != nil {
			continue
		}
		for range 2 { // a fresh token and a cached one
			b, answer := extauthz.Sent(a, m)
			requireSameBytes(t, b, answer) // what was prepared for the identity
			requireSameAnswer(t, answer)
			if answer.Allowed {
				allowed++
			}
		}
	}
	if allowed < 20 {
		t.Errorf("only %d were allowed", allowed)
	}
}

// Answers of every shape.
func TestRandomAnswers(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"", "a", "ä", "x-user-id", "%20", "%", "100% & more", "\xff", "\x00", strings.Repeat("r", 127), strings.Repeat("s", 128), strings.Repeat("l", 20_000)}
	word := func() string { return pieces[random.IntN(len(pieces))] }
	name := func() string { return strings.ToValidUTF8(word(), "?") }
	fields := func() (list []httpfield.Field) {
		for range random.IntN(4) {
			list = append(list, httpfield.Field{Name: name(), Value: word()})
		}
		return list
	}
	names := func() (list []string) {
		for range random.IntN(4) {
			list = append(list, name())
		}
		return list
	}
	var value func(depth int) any
	value = func(depth int) any {
		switch random.IntN(6 + 2*min(depth, 1)) {
		case 0:
			return nil
		case 1:
			return random.IntN(2) == 0
		case 2:
			return random.NormFloat64()
		case 3:
			return 0.0
		case 4, 5:
			return name()
		case 6:
			list := []any{}
			for range random.IntN(4) {
				list = append(list, value(depth-1))
			}
			return list
		default:
			object := map[string]any{}
			for range random.IntN(4) {
				object[name()] = value(depth - 1)
			}
			return object
		}
	}
	for range 5_000 {
		a := &extauthz.Answer{
			Allowed: random.IntN(2) == 0, Reason: answers.TokenInvalid, Status: 100 + random.IntN(500), Body: []byte(word()),
			Headers: fields(), RemoveHeaders: names(), ResponseHeaders: fields(), SetQuery: fields(), RemoveQuery: names(),
			DecisionID: name(), Tenant: name(), Subject: word(), WorkspaceID: word(), PolicyRevision: name(),
		}
		if object, ok := value(4).(map[string]any); ok {
			a.Metadata = object
			object["decision_id"], object["reason"] = "a policy's", "a policy's"
		}
		requireSameAnswer(t, a)
	}
}

// FuzzAnswer: whatever text comes into an answer, Envoy can read it.
func FuzzAnswer(f *testing.F) {
	f.Add("x-user-id", "user:alice", "acme", "body", true)
	f.Add("\xff", "\r\n", "", strings.Repeat("b", 300), false)
	f.Fuzz(func(t *testing.T, name, value, tenant, body string, allowed bool) {
		name = strings.ToValidUTF8(name, "?")
		if !utf8.ValidString(tenant) {
			t.Skip()
		}
		list := []httpfield.Field{{Name: name, Value: value}, {Name: "x", Value: body}}
		requireSameAnswer(t, &extauthz.Answer{
			Allowed: allowed, Reason: answers.PolicyDenied, Status: 403, Body: []byte(body), Headers: list, ResponseHeaders: list, SetQuery: list,
			RemoveHeaders: []string{name}, RemoveQuery: []string{value}, Tenant: tenant, Subject: value,
		})
	})
}

func BenchmarkEncode(b *testing.B) {
	w := newWorld(b)
	answer := w.authorizer(b, policy.Config{}).Authorize(context.Background(), w.ask("GET", "/me", "alice"))
	for b.Loop() {
		extauthz.Encode(answer)
	}
}

// What is kept with an identity is of one configuration: after a reload that
// names other headers it is made again, and back.
func TestPreparedHeadersAreOfOneConfiguration(t *testing.T) {
	w := newWorld(t)
	usual := w.authorizer(t, policy.Config{})
	other := w.authorizer(t, policy.Config{}, func(c *extauthz.Config) {
		c.Headers = extauthz.IdentityHeaders{UserID: "x-who", Claims: map[string]string{"x-everything": "sub"}}
	})
	for range 3 {
		for a, want := range map[*extauthz.Authorizer][2]string{usual: {"x-user-id", "x-roles"}, other: {"x-who", "x-everything"}} {
			for _, token := range []string{"alice", "company", "globex"} {
				m := w.ask("GET", "/me", token)
				if token == "globex" {
					m.Host = "globex.example"
				}
				answer := a.Authorize(t.Context(), m)
				requireSameAnswer(t, answer)
				if !answer.Allowed || value(answer.Headers, want[0]) != "user:alice" || value(answer.Headers, want[1]) == "" {
					t.Errorf("%s: %s %v", token, answer.Reason, answer.Headers)
				}
			}
		}
	}
}
