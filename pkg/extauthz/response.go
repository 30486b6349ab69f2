package extauthz

import (
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// checkResponse writes an answer as Envoy reads it. It is the only place that
// does: Envoy allows whatever has status code 0, an empty response included,
// and ignores a denied_response beside it.
func checkResponse(a *Answer) *authv3.CheckResponse {
	if !a.Allowed {
		return denied(a)
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers:                 overwrite(a.Headers),
			HeadersToRemove:         a.RemoveHeaders,
			ResponseHeadersToAdd:    add(a.ResponseHeaders),
			QueryParametersToSet:    queryParameters(a.SetQuery),
			QueryParametersToRemove: escapeNames(a.RemoveQuery),
		}},
		DynamicMetadata: metadata(a),
	}
}

// denied is a denied_response for every reason, faults of ours included: an
// error_response would be at the mercy of failure_mode_allow.
func denied(a *Answer) *authv3.CheckResponse {
	code := a.Reason.Row().GRPC
	if code == int(codes.OK) { // no row has it; Envoy would allow
		code = int(codes.PermissionDenied)
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(code), Message: string(a.Reason)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)},
			Headers: overwrite(a.Headers),
			Body:    strings.ToValidUTF8(string(a.Body), "\uFFFD"),
		}},
		DynamicMetadata: metadata(a),
	}
}

// overwrite sets both fields that say "replace": Envoy reads append up to 1.36
// and append_action in 1.37, and the default of either may let a client's value
// stand beside ours. In a denial Envoy keeps every line of a repeated name.
func overwrite(headers []policy.Header) []*corev3.HeaderValueOption {
	return options(headers, false, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
}

// add keeps what the upstream answered: a policy's Set-Cookie must not drop
// the upstream's.
func add(headers []policy.Header) []*corev3.HeaderValueOption {
	return options(headers, true, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
}

func options(headers []policy.Header, appends bool, action corev3.HeaderValueOption_HeaderAppendAction) []*corev3.HeaderValueOption {
	list := make([]*corev3.HeaderValueOption, len(headers))
	for i, h := range headers {
		list[i] = &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h.Name, Value: h.Value},
			//lint:ignore SA1019 deprecated, and still what Envoy up to 1.36 and 1.40 read first
			Append:       wrapperspb.Bool(appends),
			AppendAction: action,
		}
	}
	return list
}

// queryParameters escapes what is not escaped yet: Envoy takes the text as it
// is. With validate_mutations Envoy 1.40 answers 500 to every value that needs
// an escape, escaped or not.
func queryParameters(pairs []policy.Header) []*corev3.QueryParameter {
	list := make([]*corev3.QueryParameter, len(pairs))
	for i, p := range pairs {
		list[i] = &corev3.QueryParameter{Key: escapeQuery(p.Name), Value: escapeQuery(p.Value)}
	}
	return list
}

func escapeNames(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = escapeQuery(name)
	}
	return list
}

// escapeQuery leaves what application/x-www-form-urlencoded leaves, and
// escapes that are already there: a policy may have escaped by itself.
func escapeQuery(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		plain := c == '*' || c == '-' || c == '.' || c == '_' ||
			'0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if plain || c == '%' && isEscape(s[i:]) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// metadata is what Envoy's access log, rate limits and later filters can read.
// A policy adds keys of its own and can't change ours.
func metadata(a *Answer) *structpb.Struct {
	fields := make(map[string]*structpb.Value, 6+len(a.Metadata))
	for key, value := range a.Metadata {
		if v, err := structpb.NewValue(value); err == nil && utf8.ValidString(key) {
			fields[key] = v
		}
	}
	fields["decision_id"] = structpb.NewStringValue(a.DecisionID)
	fields["tenant"] = structpb.NewStringValue(a.Tenant)
	fields["reason"] = structpb.NewStringValue(string(a.Reason))
	fields["sub"] = structpb.NewStringValue(a.Subject)
	fields["workspace_id"] = structpb.NewStringValue(a.WorkspaceID)
	fields["policy_revision"] = structpb.NewStringValue(a.PolicyRevision)
	return &structpb.Struct{Fields: fields}
}
