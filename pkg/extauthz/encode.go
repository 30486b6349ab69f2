package extauthz

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

// The numbers of the fields that an answer has: of a CheckResponse, and of the
// messages in it, as their .proto files give them.
const (
	responseStatus   = 1
	responseDenied   = 2
	responseOK       = 3
	responseMetadata = 4

	statusCode    = 1
	statusMessage = 2

	okHeaders            = 2
	okHeadersToRemove    = 5
	okResponseHeaders    = 6
	okSetQueryParameters = 7
	okRemoveQuery        = 8

	deniedStatus  = 1
	deniedHeaders = 2
	deniedBody    = 3

	optionHeader       = 1
	optionAppend       = 2
	optionAppendAction = 3

	pairKey   = 1 // of a HeaderValue, a QueryParameter and an entry of a map
	pairValue = 2

	onlyField = 1 // of a BoolValue, an HttpStatus, a Struct and a ListValue
)

// encode writes an answer as Envoy reads it, as the bytes of a CheckResponse.
// It is the only place that does: Envoy allows whatever has status code 0, an
// empty response included, and ignores a denied_response beside it.
func encode(a *Answer) []byte {
	w := writer{b: make([]byte, 0, 1<<10)}
	if a.Allowed {
		w.allow(a)
	} else {
		w.deny(a)
	}
	w.metadata(a)
	return w.b
}

func (w *writer) allow(a *Answer) {
	status := w.open(responseStatus) // code 0 is written by leaving it out
	w.close(status)
	ok := w.open(responseOK)
	if p := a.prepared; p != nil {
		w.b = append(w.b, p.response...)
	}
	w.overwrite(okHeaders, a.Headers)
	w.names(okHeadersToRemove, a.RemoveHeaders)
	w.add(okResponseHeaders, a.ResponseHeaders)
	for _, p := range a.SetQuery {
		w.pair(okSetQueryParameters, escapeQuery(p.Name), escapeQuery(p.Value))
	}
	for _, name := range a.RemoveQuery {
		w.text(okRemoveQuery, escapeQuery(name))
	}
	w.close(ok)
}

// deny writes a denied_response for every reason, faults of ours included: an
// error_response would be at the mercy of failure_mode_allow.
func (w *writer) deny(a *Answer) {
	code := a.Reason.Row().GRPC
	if code == int(codes.OK) { // no row has it; Envoy would allow
		code = int(codes.PermissionDenied)
	}
	status := w.open(responseStatus)
	w.varint(statusCode, uint64(code))
	w.text(statusMessage, string(a.Reason))
	w.close(status)
	denied := w.open(responseDenied)
	http := w.open(deniedStatus)
	w.varint(onlyField, uint64(a.Status)) // #nosec G115 -- an HTTP status
	w.close(http)
	w.overwrite(deniedHeaders, a.Headers)
	w.text(deniedBody, string(a.Body))
	w.close(denied)
}

// overwrite sets both fields that say "replace": Envoy reads append up to 1.36
// and append_action in 1.37, and the default of either may let a client's value
// stand beside ours. In a denial Envoy keeps every line of a repeated name.
func (w *writer) overwrite(number protowire.Number, headers []httpfield.Field) {
	for _, h := range headers {
		option := w.open(number)
		w.pair(optionHeader, h.Name, h.Value)
		w.close(w.open(optionAppend)) // false
		w.varint(optionAppendAction, uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
		w.close(option)
	}
}

// add keeps what the upstream answered: a policy's Set-Cookie must not drop
// the upstream's. The action that appends is the zero value.
func (w *writer) add(number protowire.Number, headers []httpfield.Field) {
	for _, h := range headers {
		option := w.open(number)
		w.pair(optionHeader, h.Name, h.Value)
		appends := w.open(optionAppend)
		w.varint(onlyField, 1)
		w.close(appends)
		w.close(option)
	}
}

// metadata is what Envoy's access log, rate limits and later filters can read.
// A policy adds keys of its own and can't change ours.
func (w *writer) metadata(a *Answer) {
	metadata := w.open(responseMetadata)
	for key, value := range a.Metadata {
		if !ownKey(key) {
			w.entry(key, value)
		}
	}
	w.textEntry("decision_id", a.DecisionID)
	w.textEntry("reason", string(a.Reason))
	w.textEntry("policy_revision", a.PolicyRevision)
	if p := a.prepared; p != nil && p.metadata != nil {
		w.b = append(w.b, p.metadata...)
	} else {
		w.identity(a.Tenant, a.Subject, a.WorkspaceID)
	}
	w.close(metadata)
}

func (w *writer) identity(tenant, subject, workspace string) {
	w.textEntry("tenant", tenant)
	w.textEntry("sub", subject)
	w.textEntry("workspace_id", workspace)
}

func ownKey(key string) bool {
	switch key {
	case "decision_id", "tenant", "reason", "sub", "workspace_id", "policy_revision":
		return true
	}
	return false
}

// escapeQuery escapes what is not escaped yet: Envoy takes the text as it is.
// It leaves what application/x-www-form-urlencoded leaves, and escapes that are
// already there: a policy may have escaped by itself. With validate_mutations
// Envoy 1.40 answers 500 to every value that needs an escape, escaped or not.
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
