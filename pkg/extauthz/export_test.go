package extauthz

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

// SplitPath is splitPath, for its fuzz test.
var SplitPath = splitPath

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

// CheckBytes takes the bytes of a check through the codec and the server, as
// grpc-go does, without a connection.
func CheckBytes(s *Server, b []byte) *authv3.CheckResponse {
	var check checkBytes
	if err := (codec{encoding.GetCodecV2("proto")}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &check); err != nil {
		panic(err)
	}
	return decodeAnswer(s.respond(context.Background(), check))
}
