package extauthz

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

// SplitPath is splitPath, for its fuzz test.
func SplitPath(path string) ([]string, error) { return splitPath(nil, path) }

// MaxNesting and MaxHeaders bound a check.
const (
	MaxNesting = maxNesting
	MaxHeaders = maxHeaders
)

// The ways in which a check is refused before it is decided about.
var (
	ErrNoMessage    = errNoMessage
	ErrNesting      = errNesting
	ErrUTF8         = errUTF8
	ErrManyHeaders  = errManyHeaders
	ErrNoHTTP       = errNoHTTP
	ErrTwoForms     = errTwoForms
	ErrTwoValues    = errTwoValues
	ErrTwoBodies    = errTwoBodies
	ErrSplitRequest = errSplitRequest
)

// ReadCheck reads the bytes of a check.
func ReadCheck(b []byte) (*Message, error) {
	var m Message
	return &m, readCheck(b, &m)
}

// Refuse is the denial for a reason.
func Refuse(reason answers.Reason) *Answer { return refuse(reason, nil) }

// Encode returns an answer as it is sent.
func Encode(a *Answer) []byte { return encode(a) }

// Sent returns an answer as a Server sends it, and as Authorize returns it.
func Sent(a *Authorizer, m *Message) ([]byte, *Answer) {
	r := &checkState{}
	answer := a.authorize(context.Background(), m, r)
	b := encode(answer)
	return b, a.withIdentityHeaders(answer, r)
}

// CheckBytes takes the bytes of a check through the codec and the server, as
// grpc-go does, without a connection.
func CheckBytes(s *Server, b []byte) *authv3.CheckResponse {
	return decodeAnswer(AnswerBytes(s, mem.BufferSlice{mem.SliceBuffer(b)}))
}

// AnswerBytes is CheckBytes without the reading of the answer.
func AnswerBytes(s *Server, data mem.BufferSlice) []byte {
	c := &check{}
	if err := (codec{}).Unmarshal(data, c); err != nil {
		panic(err)
	}
	s.respond(context.Background(), c)
	return c.response
}

// Reading returns the reading of a check, into a message that is there.
func Reading(b []byte) func() {
	var c check
	return func() {
		c.message = Message{Headers: c.headers[:0]}
		if err := readCheck(b, &c.message); err != nil {
			panic(err)
		}
	}
}

// Parsing returns the parsing of a message, into a request that is there.
func Parsing(m *Message) func() {
	var r request
	return func() {
		if err := r.parse(m); err != nil {
			panic(err)
		}
	}
}

// Walking returns a message's road, as a Server walks it.
func Walking(a *Authorizer, m *Message) func() {
	return func() { a.authorize(context.Background(), m, &checkState{}) }
}

// Deciding returns the policy's part of a message's road.
func Deciding(a *Authorizer, m *Message) func() {
	var r checkState
	a.decide(context.Background(), m, &r)
	return func() { a.policy.Decide(context.Background(), r.input) }
}

// ValidValue is validValue, to be compared with httpguts.
var ValidValue = validValue
