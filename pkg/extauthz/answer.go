package extauthz

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Answer is the answer to a check. The zero value denies.
type Answer struct {
	Allowed bool
	Reason  answers.Reason

	// Of a denial: the response to the client.
	Status int
	Body   []byte

	// On an allow Headers overwrite the request's before the upstream; on a
	// denial they go to the client, where a name may come more than once.
	Headers         []policy.Header
	RemoveHeaders   []string        // from the request, before the upstream; disjoint from Headers
	ResponseHeaders []policy.Header // added to the upstream's response
	SetQuery        []policy.Header
	RemoveQuery     []string

	// For the decision log and the dynamic metadata.
	DecisionID     string
	Tenant         string
	Subject        string
	WorkspaceID    string
	Route          string
	PolicyRevision string
	Metadata       map[string]any // of the policy's own
	Err            error          // why, for logs; never for the client

	// The encoded identity headers of an allow, which are in no list above; nil:
	// none.
	prepared *prepared
}

// deny makes the answer a denial, and drops what was prepared for an allow.
func (a *Answer) deny(reason answers.Reason, err error) *Answer {
	a.Allowed, a.Reason, a.Err, a.prepared = false, reason, err, nil
	a.Headers, a.RemoveHeaders, a.ResponseHeaders, a.SetQuery, a.RemoveQuery = nil, nil, nil, nil, nil
	return a
}

// finish fills in what the client of a denial gets: status, body and headers of
// the reason, and what the policy wants instead.
func (a *Answer) finish(d policy.Decision, scopes []string, grpc bool) {
	row := a.Reason.Row()
	a.Status = row.Status
	if d.Status != 0 {
		a.Status = d.Status
	}
	a.Headers = make([]policy.Header, 0, 3+len(d.Headers))
	if d.Body != nil {
		a.Body = []byte(*d.Body)
	} else {
		a.Body = a.Reason.Body(d.Detail)
		a.answerHeader(d.Headers, "content-type", answers.ContentType)
	}
	if challenge := a.Reason.Challenge(a.Tenant, scopes); challenge != "" {
		a.answerHeader(d.Headers, "www-authenticate", challenge)
	}
	if after := retryAfter(row, a.Err); after > 0 {
		a.answerHeader(d.Headers, "retry-after", strconv.Itoa(after))
	}
	// Envoy maps a status to a grpc-status by the table of HTTP to gRPC codes,
	// where 400 is INTERNAL and 500 is UNKNOWN.
	if grpc && a.Status == row.Status && (row.Status == http.StatusBadRequest || row.Status == http.StatusInternalServerError) {
		a.answerHeader(d.Headers, "grpc-status", strconv.Itoa(row.GRPC))
	}
	a.Headers = append(a.Headers, d.Headers...)
}

// retryAfter returns the seconds of the error if it has some (key sets have), otherwise
// the reason's.
func retryAfter(row answers.Row, err error) int {
	if after := jwtverify.RetryAfter(err); after > 0 {
		return int(after / time.Second)
	}
	return row.RetryAfter
}

// answerHeader adds a header unless the policy sets its own.
func (a *Answer) answerHeader(own []policy.Header, name, value string) {
	if !slices.ContainsFunc(own, func(h policy.Header) bool { return h.Name == name }) {
		a.Headers = append(a.Headers, policy.Header{Name: name, Value: value})
	}
}

// isGRPC reports whether the client speaks gRPC, by Envoy's rule: gRPC-Web does not
// count.
func isGRPC(m *Message) bool {
	if m == nil {
		return false
	}
	for _, h := range m.Headers {
		if strings.EqualFold(h.Name, "content-type") {
			return h.Value == "application/grpc" || strings.HasPrefix(h.Value, "application/grpc+")
		}
	}
	return false
}
